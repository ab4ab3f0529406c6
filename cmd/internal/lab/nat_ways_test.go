package lab_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// commands are all that announce an endpoint in a family.
func commands(family int) []string {
	if family == 6 {
		return []string{"EPRT", "EPSV"}
	}
	return []string{"PORT", "EPRT", "PASV", "EPSV"}
}

// everyNAT is each kind of translation that scripts/lab has, in each length
// of addresses.
func everyNAT() []lab.NAT {
	all := []lab.NAT{
		{Kind: "none"}, {Kind: "iptables"}, {Kind: "snat"}, {Kind: "port"},
		{Kind: "redirect"}, {"redirect", "shorter"}, // the reply of the gateway's own server grows
	}
	for _, kind := range []string{"masquerade", "dnat", "both", "hairpin"} {
		for _, length := range []string{"same", "longer", "shorter"} {
			all = append(all, lab.NAT{Kind: kind, Length: length})
		}
	}
	return all
}

// everyWay agrees on data connections and uses them in every kind of NAT and
// with every command.
func everyWay(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, n := range everyNAT() {
		l.Translate(n)
		for _, family := range []int{4, 6} {
			p := loginPair(t, l, n, n.Ends(family))
			for _, command := range commands(family) {
				if _, _, err := p.transfer(command); err != nil {
					t.Errorf("%v, IPv%d: %v", n, family, err)
				}
			}
			if err := p.end(); err != nil {
				t.Errorf("%v, IPv%d: %v", n, family, err)
			}
		}
		noneInvalid(t, l)
	}
}

// The kernel's helper does this too.
func TestNATWaysWithKernelHelper(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("kernel-helper")
	everyWay(t, l)
}

// Must hold: whatever is translated, in both families: hairpin, several outside
// addresses, a port forward, a server on the gateway itself, and IPv6 with and
// without NAT.
func TestNATWays(t *testing.T) {
	t.Parallel()
	l, _ := translated(t, lab.NAT{Kind: "none"}, "--hooks", "forward,input,output")
	everyWay(t, l)
}

// The operator's firewall and translation may be iptables.
func TestNATWithIptables(t *testing.T) {
	t.Parallel()
	n := lab.NAT{Kind: "iptables"}
	l, _ := translated(t, n)
	l.Firewall("iptables")
	l.StartServer("vsftpd", lab.Server)
	natTransfers(t, l, n, lab.Variants(), lab.Programs()[:1], lab.Ops()...)
}

// Must hold: `nft list ruleset` and `nft -j list ruleset` work in every state:
// with pinholes that are translated, while they are used, with sessions that
// are rewritten, and while there is no daemon.
func TestNATRulesetIsListed(t *testing.T) {
	t.Parallel()
	l, d := translated(t, lab.NAT{Kind: "none"}, "--hooks", "forward,input,output")
	// list returns our table.
	list := func(state string) string {
		t.Helper()
		text, err := l.Ruleset()
		_, ours, found := strings.Cut(text, "table inet ftpinhole {")
		if err != nil || !found {
			t.Errorf("%s: nft list ruleset: %v\n%s", state, err, text)
		}
		if text, err := l.Ruleset("-j"); err != nil || !json.Valid([]byte(text)) {
			t.Errorf("%s: nft -j list ruleset: %v\n%s", state, err, text)
		}
		ours, _, _ = strings.Cut(ours, "\n}")
		return ours
	}
	holds := func(state string, what ...string) {
		t.Helper()
		ours := list(state)
		for _, element := range what {
			if !strings.Contains(ours, element) {
				t.Errorf("%s: %q is not in our table:\n%s", state, element, ours)
			}
		}
	}
	list("before")
	for _, n := range []lab.NAT{{"both", "longer"}, {"hairpin", "same"}} {
		l.Translate(n)
		for _, family := range []int{4, 6} {
			p := loginPair(t, l, n, n.Ends(family))
			for _, command := range commands(family) {
				state := n.String() + " " + command
				at, err := p.free(command)
				if err != nil {
					t.Fatal(err)
				}
				told, err := p.announce(command, at)
				if err != nil {
					t.Fatal(err)
				}
				// The pinhole, and what the outside port is translated to.
				holds(state, element(at), element(told))
				if err := p.data(command, at, told); err != nil {
					t.Error(err)
				}
			}
			list(n.String() + " used")
			if n.Length == "longer" {
				rewritten := p.ends.Client.String() + " . " + port(p.client) + " . "
				holds(n.String()+" rewritten", rewritten)
				d.Kill()
				holds(n.String()+" killed", rewritten)
				d = d.Restart()
				holds(n.String()+" started again", rewritten)
			}
			if err := p.end(); err != nil {
				t.Error(err)
			}
		}
	}
	noneInvalid(t, l)
	d.Stop()
	if text, err := l.Ruleset(); err != nil || strings.Contains(text, "ftpinhole") {
		t.Errorf("after the stop: %v\n%s", err, text)
	}
}

// element is an endpoint as nft lists it in a set.
func element(at netip.AddrPort) string { return fmt.Sprintf("%v . %d", at.Addr(), at.Port()) }

// Two clients behind one address announce the same port: one is given another,
// of the range that the configuration names, and both are reached.
func TestNATTwoClientsOnePort(t *testing.T) {
	t.Parallel()
	n := lab.NAT{Kind: "masquerade", Length: "longer"}
	l := lab.New(t)
	l.Firewall("accept-line")
	l.Translate(n)
	configured(t, l, "[nat]\nports = [30000, 30999]\n")
	for family, other := range map[int]string{4: "10.0.1.3", 6: "fd00:0:0:1::3"} {
		ends := n.Ends(family)
		first := loginPair(t, l, n, ends)
		ends.Client = netip.MustParseAddr(other)
		second := loginPair(t, l, n, ends)
		at1 := netip.AddrPortFrom(first.ends.Client, 40021)
		at2 := netip.AddrPortFrom(second.ends.Client, 40021)
		told1, err1 := first.announce("EPRT", at1)
		told2, err2 := second.announce("EPRT", at2)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if told1.Port() != 40021 || told2.Port() < 30000 || told2.Port() > 30999 {
			t.Errorf("announced as %v and %v, want port 40021 and one from 30000 to 30999", told1, told2)
		}
		if err := second.data("EPRT", at2, told2); err != nil {
			t.Errorf("the second client: %v", err)
		}
		if err := first.data("EPRT", at1, told1); err != nil {
			t.Errorf("the first client: %v", err)
		}
		patience.Until(t, "the port is free again", func() bool {
			told, err := second.announce("EPRT", at2)
			if err != nil {
				t.Fatal(err)
			}
			return told.Port() == at2.Port()
		})
	}
	noneInvalid(t, l)
}
