package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
)

// NAT is how the gateway translates addresses, in both families: a kind and a
// length, as scripts/lab explains them.
type NAT struct {
	Kind   string // none, masquerade, iptables, snat, dnat, port, both, hairpin, redirect
	Length string // of outside addresses, beside the inside ones: same (also ""), longer, shorter
}

func (n NAT) String() string {
	if n.Length == "" {
		return n.Kind
	}
	return n.Kind + "_" + n.Length
}

// Ends are the addresses of a control connection under a NAT.
type Ends struct {
	Client    netip.Addr // the client's own
	SeenAs    netip.Addr // what the server takes for the client; with snat, the first of two
	Published netip.Addr // what the client takes for the server
	Server    netip.Addr // the server's own
}

// Ends gives the addresses in family 4 or 6.
func (n NAT) Ends(family int) Ends {
	at := func(network, host int) netip.Addr {
		if family == 6 {
			return netip.MustParseAddr(fmt.Sprintf("fd00:0:0:%d::%d", network, host))
		}
		return netip.AddrFrom4([4]byte{10, 0, byte(network), byte(host)})
	}
	inside, outside := 2, 1
	switch n.Length {
	case "longer":
		outside = 101
	case "shorter":
		inside = 102
	}
	e := Ends{Client: at(1, inside), Server: at(2, inside)}
	e.SeenAs, e.Published = e.Client, e.Server
	switch n.Kind {
	case "masquerade", "iptables":
		e.SeenAs = at(2, outside)
	case "snat":
		e.SeenAs = at(2, 1)
	case "dnat", "port":
		e.Published = at(1, outside)
	case "both":
		e.SeenAs, e.Published = at(2, outside), at(1, outside)
	case "hairpin":
		e.SeenAs, e.Published, e.Server = at(1, outside), at(2, outside), at(1, inside+2)
	case "redirect":
		e.Server = at(1, outside)
	}
	return e
}

// Translate has the gateway translate, and gives all sides the addresses for
// it. Connections that are open break.
func (l *Lab) Translate(n NAT) {
	l.t.Helper()
	args := []string{"nat", l.Name, n.Kind}
	if n.Length != "" {
		args = append(args, n.Length)
	}
	l.run(args...)
}

// Loss loses 2 of 100 packets: before, between, after or none, as scripts/lab
// explains them.
func (l *Lab) Loss(where string) {
	l.t.Helper()
	l.run("loss", l.Name, where)
}

// Lost is how many packets were lost since the last call of Loss.
func (l *Lab) Lost() (int, error) {
	total := 0
	for _, where := range []Where{Client, Gateway, Server} {
		n, err := l.counter(where, "loss", "lost")
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// Dropped is how many packets the nft firewall dropped since it was loaded.
func (l *Lab) Dropped() (int, error) { return l.counter(Gateway, "firewall", "dropped") }

// Invalid is how many TCP packets it dropped since conntrack did not take them
// for part of a connection: their sequence numbers were wrong, say.
func (l *Lab) Invalid() (int, error) { return l.counter(Gateway, "firewall", "invalid") }

func (l *Lab) counter(where Where, table, name string) (int, error) {
	out, err := l.Exec(where, "nft", "list", "counter", "inet", table, name)
	if err != nil {
		return 0, err
	}
	match := regexp.MustCompile(`packets (\d+)`).FindStringSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("no packet count in %q", out)
	}
	return strconv.Atoi(match[1])
}
