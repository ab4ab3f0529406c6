package conntrack

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// crowded makes all outside ports but these belong to others.
func (st *stage) crowded(from netip.Addr, to netip.Addr, free ...uint16) {
	for port := 1024; port < 1<<16; port++ {
		if !slices.Contains(free, uint16(port)) {
			st.tracker.outside.take(outsideKey{from, netip.AddrPortFrom(to, uint16(port))}, netip.MustParseAddrPort("192.0.2.9:1"))
		}
	}
}

func TestOutsidePort(t *testing.T) {
	from, to := testServer.Addr(), masked.Addr()
	for _, c := range []struct {
		name           string
		lowest, higher uint16
		free           []uint16
		says           string
		want           uint16 // 0: denied, limit_total
	}{
		{"its own", 49152, 65535, []uint16{50000, 50001}, port, 50000},
		{"another", 50000, 50020, []uint16{50007}, port, 50007},
		{"none", 50000, 50020, nil, port, 0},
		{"none in the range", 50000, 50020, []uint16{50021, 49999}, port, 0},
		{"one of as many digits", 50000, 50007, []uint16{50001, 50006}, "PORT 10,0,1,2,195,8", 50006},
		{"one of more digits if need be", 50068, 50077, []uint16{50069}, "PORT 10,0,1,2,195,8", 50069},
		{"not one that the policy denies", 2120, 2122, []uint16{2121}, port, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := loggedIn(t, behindNAT, func(cfg *Config, _ *Terms) { cfg.Outside = NewOutside(c.lowest, c.higher) })
			st.crowded(from, to, c.free...)
			st.tracker.outside.SetRange(c.lowest, c.higher)
			st.says("C", c.says+"\r\n", 0)
			if got := st.latest.Outside.Port(); got != c.want {
				t.Errorf("outside port %d, want %d", got, c.want)
			}
			denied := slices.ContainsFunc(told(st.records), func(s string) bool { return strings.HasPrefix(s, "deny limit_total") })
			if denied != (c.want == 0) {
				t.Errorf("told %q", told(st.records))
			}
			if c.want == 0 && string(st.left.Payload) != c.says+"\r\n" {
				t.Errorf("%q left", st.left.Payload)
			}
			st.stop()
		})
	}
}

// The port that the published address has for control is not given out.
func TestOutsidePortIsNotTheControlPort(t *testing.T) {
	st := loggedIn(t, Translation{Server: netip.MustParseAddrPort("203.0.113.5:50000"), Client: testClient}, nil)
	st.play("C: PASV\nS: " + entering)
	if got := st.latest.Outside; got.Port() == 50000 || !got.IsValid() {
		t.Errorf("outside %v", got)
	}
	st.stop()
}

// Two clients behind one address that announce the same port to the same server
// get different outside ports; who has the port itself keeps it.
func TestOutsidePortsOfTwoClients(t *testing.T) {
	k := newKernel(t, translating)
	k.translation = behindNAT
	var ports []uint16
	stages := []*stage{newStage(k, testClient, testServer), newStage(k, netip.MustParseAddrPort("10.0.1.3:40000"), testServer)}
	for i, st := range stages {
		k.translation.Client = netip.AddrPortFrom(masked.Addr(), masked.Port()+uint16(i))
		st.shake()
		st.play("login")
	}
	for range 2 {
		for i, st := range stages {
			st.play(fmt.Sprintf("C: PORT 10,0,1,%d,195,80\nS: 200 x", i+2))
			ports = append(ports, st.latest.Outside.Port())
		}
	}
	if ports[0] != 50000 || ports[1] == 50000 || ports[2] != 50000 || ports[3] == 50000 {
		t.Errorf("ports %d", ports)
	}
	k.stop()
	if n := len(k.tracker.outside.taken); n != 0 {
		t.Errorf("%d ports left", n)
	}
}

// A port is given back when what it was for is over, however that came.
func TestOutsidePortIsGivenBack(t *testing.T) {
	waits := func(_ *Config, terms *Terms) { terms.WaitFor2xx = true }
	for name, c := range map[string]struct {
		change func(*Config, *Terms)
		script string
		taken  int
	}{
		"open":                    {nil, "C: " + port, 1},
		"refused":                 {nil, "C: " + port + "\nS: 500 x", 0},
		"replaced":                {nil, "C: " + port + "\nS: 200 x\nC: PORT 10,0,1,2,195,81", 1},
		"expired":                 {nil, "C: " + port + "\nS: 200 x\nwait 31s", 0},
		"data flows":              {nil, "C: " + port + "\nS: 200 x\nuse 20\nestablished\nC: PASV", 1},
		"data has ended":          {nil, "C: " + port + "\nS: 200 x\nuse 20\nestablished\nended", 0},
		"the kernel fails":        {nil, "fail\nC: " + port, 0},
		"a limit":                 {func(c *Config, _ *Terms) { c.Limits.Pinholes = 0 }, "C: " + port, 0},
		"waiting":                 {waits, "C: " + port, 1},
		"waiting, agreed":         {waits, "C: " + port + "\nS: 200 x", 1},
		"waiting, refused":        {waits, "C: " + port + "\nS: 500 x", 0},
		"waiting, another answer": {waits, "C: " + port + "\nS: 227 x", 0},
		"waiting, out of step":    {waits, "C: " + port + "\nS! 200 x\nC: NOOP", 0},
		"waiting, out of step and the client speaks": {waits, "C: " + port + "\nS! 200 x\nC: NOOP | NOOP", 0},
		"waiting, gone":       {waits, "C: " + port + "\ngone for good", 0},
		"waiting, too many":   {waits, "C: " + strings.Repeat(port+" | ", 5) + port, 1},
		"waiting, for others": {waits, "C: PORT 10,0,1,2,195,1 | PORT 10,0,1,2,195,2 | PORT 10,0,1,2,195,3 | PORT 10,0,1,2,195,4 | PORT 10,0,1,2,195,5", 4},
	} {
		t.Run(name, func(t *testing.T) {
			st := loggedIn(t, behindNAT, c.change)
			st.play(c.script)
			if n := len(st.tracker.outside.taken); n != c.taken {
				t.Errorf("%d ports are taken, want %d", n, c.taken)
			}
			st.stop()
			if n := len(st.tracker.outside.taken); n != 0 {
				t.Errorf("%d ports left after the end", n)
			}
		})
	}
}

// All records of a pinhole name the outside endpoint, and a refusal the address
// that was announced.
func TestLaw7OutsideIsRecorded(t *testing.T) {
	st := loggedIn(t, Translation{Server: published, Client: masked}, nil)
	st.play("C: " + port + "\nS: 200 x\nuse 20\nestablished\nended\nC: PORT 10,9,9,9,195,80")
	st.stop()
	n := 0
	for _, r := range st.records {
		switch r.Action {
		case Open, Use, Close:
			n++
			if r.Pinhole.Outside != netip.MustParseAddrPort("198.51.100.7:50000") || r.Pinhole.SeenAs != published.Addr() {
				t.Errorf("%s: outside %v, seen as %v", short(r), r.Pinhole.Outside, r.Pinhole.SeenAs)
			}
		case Deny:
			n++
			if r.Pinhole.Dst != netip.MustParseAddrPort("10.9.9.9:50000") || r.Pinhole.Outside.IsValid() {
				t.Errorf("%s: outside %v", short(r), r.Pinhole.Outside)
			}
		}
	}
	if n != 4 {
		t.Errorf("%d records", n)
	}
}
