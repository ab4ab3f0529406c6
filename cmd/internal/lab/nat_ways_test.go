package lab_test

import (
	"testing"

	"ftpinhole/cmd/internal/lab"
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
	all := []lab.NAT{{Kind: "none"}, {Kind: "iptables"}, {Kind: "snat"}, {Kind: "port"}, {Kind: "redirect"}}
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
