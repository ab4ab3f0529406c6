package expect

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ftpinhole/rules"
	"ftpinhole/rules/nft"
)

// Our table attaches the helper to control connections, of both families, and
// marks what was expected of them as it marks what its sets let in.
func TestTableAttachesAndMarks(t *testing.T) {
	b := registered(t)
	table, err := nft.Dial(nft.Config{Ports: []uint16{21}, Hooks: []nft.Hook{nft.Output}, QueueNum: 2100, Helper: b.config.Helper})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if err := table.Install(time.Now()); err != nil {
		t.Fatal(err)
	}
	command(t, `
table inet test {
	chain input {
		type filter hook input priority filter; policy drop
		tcp dport { 21, 22 } accept
		ct state established,related accept
	}
}
`, "nft", "-f", "-")
	for _, test := range []struct{ client, server, other, data string }{
		{"127.0.0.1", "127.0.0.1:21", "127.0.0.1:22", "127.0.0.1:50055"},
		{"::1", "[::1]:21", "[::1]:22", "[::1]:50055"},
	} {
		for _, address := range []string{test.server, test.other, test.data} {
			listen(t, address)
		}
		c := control(t, test.client, test.server)
		add(t, b, ours("a", c, test.data))
		if !passes(t, test.client, test.data) {
			t.Errorf("%s: the port is shut", test.data)
		}
		out, err := exec.Command("conntrack", "-L", "-f", map[bool]string{true: "ipv4", false: "ipv6"}[c.Src.Addr().Is4()], "-p", "tcp", "--dport", "50055").Output()
		if err != nil || !strings.Contains(string(out), "mark=268435456 ") { // 0x10000000, and not the control connection's
			t.Errorf("%s: %v: %s", test.data, err, out)
		}
		removed(t, b, "a", true)
		// A connection to another port has no helper.
		p := ours("b", control(t, test.client, test.other), test.data)
		if err := b.Add(p, time.Now()); err == nil {
			t.Errorf("%s: expected of a connection that is none of ours", test.data)
		}
	}
	// The table takes the helper's object along.
	if err := table.Uninstall(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("nft", "list", "table", "inet", "ftpinhole").Output(); err == nil {
		t.Errorf("it is still there: %s", out)
	}
}

// follows is what the kernel does with nat-follow-master.
func TestFollows(t *testing.T) {
	addr, addrPort := netip.MustParseAddr, netip.MustParseAddrPort
	control := rules.Tuple{Src: addrPort("10.0.1.2:40000"), Dst: addrPort("192.0.2.9:21")}
	reply := rules.Tuple{Src: addrPort("10.0.2.2:21"), Dst: addrPort("192.0.2.1:1024")}
	passive := rules.Pinhole{Src: addr("10.0.1.2"), Dst: addrPort("10.0.2.2:50055"), Outside: addrPort("192.0.2.9:50055"), SeenAs: addr("192.0.2.1")}
	active := rules.Pinhole{Src: addr("10.0.2.2"), Dst: addrPort("10.0.1.2:50055"), Outside: addrPort("192.0.2.1:50055"), SeenAs: addr("192.0.2.9")}
	for _, test := range []struct {
		name string
		base rules.Pinhole
		with func(*rules.Pinhole)
		want bool
	}{
		{"passive", passive, func(*rules.Pinhole) {}, true},
		{"active", active, func(*rules.Pinhole) {}, true},
		{"passive, source as it is", passive, func(p *rules.Pinhole) { p.SeenAs = netip.Addr{} }, false},
		{"passive, another source", passive, func(p *rules.Pinhole) { p.SeenAs = addr("192.0.2.2") }, false},
		{"passive, to another host", passive, func(p *rules.Pinhole) { p.Dst = addrPort("10.0.2.3:50055") }, false},
		{"active, to another host", active, func(p *rules.Pinhole) { p.Dst = addrPort("10.0.1.3:50055") }, false},
		{"active, source as it is", active, func(p *rules.Pinhole) { p.SeenAs = netip.Addr{} }, false},
		{"translation not known", passive, func(p *rules.Pinhole) { p.ControlReply = rules.Tuple{} }, false},
	} {
		p := test.base
		p.ID, p.Timeout, p.Control, p.ControlReply = "a", time.Second, control, reply
		test.with(&p)
		if got := follows(p); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
		if err := check(p); (err == nil) != test.want {
			t.Errorf("%s: check says %v", test.name, err)
		}
	}
}
