package nft_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"ftpinhole/rules"
)

// The first SYN of a pinhole's connection has the control connection's mark before
// it is routed, with what the operator's own chains add to it; a second SYN, and
// one of another connection, have nothing of it.
func TestMarkIsInherited(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	outside := at(gateway4, outsidePort)
	l.gateway.run(t, "nft -f -", `
table inet operator {
	counter inherited { }
	chain prerouting {
		type filter hook prerouting priority mangle
		ct state new ct mark and 0x5 == 0x5 counter name inherited
		ct state new ct mark set ct mark or 0x100
	}
}
`)
	count := func(name string) string {
		_, rest, _ := strings.Cut(l.gateway.run(t, "nft list counter inet operator "+name, ""), "packets ")
		n, _, _ := strings.Cut(rest, " ")
		return n
	}
	table := l.gateway.installed(t, forward())
	for i, test := range []struct {
		pinhole rules.Pinhole
		to      string
	}{
		{pinhole("a", client4, data4), data4},
		{pinhole("b", client6, data6), data6},
		{translated(client4, data4, outside, "10.0.2.1"), outside},
	} {
		test.pinhole.Mark = 0x5
		add(t, table, test.pinhole)
		l.gateway.run(t, "nft list ruleset; nft -j list ruleset", "")
		if !l.client.attempt(t, 0, test.to, soon) {
			t.Fatalf("%s: the pinhole is shut", test.to)
		}
		if got := count("inherited"); got != fmt.Sprint(i+1) {
			t.Errorf("%s: %s SYNs have the mark before they are routed, want %d", test.to, got, i+1)
		}
		if got := l.gateway.run(t, "conntrack -L -p tcp 2>/dev/null", ""); strings.Count(got, "mark=268435717 ") != i+1 {
			t.Errorf("%s: not marked 0x10000105: %s", test.to, got)
		}
		if l.client.attempt(t, 0, test.to, drop) {
			t.Errorf("%s: a second connection came through", test.to)
		}
		if got := count("inherited"); got != fmt.Sprint(i+1) {
			t.Errorf("%s: %s SYNs have the mark, one of them a second one", test.to, got)
		}
		remove(t, table, test.pinhole.ID)
	}
	if got := l.gateway.elements(t); got != "" {
		t.Errorf("left: %q", got)
	}
}

// Where the operator lets all pass that has the mark, still only one of four does.
// (law 4)
func TestLaw4MarkedOneOfFour(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	l.gateway.run(t, "nft insert rule inet firewall forward ct mark and 0x5 == 0x5 accept", "")
	table := l.gateway.installed(t, forward())
	p := pinhole("", client4, data4)
	p.Mark = 0x5
	for trial := range 100 {
		p.ID = fmt.Sprintf("t-%d", trial)
		add(t, table, p)
		if through := l.client.race(t, netip.MustParseAddrPort(data4), 4); through != 1 {
			t.Fatalf("trial %d: %d of 4 came through", trial, through)
		}
	}
}
