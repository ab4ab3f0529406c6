package nft_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"ftpinhole/rules"
	"ftpinhole/rules/nft"
)

// The gateway's other addresses, and ports that are announced outside.
const (
	outer4, outer6 = "10.0.2.77", "fd00:2::77" // besides that of its link to the server
	outsidePort    = 40000
)

// operatorNAT translates as gateways do, and sends all that we do not translate
// first to nobody.
const operatorNAT = `table inet nat {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		tcp dport 21 redirect
		ip daddr { 10.0.1.1, 10.0.2.1, 10.0.2.77 } dnat ip to 192.0.2.1
		ip6 daddr { fd00:1::1, fd00:2::1, fd00:2::77 } dnat ip6 to 2001:db8::1
	}
	chain output {
		type nat hook output priority -100; policy accept;
		tcp dport { 1024-49999 } dnat ip to 192.0.2.1
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "eth2" masquerade
	}
}
`

// newNATLab is a lab whose gateway translates.
func newNATLab(t *testing.T) lab {
	t.Helper()
	l := newLab(t)
	l.gateway.run(t, "ip addr add "+outer4+"/32 dev eth2; ip addr add "+outer6+"/128 dev eth2 nodad preferred_lft 0", "")
	l.gateway.run(t, "nft -f -", operatorNAT)
	l.gateway.forget(t)
	return l
}

// greet accepts connections to port and tells each from which address it came.
func (ns namespace) greet(t testing.TB, port uint16) {
	t.Helper()
	var l net.Listener
	var err error
	ns.do(t, func() { l, err = net.Listen("tcp", fmt.Sprintf(":%d", port)) })
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			addr := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
			c.SetDeadline(time.Now().Add(soon))
			wait.Go(func() { fmt.Fprintln(c, addr); c.Read(make([]byte, 1)); c.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); wait.Wait() })
}

// greeted connects to a greeter and returns what it says, "" if the connection
// does not come through within patience.
func (ns namespace) greeted(t testing.TB, sport uint16, to string, patience time.Duration) (addr string) {
	t.Helper()
	ns.do(t, func() {
		d := net.Dialer{Timeout: patience}
		if sport != 0 {
			d.LocalAddr = &net.TCPAddr{Port: int(sport)}
		}
		c, err := d.Dial("tcp", to)
		if err != nil {
			return
		}
		defer c.Close()
		c.(*net.TCPConn).SetLinger(0) // the port is free at once
		c.SetDeadline(time.Now().Add(soon))
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			t.Errorf("no greeting: %v", err)
		}
		addr = strings.TrimSpace(line)
	})
	return addr
}

// translated is a pinhole from src to dst that is reached at outside, and whose
// connections come from seenAs; "" for those that stay.
func translated(src, dst, outside, seenAs string) rules.Pinhole {
	p := pinhole("t-1", src, dst)
	if outside != "" {
		p.Outside = netip.MustParseAddrPort(outside)
	}
	if seenAs != "" {
		p.SeenAs = netip.MustParseAddr(seenAs)
	}
	return p
}

// at joins an address and a port.
func at(addr string, port uint16) string {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port).String()
}

// Data connections reach the inside port by the outside one, and come from the
// address that their other end expects, whatever the operator's own rules do.
func TestTranslation(t *testing.T) {
	l := newNATLab(t)
	for _, ns := range []namespace{l.client, l.gateway, l.server} {
		ns.greet(t, port)
	}
	c := forward()
	c.Hooks = []nft.Hook{nft.Forward, nft.Input, nft.Output}
	c.SourcePorts = true
	table := l.gateway.installed(t, c)
	const masqueraded4, masqueraded6 = "10.0.2.1", "fd00:2::1"
	for _, test := range []struct {
		name    string
		from    namespace
		pinhole rules.Pinhole
		sport   uint16
		to      string // where from connects to
		want    string // the address that the other end sees, "" for no connection
	}{
		{"active, client behind masquerade", l.server,
			translated(server4, at(client4, port), at(masqueraded4, outsidePort), ""), 0, at(masqueraded4, outsidePort), server4},
		{"active, client behind masquerade, IPv6", l.server,
			translated(server6, at(client6, port), at(masqueraded6, outsidePort), ""), 0, at(masqueraded6, outsidePort), server6},
		{"active, another outside address, same port", l.server,
			translated(server4, at(client4, port), at(outer4, port), ""), 0, at(outer4, port), server4},
		{"active, server published", l.server,
			translated(server4, at(client4, port), "", gateway4), 0, at(client4, port), gateway4},
		{"active, server published, IPv6", l.server,
			translated(server6, at(client6, port), "", gateway6), 0, at(client6, port), gateway6},
		{"active, both", l.server,
			translated(server4, at(client4, port), at(outer4, outsidePort), gateway4), 0, at(outer4, outsidePort), gateway4},
		{"active, both, IPv6", l.server,
			translated(server6, at(client6, port), at(outer6, outsidePort), gateway6), 0, at(outer6, outsidePort), gateway6},
		{"active, both, from port 20", l.server,
			from(20, translated(server4, at(client4, port), at(outer4, outsidePort), gateway4)), 20, at(outer4, outsidePort), gateway4},
		{"active, both, from port 20, IPv6", l.server,
			from(20, translated(server6, at(client6, port), at(outer6, outsidePort), gateway6)), 20, at(outer6, outsidePort), gateway6},
		{"active, both, not from port 20", l.server,
			from(20, translated(server4, at(client4, port), at(outer4, outsidePort), gateway4)), 22222, at(outer4, outsidePort), ""},

		{"passive, server published", l.client,
			translated(client4, at(server4, port), at(gateway4, outsidePort), ""), 0, at(gateway4, outsidePort), masqueraded4},
		{"passive, server published, IPv6", l.client,
			translated(client6, at(server6, port), at(gateway6, outsidePort), ""), 0, at(gateway6, outsidePort), masqueraded6},
		{"passive, client with another outside address", l.client,
			translated(client4, at(server4, port), "", outer4), 0, at(server4, port), outer4},
		{"passive, client with another outside address, IPv6", l.client,
			translated(client6, at(server6, port), "", outer6), 0, at(server6, port), outer6},
		{"passive, both", l.client,
			translated(client4, at(server4, port), at(gateway4, outsidePort), outer4), 0, at(gateway4, outsidePort), outer4},
		{"passive, both, IPv6", l.client,
			translated(client6, at(server6, port), at(gateway6, outsidePort), outer6), 0, at(gateway6, outsidePort), outer6},

		{"other source", l.client,
			translated("10.0.1.3", at(server4, port), at(gateway4, outsidePort), ""), 0, at(gateway4, outsidePort), ""},
		{"other outside port", l.client,
			translated(client4, at(server4, port), at(gateway4, outsidePort), ""), 0, at(gateway4, outsidePort+1), ""},
		{"other outside address", l.client,
			translated(client4, at(server4, port), at(outer4, outsidePort), ""), 0, at(gateway4, outsidePort), ""},

		{"passive, server on the gateway", l.client,
			translated(client4, at(outer4, port), at(gateway4, outsidePort), ""), 0, at(gateway4, outsidePort), client4},
		{"passive, server on the gateway, that sees another source", l.client,
			translated(client4, at(gateway4, port), at(gateway4, outsidePort), "10.0.1.99"), 0, at(gateway4, outsidePort), "10.0.1.99"},
		{"passive, server on the gateway, that sees another source, IPv6", l.client,
			translated(client6, at(gateway6, port), at(gateway6, outsidePort), "fd00:1::99"), 0, at(gateway6, outsidePort), "fd00:1::99"},
		{"active, server on the gateway", l.gateway,
			translated(gateway4, at(client4, port), at("10.0.1.3", outsidePort), outer4), 0, at("10.0.1.3", outsidePort), outer4},
		{"passive, client on the gateway", l.gateway,
			translated("10.0.2.1", at(server4, port), at("10.0.2.3", outsidePort), outer4), 0, at("10.0.2.3", outsidePort), outer4},
		{"active, client on the gateway", l.server,
			translated(server4, at(gateway4, port), at(outer4, outsidePort), "10.0.2.99"), 0, at(outer4, outsidePort), "10.0.2.99"},
	} {
		t.Run(test.name, func(t *testing.T) {
			patience := soon
			if test.want == "" {
				patience = drop
			}
			add(t, table, test.pinhole)
			if got := test.from.greeted(t, test.sport, test.to, patience); got != test.want {
				t.Errorf("seen from %q, want %q", got, test.want)
			}
			remove(t, table, test.pinhole.ID)
			if got := l.gateway.elements(t); got != "" {
				t.Errorf("left in the sets:\n%s", got)
			}
		})
	}
}

// A SYN that was translated and then lost before it came to the pinhole comes
// again and is translated again.
func TestLostSYNIsTranslatedAgain(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	table := l.gateway.installed(t, forward())
	outside := at(gateway4, outsidePort)
	add(t, table, translated(client4, data4, outside, ""))
	l.gateway.run(t, "nft -f -", `table inet lossy {
		chain prerouting {
			type filter hook prerouting priority filter; policy accept;
			iifname "eth1" tcp dport 50055 counter drop
		}
	}
`)
	result := make(chan bool)
	go func() { result <- l.client.attempt(t, 0, outside, soon) }()
	for deadline := time.Now().Add(soon); !strings.Contains(l.gateway.run(t, "nft list table inet lossy", ""), "packets 1 "); {
		if time.Now().After(deadline) {
			t.Fatal("the first SYN was not translated")
		}
	}
	l.gateway.run(t, "nft delete table inet lossy", "")
	if !<-result {
		t.Error("the second SYN did not come through")
	}
}

// A pinhole and its translation come and go as one.
func TestTranslationIsOneWithItsPinhole(t *testing.T) {
	ns := newNamespace(t, "one")
	table := ns.installed(t, forward())
	holds := func(when string, want ...string) {
		t.Helper()
		got := ns.elements(t)
		n := 0
		for line := range strings.Lines(got) {
			n += strings.Count(line, "comment")
		}
		for _, w := range want {
			for part := range strings.SplitSeq(w, "|") {
				if !strings.Contains(got, part) {
					t.Errorf("%s: no %q in\n%s", when, part, got)
				}
			}
		}
		if n != len(want) {
			t.Errorf("%s: %d elements, want %d:\n%s", when, n, len(want), got)
		}
	}
	named := func(id string, p rules.Pinhole) rules.Pinhole {
		p.ID = id
		return p
	}
	const (
		inside  = "10.0.1.2 . 10.0.2.2 . 50055"
		outside = "10.0.1.2 . 10.0.1.1 . 40000"
		other   = "10.0.1.2 . 10.0.1.1 . 40001"
	)
	both := translated(client4, data4, at(gateway4, 40000), outer4)

	add(t, table, named("a", both))
	holds("added", inside+` |comment "a"`, outside+` |comment "a" : 10.0.2.2 . 50055`, inside+` |comment "a" : 10.0.2.77`)
	add(t, table, named("b", both))
	holds("again", `comment "b"`, outside+` |comment "b" : 10.0.2.2 . 50055`, `comment "b" : 10.0.2.77`)
	remove(t, table, "a")
	holds("the older removed", `comment "b"`, outside, `comment "b" : 10.0.2.77`)
	add(t, table, named("c", translated(client4, data4, at(gateway4, 40001), "10.0.2.78")))
	holds("the same, translated in another way", `comment "c"`, other+` |comment "c" : 10.0.2.2 . 50055`, `comment "c" : 10.0.2.78`)
	add(t, table, named("d", translated(client4, data4, "", "")))
	holds("the same, not translated", `comment "d"`)
	remove(t, table, "d")
	holds("removed")

	// Another inside port takes the outside one over.
	add(t, table, named("a", both))
	add(t, table, named("b", translated(client4, at(server4, 50056), at(gateway4, 40000), "")))
	holds("taken over", inside+` |comment "a"`, `comment "a" : 10.0.2.77`, `10.0.2.2 . 50056`, outside+` |comment "b" : 10.0.2.2 . 50056`)
	remove(t, table, "a")
	holds("the former removed", `comment "b"`, outside+` |comment "b" : 10.0.2.2 . 50056`)
	remove(t, table, "b")
	holds("both removed")

	// The name of one for another.
	add(t, table, named("a", both))
	add(t, table, named("a", translated(client4, at(server4, 50056), at(gateway4, 40001), "")))
	holds("renamed", "10.0.2.2 . 50056", other+` |comment "a" : 10.0.2.2 . 50056`)
	remove(t, table, "a")
	holds("renamed and removed")

	// Whatever others do to the sets.
	for _, name := range []string{"set inet ftpinhole pinholes4", "map inet ftpinhole dnat4", "map inet ftpinhole snat4"} {
		add(t, table, named("a", both))
		ns.run(t, "nft flush "+name, "")
		add(t, table, named("b", both))
		holds("again after flush "+name, `comment "b"`, outside, `comment "b" : 10.0.2.77`)
		ns.run(t, "nft flush "+name, "")
		remove(t, table, "b")
		holds("removed after flush " + name)
	}
	ns.run(t, `nft add element inet ftpinhole dnat4 '{ `+outside+` timeout 1h : 192.0.2.1 . 80 }'
		nft add element inet ftpinhole snat4 '{ `+inside+` timeout 1h : 192.0.2.1 }'
		nft add element inet ftpinhole pinholes4 '{ `+inside+` timeout 1h }'`, "")
	add(t, table, named("a", both))
	holds("over somebody else's", inside, outside+` |comment "a" : 10.0.2.2 . 50055`, `comment "a" : 10.0.2.77`)
	remove(t, table, "a")

	// In the other family, and mapped into it.
	add(t, table, named("a", translated(client6, data6, at(gateway6, 40000), outer6)))
	holds("IPv6", `comment "a"`, `fd00:1::2 . fd00:1::1 . 40000 |comment "a" : fd00:2::2 . 50055`, `comment "a" : fd00:2::77`)
	remove(t, table, "a")
	add(t, table, named("a", translated("::ffff:10.0.1.2", "[::ffff:10.0.2.2]:50055", "[::ffff:10.0.1.1]:40000", "::ffff:10.0.2.77")))
	holds("mapped", inside, outside+` |comment "a" : 10.0.2.2 . 50055`, `comment "a" : 10.0.2.77`)
}

// When one of its sets has no room, nothing of a pinhole is opened, and what was
// there stays.
func TestTranslationFull(t *testing.T) {
	ns := newNamespace(t, "full")
	c := forward()
	c.SetSize = 1
	table := ns.installed(t, c)
	for _, name := range []string{"dnat4 '{ 10.0.0.1 . 10.0.0.1 . 1 timeout 1h : 10.0.0.1 . 1 }'", "snat4 '{ 10.0.0.1 . 10.0.0.1 . 1 timeout 1h : 10.0.0.1 }'"} {
		add(t, table, pinhole("a-1", client4, data4))
		ns.run(t, "nft add element inet ftpinhole "+name, "")
		err := table.Add(translated(client4, data4, at(gateway4, outsidePort), outer4), time.Now())
		if !errors.Is(err, nft.ErrFull) {
			t.Errorf("%s: got %v", name, err)
		}
		if got := ns.elements(t); strings.Count(got, "comment") != 1 || !strings.Contains(got, `comment "a-1"`) {
			t.Errorf("%s: the sets hold\n%s", name, got)
		}
		ns.run(t, "nft flush map inet ftpinhole "+name[:5], "")
		remove(t, table, "a-1")
	}
}

// Install and Reconfigure put translations back for what is left of their time,
// but not those that a connection has used.
func TestInstallKeepsTranslations(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	table := l.gateway.installed(t, forward())
	opened := time.Now()
	outside := at(gateway4, outsidePort)
	add(t, table, translated(client4, data4, outside, "10.0.2.1"))
	if !l.client.attempt(t, 0, outside, soon) {
		t.Fatal("the pinhole is shut")
	}
	if ids, err := table.Arrived(); len(ids) != 1 || err != nil {
		t.Errorf("arrived: %v, %v", ids, err)
	}
	open := translated(client6, data6, at(gateway6, outsidePort), outer6)
	open.ID = "open"
	add(t, table, open)
	c := forward()
	c.SourcePorts = true
	for _, again := range []func() error{
		func() error { return table.Install(opened.Add(20 * time.Second)) },
		func() error { return table.Reconfigure(c, opened.Add(20*time.Second)) },
	} {
		l.gateway.run(t, "nft flush ruleset", "")
		if err := again(); err != nil {
			t.Fatal(err)
		}
		got := l.gateway.elements(t)
		if strings.Count(got, `comment "open"`) != 3 || strings.Count(got, "comment") != 3 || !strings.Contains(got, `comment "open" : fd00:2::2 . 50055`) {
			t.Errorf("elements:\n%s", got)
		}
		if strings.Count(got, " timeout 10s") != 3 {
			t.Errorf("20 s of 30 s are over, but:\n%s", got)
		}
		if ok, err := table.Verify(); !ok || err != nil {
			t.Errorf("verify: %v, %v", ok, err)
		}
	}
	if err := table.Uninstall(); err != nil {
		t.Fatal(err)
	}
	if err := table.Install(time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := l.gateway.elements(t); got != "" {
		t.Errorf("back after Uninstall:\n%s", got)
	}
}

// Each has its time.
func TestTranslationTimeout(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	table := l.gateway.installed(t, forward())
	outside := at(gateway4, outsidePort)
	short := translated(client4, data4, outside, "10.0.2.1")
	short.Timeout = time.Second
	add(t, table, short)
	time.Sleep(1100 * time.Millisecond)
	if got := l.gateway.elements(t); got != "" {
		t.Errorf("still listed: %q", got)
	}
	remove(t, table, short.ID) // expired: no error
	repeated(t, table, short, func(patience time.Duration) bool { return l.client.attempt(t, 0, outside, patience) })
}

// What nft says of the table, in every state.
func TestListingOfElements(t *testing.T) {
	ns := newNamespace(t, "list")
	c := forward()
	c.Hooks = []nft.Hook{nft.Forward, nft.Input, nft.Output}
	c.SourcePorts = true
	table := ns.installed(t, c)
	list := func(state string, ids int) {
		t.Helper()
		for _, command := range []string{"nft list ruleset", "nft -a list ruleset"} {
			if got := ns.run(t, command, ""); strings.Count(got, `comment "`) != ids {
				t.Errorf("%s: %s: %d ids, want %d:\n%s", state, command, strings.Count(got, `comment "`), ids, got)
			}
		}
		got := ns.run(t, "nft -j list ruleset", "")
		if !json.Valid([]byte(got)) || strings.Count(got, `"comment"`) != ids {
			t.Errorf("%s: nft -j list ruleset: no JSON, or not %d ids: %s", state, ids, got)
		}
	}
	list("empty", 0)
	four := translated(client4, data4, at(gateway4, outsidePort), outer4)
	six := translated(client6, data6, at(gateway6, outsidePort), outer6)
	six.ID = strings.Repeat("x", 127)
	add(t, table, four)
	list("one", 3)
	add(t, table, six)
	list("both families", 6)
	tuples := []rules.Tuple{tuple(at(client4, 33000), at(server4, 21)), tuple(at(server6, 21), at(client6, 33000))}
	if err := table.AddRewritten(tuples); err != nil {
		t.Fatal(err)
	}
	list("rewritten sessions", 6)
	for i, p := range []rules.Pinhole{from(20, four), from(20, six)} {
		p.ID = fmt.Sprint("sport-", i)
		add(t, table, p)
	}
	list("source ports", 12)
	for i := range 10 {
		p := translated(client4, at(server4, uint16(50100+i)), at(gateway4, uint16(40100+i)), outer4)
		p.ID = fmt.Sprint("more-", i)
		add(t, table, p)
	}
	list("many", 42)
	if err := table.Install(time.Now()); err != nil {
		t.Fatal(err)
	}
	list("installed again", 42)
}

func tuple(src, dst string) rules.Tuple {
	return rules.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}
