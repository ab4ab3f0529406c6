package conntrack

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// Addresses on the other side of the gateway.
var (
	published = netip.MustParseAddrPort("203.0.113.5:2121") // of the server
	masked    = netip.MustParseAddrPort("198.51.100.7:61000")
)

// translating makes sessions be translated.
func translating(c *Config, _ *Terms) {
	c.Translate, c.Outside = true, NewOutside(49152, 65535)
}

func newTranslated(tb reporter, tr Translation, change func(*Config, *Terms)) *stage {
	tb.Helper()
	k := newKernel(tb, func(c *Config, terms *Terms) {
		translating(c, terms)
		c.Join = func(_, _ netip.AddrPort) bool { return true }
		if change != nil {
			change(c, terms)
		}
	})
	k.translation = tr
	return newStage(k, testClient, testServer)
}

func TestRewriting(t *testing.T) {
	plain := Translation{Server: testServer, Client: testClient}
	dnat := Translation{Server: published, Client: testClient}
	snat := Translation{Server: testServer, Client: masked}
	both := Translation{Server: published, Client: masked}
	short := Translation{Server: netip.MustParseAddrPort("1.1.1.1:21"), Client: netip.MustParseAddrPort("2.2.2.2:40000")}
	peer := func(_ *Config, t *Terms) { t.PasvPeer = true }
	keep := func(_ *Config, t *Terms) { t.PasvKeep, t.PortKeep = true, true }
	for _, row := range []struct {
		name    string
		tr      Translation
		before  string // what is said first
		who     string
		says    string
		leaves  string
		dst     string // of the pinhole
		outside string
		seenAs  string
		change  func(*Config, *Terms)
	}{
		{name: "nothing translated", tr: plain, who: "C", says: port, leaves: port, dst: "10.0.1.2:50000"},
		{name: "PORT, longer", tr: snat, who: "C", says: port, leaves: "PORT 198,51,100,7,195,80",
			dst: "10.0.1.2:50000", outside: "198.51.100.7:50000"},
		{name: "PORT, shorter", tr: short, who: "C", says: port, leaves: "PORT 2,2,2,2,195,80",
			dst: "10.0.1.2:50000", outside: "2.2.2.2:50000", seenAs: "1.1.1.1"},
		{name: "PORT, words and blanks stay", tr: snat, who: "C", says: "port \t10, 0,1,2, 195 ,80  ", leaves: "port \t198,51,100,7,195,80  ",
			dst: "10.0.1.2:50000", outside: "198.51.100.7:50000"},
		{name: "PORT of the outside address", tr: snat, who: "C", says: "PORT 198,51,100,7,195,80", leaves: "PORT 198,51,100,7,195,80",
			dst: "10.0.1.2:50000", outside: "198.51.100.7:50000"},
		{name: "PORT, server published", tr: dnat, who: "C", says: port, leaves: port, dst: "10.0.1.2:50000", seenAs: "203.0.113.5"},
		{name: "PORT, both", tr: both, who: "C", says: port, leaves: "PORT 198,51,100,7,195,80",
			dst: "10.0.1.2:50000", outside: "198.51.100.7:50000", seenAs: "203.0.113.5"},
		{name: "EPRT", tr: both, who: "C", says: "EPRT |1|10.0.1.2|50000|", leaves: "EPRT |1|198.51.100.7|50000|",
			dst: "10.0.1.2:50000", outside: "198.51.100.7:50000", seenAs: "203.0.113.5"},
		{name: "EPRT, another delimiter", tr: snat, who: "C", says: "EPRT !1!10.0.1.2!50000!", leaves: "EPRT !1!198.51.100.7!50000!",
			dst: "10.0.1.2:50000", outside: "198.51.100.7:50000"},
		{name: "227, longer, at the expense of the dot", tr: dnat, before: "C: PASV", who: "S",
			says: "227 Entering (10,0,2,2,195,80).  ", leaves: "227 Entering (203,0,113,5,195,80)",
			dst: "10.0.2.2:50000", outside: "203.0.113.5:50000"},
		{name: "227, longer, nothing to spare", tr: dnat, before: "C: PASV", who: "S",
			says: "227 (10,0,2,2,195,80)", leaves: "227 (203,0,113,5,195,80)",
			dst: "10.0.2.2:50000", outside: "203.0.113.5:50000"},
		{name: "227, shorter, padded", tr: short, before: "C: PASV", who: "S",
			says: "227 (10,0,2,2,195,80).", leaves: "227 (1,1,1,1,195,80). ",
			dst: "10.0.2.2:50000", outside: "1.1.1.1:50000", seenAs: "2.2.2.2"},
		{name: "227, server knows its published address", tr: dnat, before: "C: PASV", who: "S",
			says: "227 (203,0,113,5,195,80)", leaves: "227 (203,0,113,5,195,80)",
			dst: "10.0.2.2:50000", outside: "203.0.113.5:50000"},
		{name: "227, only the client is translated", tr: snat, before: "C: PASV", who: "S",
			says: "227 (10,0,2,2,195,80)", leaves: "227 (10,0,2,2,195,80)", dst: "10.0.2.2:50000", seenAs: "198.51.100.7"},
		{name: "227, the end of a block", tr: short, before: "C: PASV", who: "S",
			says: "227-a\r\n 226 b\r\n227 (10,0,2,2,195,80)", leaves: "227-a\r\n 226 b\r\n227 (1,1,1,1,195,80) ",
			dst: "10.0.2.2:50000", outside: "1.1.1.1:50000", seenAs: "2.2.2.2"},
		{name: "229, same port", tr: both, before: "C: EPSV", who: "S",
			says: "229 (|||50000|)", leaves: "229 (|||50000|)",
			dst: "10.0.2.2:50000", outside: "203.0.113.5:50000", seenAs: "198.51.100.7"},
		{name: "227 for EPSV", tr: dnat, before: "C: EPSV", who: "S",
			says: "227 (10,0,2,2,195,80)", leaves: "227 (203,0,113,5,195,80)", dst: "10.0.2.2:50000", outside: "203.0.113.5:50000"},
		{name: "227 behind a command not answered", tr: dnat, before: "C: NOOP\nC: PASV", who: "S",
			says: "227 (10,0,2,2,195,80)", leaves: "227 (203,0,113,5,195,80)", dst: "10.0.2.2:50000", outside: "203.0.113.5:50000"},
		{name: "227 behind USER not answered stays", tr: dnat, before: "C: USER v\nC: PASV", who: "S", says: entering, leaves: entering},
		{name: "a foreign address stays", tr: both, who: "C", says: "PORT 10,9,9,9,195,80", leaves: "PORT 10,9,9,9,195,80"},
		{name: "a privileged port stays", tr: both, who: "C", says: "PORT 10,0,1,2,0,22", leaves: "PORT 10,0,1,2,0,22"},
		{name: "unrequested 227 stays", tr: both, who: "S", says: entering, leaves: entering},
		{name: "asks fail", tr: snat, who: "C", says: port, leaves: port, dst: "10.0.1.2:50000"},
		{name: "peer, another address", tr: plain, before: "C: PASV", who: "S", change: peer,
			says: "227 (192,168,9,9,195,80)", leaves: "227 (10,0,2,2,195,80)   ", dst: "10.0.2.2:50000"},
		{name: "peer, 0.0.0.0", tr: both, before: "C: PASV", who: "S", change: peer,
			says: "227 (0,0,0,0,195,80)", leaves: "227 (203,0,113,5,195,80)",
			dst: "10.0.2.2:50000", outside: "203.0.113.5:50000", seenAs: "198.51.100.7"},
		{name: "peer, the server's own", tr: plain, before: "C: PASV", who: "S", change: peer,
			says: "227 (10,0,2,2,195,80)", leaves: "227 (10,0,2,2,195,80)", dst: "10.0.2.2:50000"},
		{name: "keep, another address", tr: plain, before: "C: PASV", who: "S", change: keep,
			says: "227 (192,168,9,9,195,80)", leaves: "227 (192,168,9,9,195,80)", dst: "10.0.2.2:50000"},
		{name: "keep, DNAT of ours and one further out", tr: both, before: "C: PASV", who: "S", change: keep,
			says: "227 (192,0,2,99,195,80).", leaves: "227 (192,0,2,99,195,80).",
			dst: "10.0.2.2:50000", outside: "203.0.113.5:50000", seenAs: "198.51.100.7"},
		{name: "keep, the server's own", tr: both, before: "C: PASV", who: "S", change: keep,
			says: "227 (10,0,2,2,195,80)", leaves: "227 (203,0,113,5,195,80)",
			dst: "10.0.2.2:50000", outside: "203.0.113.5:50000", seenAs: "198.51.100.7"},
		{name: "keep, 229", tr: both, before: "C: EPSV", who: "S", change: keep,
			says: "229 (|||50000|)", leaves: "229 (|||50000|)",
			dst: "10.0.2.2:50000", outside: "203.0.113.5:50000", seenAs: "198.51.100.7"},
		{name: "keep, a privileged port", tr: both, before: "C: PASV", who: "S", change: keep,
			says: "227 (192,0,2,99,0,22)", leaves: "227 (192,0,2,99,0,22)"},
		{name: "keep, asks fail", tr: both, before: "C: PASV", who: "S", change: keep,
			says: "227 (192,0,2,99,195,80)", leaves: "227 (192,0,2,99,195,80)", dst: "10.0.2.2:50000"},
		{name: "keep, PORT", tr: plain, who: "C", says: "PORT 192,0,2,99,195,80", leaves: "PORT 192,0,2,99,195,80", change: keep,
			dst: "10.0.1.2:50000"},
		{name: "keep, PORT, SNAT of ours and one further out", tr: both, who: "C", says: "PORT 192,0,2,99,195,80", leaves: "PORT 192,0,2,99,195,80", change: keep,
			dst: "10.0.1.2:50000", outside: "198.51.100.7:50000", seenAs: "203.0.113.5"},
		{name: "keep, EPRT, SNAT of ours and one further out", tr: snat, who: "C", says: "EPRT |1|192.0.2.99|50000|", leaves: "EPRT |1|192.0.2.99|50000|", change: keep,
			dst: "10.0.1.2:50000", outside: "198.51.100.7:50000"},
		{name: "keep, PORT of the client's own", tr: snat, who: "C", says: port, leaves: "PORT 198,51,100,7,195,80", change: keep,
			dst: "10.0.1.2:50000", outside: "198.51.100.7:50000"},
		{name: "keep, PORT to a denied port", tr: snat, who: "C", says: "PORT 192,0,2,99,23,112", leaves: "PORT 192,0,2,99,23,112", change: keep},
		{name: "keep of the server's alone, PORT", tr: snat, who: "C", says: "PORT 192,0,2,99,195,80", leaves: "PORT 192,0,2,99,195,80",
			change: func(_ *Config, t *Terms) { t.PasvKeep = true }},
		{name: "keep of the client's alone, 227", tr: both, before: "C: PASV", who: "S", says: "227 (192,0,2,99,195,80)", leaves: "227 (192,0,2,99,195,80)",
			change: func(_ *Config, t *Terms) { t.PortKeep = true }},
		{name: "keep, PORT, wait_for_2xx", tr: snat, who: "C", says: "PORT 192,0,2,99,195,80", leaves: "PORT 192,0,2,99,195,80",
			change: func(_ *Config, t *Terms) { t.PortKeep, t.WaitFor2xx = true, true }},
		{name: "wait_for_2xx", tr: snat, who: "C", says: port, leaves: "PORT 198,51,100,7,195,80",
			change: func(_ *Config, t *Terms) { t.WaitFor2xx = true }},
	} {
		t.Run(row.name, func(t *testing.T) {
			st := newTranslated(t, row.tr, row.change)
			st.unasked = strings.HasSuffix(row.name, "asks fail")
			st.shake()
			st.play("login\n" + row.before)
			from, to := st.sides(row.who)
			st.send(from, to, row.says+"\r\n", 0)
			if string(st.left.Payload) != row.leaves+"\r\n" {
				t.Errorf("left %q, want %q", st.left.Payload, row.leaves)
			}
			got := st.latest
			if text(got.Dst) != row.dst || text(got.Outside) != row.outside || textAddr(got.SeenAs) != row.seenAs {
				t.Errorf("opened %v, outside %v, seen as %v", got.Dst, got.Outside, got.SeenAs)
			}
			st.stop()
			if n := len(st.tracker.outside.taken); n != 0 {
				t.Errorf("%d outside ports left", n)
			}
		})
	}
}

// Who is translated further out announces a port that is kept there, so that it is
// to be had here with this number or not at all.
func TestKeptLineNeedsItsPort(t *testing.T) {
	both := Translation{Server: published, Client: masked}
	for _, row := range []struct {
		name, script, says, want string
		from, outer              netip.Addr
	}{
		{"227", "C: PASV", "S: 227 (192,0,2,99,195,80)", "deny limit_total PASV 10.0.2.2:50000", testClient.Addr(), published.Addr()},
		{"PORT", "", "C: PORT 192,0,2,99,195,80", "deny limit_total PORT 10.0.1.2:50000", testServer.Addr(), masked.Addr()},
		{"EPRT", "", "C: EPRT |1|192.0.2.99|50000|", "deny limit_total EPRT 10.0.1.2:50000", testServer.Addr(), masked.Addr()},
	} {
		t.Run(row.name, func(t *testing.T) {
			st := newTranslated(t, both, func(_ *Config, t *Terms) { t.PasvKeep, t.PortKeep = true, true })
			key := outsideKey{row.from, netip.AddrPortFrom(row.outer, 50000)}
			st.tracker.outside.take(key, netip.MustParseAddrPort("10.0.9.9:50000"))
			st.shake()
			st.play("login\n" + row.script + "\n" + row.says)
			if got := told(st.records); !slices.Equal(got, []string{row.want}) {
				t.Errorf("told %q, want %q", got, row.want)
			}
			if line := row.says[len("S: "):] + "\r\n"; string(st.left.Payload) != line {
				t.Errorf("left %q", st.left.Payload)
			}
			st.tracker.outside.give(key)
			st.play(row.script + "\n" + row.says)
			if got := told(st.records); len(got) != 2 || !strings.HasPrefix(got[1], "open ") || st.latest.Outside != key.to {
				t.Errorf("when it is free: told %q, outside %v", got, st.latest.Outside)
			}
			st.stop()
		})
	}
}

// A kept line that is cut leaves as it came, whatever the cut, and what it names
// opens.
func TestKeptLineCutAnywhere(t *testing.T) {
	const line = "PORT 192,0,2,99,195,80\r\n"
	for cut := 1; cut < len(line); cut++ {
		st := loggedIn(t, behindNAT, func(_ *Config, t *Terms) { t.PortKeep = true })
		begin := st.c.next
		first := st.says("C", line[:cut], 0)
		left := len(first.Payload)
		second := st.says("C", line[cut:], 0)
		if got := string(first.Payload); got != line[:left] || first.Seq != begin {
			t.Errorf("cut at %d: %q left at first", cut, got)
		}
		if got := line[:left] + string(second.Payload); got != line || second.Seq != begin+uint32(left) {
			t.Errorf("cut at %d: %q left", cut, got)
		}
		if got := told(st.records); !slices.Equal(got, []string{opensPORT}) {
			t.Errorf("cut at %d: told %q", cut, got)
		}
		st.stop()
	}
}

// A 227 has no room for an address of IPv6: it leaves as it came, and what it
// names is opened with the port that it says, or not at all.
func TestRewritingInIPv6(t *testing.T) {
	c, s := netip.MustParseAddrPort("[2001:db8::2]:40000"), netip.MustParseAddrPort("[2001:db8:1::2]:21")
	outer := netip.MustParseAddrPort("[2001:db8:9::9]:2121")
	plain := Translation{Server: s, Client: c}
	dnat := Translation{Server: outer, Client: c}
	peer := func(_ *Config, t *Terms) { t.PasvPeer = true }
	for _, row := range []struct {
		name   string
		tr     Translation
		before string
		says   string
		taken  bool   // the port outside
		leaves string // if not what was said
		want   string
		change func(*Config, *Terms)
	}{
		{name: "peer, 0.0.0.0", tr: plain, before: "C: PASV", says: "227 Entering Passive Mode (0,0,0,0,195,80).", change: peer,
			want: "open PASV [2001:db8:1::2]:50000"},
		{name: "peer, another address", tr: plain, before: "C: PASV", says: "227 (192,0,2,1,195,80)", change: peer,
			want: "open PASV [2001:db8:1::2]:50000"},
		{name: "peer, DNAT", tr: dnat, before: "C: PASV", says: "227 (192,0,2,1,195,80)", change: peer,
			want: "open PASV [2001:db8:1::2]:50000"},
		{name: "peer, DNAT, the port is taken", tr: dnat, before: "C: PASV", says: "227 (192,0,2,1,195,80)", change: peer, taken: true,
			want: "deny limit_total PASV [2001:db8:1::2]:50000"},
		{name: "peer, DNAT, a control port", tr: dnat, before: "C: PASV", says: "227 (192,0,2,1,8,73)", change: peer,
			want: "deny denied_port PASV [2001:db8:1::2]:2121"},
		{name: "peer, DNAT, 229, the port is taken", tr: dnat, before: "C: EPSV", says: "229 (|||50000|)", change: peer, taken: true,
			leaves: "229 (|||%d|)", want: "open EPSV [2001:db8:1::2]:50000"},
		{name: "keep, DNAT", tr: dnat, before: "C: PASV", says: "227 (192,0,2,99,195,80)", want: "open PASV [2001:db8:1::2]:50000",
			change: func(_ *Config, t *Terms) { t.PasvKeep = true }},
		{name: "own", tr: dnat, before: "C: PASV", says: "227 (0,0,0,0,195,80)", want: "deny foreign_address PASV 0.0.0.0:50000"},
	} {
		t.Run(row.name, func(t *testing.T) {
			k := newKernel(t, func(c *Config, terms *Terms) {
				translating(c, terms)
				if row.change != nil {
					row.change(c, terms)
				}
			})
			k.translation = row.tr
			if row.taken {
				k.tracker.outside.take(outsideKey{c.Addr(), netip.AddrPortFrom(outer.Addr(), 50000)}, netip.MustParseAddrPort("[::1]:1"))
			}
			st := newStage(k, c, s)
			st.shake()
			st.play("login\n" + row.before)
			st.send(&st.s, &st.c, row.says+"\r\n", 0)
			leaves := row.says
			if row.leaves != "" {
				leaves = fmt.Sprintf(row.leaves, st.latest.Outside.Port())
			} else if o := st.latest.Outside; o.IsValid() && o.Port() != st.latest.Dst.Port() {
				t.Errorf("outside it is port %d", o.Port())
			}
			if left := string(st.left.Payload); left != leaves+"\r\n" {
				t.Errorf("left %q, want %q", left, leaves)
			}
			if got := told(st.records); !slices.Equal(got, []string{row.want}) {
				t.Errorf("told %q, want %q", got, row.want)
			}
			st.stop()
		})
	}
}

// In IPv6 a client names itself by EPRT. One of the other family, and PORT, is
// somebody else's address, and stays.
func TestRewritingInIPv6Active(t *testing.T) {
	c, s := netip.MustParseAddrPort("[2001:db8::2]:40000"), netip.MustParseAddrPort("[2001:db8:1::2]:21")
	for line, want := range map[string]struct{ leaves, told string }{
		"EPRT |2|2001:db8::2|50000|": {"EPRT |2|2001:db8:7::7|50000|", "open EPRT [2001:db8::2]:50000"},
		"EPRT |1|10.0.1.2|50000|":    {"EPRT |1|10.0.1.2|50000|", "deny foreign_address EPRT 10.0.1.2:50000"},
		port:                         {port, "deny foreign_address PORT 10.0.1.2:50000"},
	} {
		k := newKernel(t, translating)
		k.translation = Translation{Server: s, Client: netip.MustParseAddrPort("[2001:db8:7::7]:61000")}
		st := newStage(k, c, s)
		st.shake()
		st.play("login")
		st.send(&st.c, &st.s, line+"\r\n", 0)
		if left := string(st.left.Payload); left != want.leaves+"\r\n" {
			t.Errorf("%s: left %q", line, left)
		}
		if got := told(st.records); !slices.Equal(got, []string{want.told}) {
			t.Errorf("%s: told %q", line, got)
		}
		st.stop()
	}
}

func text(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func textAddr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
