package lab_test

import (
	"fmt"
	"net/netip"
	"testing"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// Who announces an address that is translated to its own further out: the line
// arrives as it was sent, and the announcing side's own address is open, with and
// without a NAT of ours. What is refused otherwise stays refused.
func TestNATKeptLines(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	d := configured(t, l, "[policy]\npasv_address = 'keep'\nport_address = 'keep'\n")
	further := map[int]netip.Addr{4: netip.MustParseAddr("192.0.2.99"), 6: netip.MustParseAddr("2001:db8:99::1")}
	for _, n := range []lab.NAT{{Kind: "none"}, {Kind: "dnat", Length: "longer"}, {Kind: "both", Length: "shorter"}} {
		l.Translate(n)
		for family, public := range further {
			p := loginPair(t, l, n, n.Ends(family))
			for _, command := range []string{"PASV", "PORT", "EPRT"} {
				if err := p.kept(command, public, further[4]); err != nil {
					t.Errorf("%v, IPv%d, %s: %v", n, family, command, err)
				}
			}
			if err := p.tell(p.client, fmt.Sprintf("PORT %s\r\n", sixNumbers(netip.AddrPortFrom(further[4], 2049)))); err != nil {
				t.Error(err)
			}
			if err := p.tell(p.server, "500 no\r\n"); err != nil {
				t.Error(err)
			}
			if err := p.end(); err != nil {
				t.Error(err)
			}
		}
	}
	patience.Until(t, "every denied port is recorded", func() bool {
		records := lab.Pinholes(d.AuditRecords(), "deny")
		for _, r := range records {
			if r.Pinhole.Reason != "denied_port" {
				t.Fatalf("denied for another reason: %s", r.Raw)
			}
		}
		return refusals(records) == 6
	})
	noneInvalid(t, l)
}

// A tuple has no room for an address of IPv6: with pasv_address = "peer" the line
// stays too.
func TestNATPeerInIPv6(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	configured(t, l, "[policy]\npasv_address = 'peer'\n")
	none := netip.MustParseAddr("0.0.0.0")
	for _, n := range []lab.NAT{{Kind: "none"}, {Kind: "dnat", Length: "longer"}, {Kind: "both", Length: "shorter"}} {
		l.Translate(n)
		p := loginPair(t, l, n, n.Ends(6))
		if err := p.kept("PASV", none, none); err != nil {
			t.Errorf("%v: %v", n, err)
		}
		if _, _, err := p.transfer("EPSV"); err != nil { // the numbers are as they were
			t.Errorf("%v, EPSV behind it: %v", n, err)
		}
		if err := p.end(); err != nil {
			t.Error(err)
		}
	}
	noneInvalid(t, l)
}

// kept announces an endpoint under an address that is translated further out, and
// wants the line to arrive as it was sent and the endpoint to be open. PORT and
// 227 name one of IPv4.
func (p *pair) kept(command string, public, public4 netip.Addr) error {
	at, err := p.free(command)
	if err != nil {
		return err
	}
	if command != "EPRT" {
		public = public4
	}
	line, reply := announcement(command, netip.AddrPortFrom(public, at.Port()))+"\r\n", "200 fine\r\n"
	if isPassive(command) {
		line, reply = command+"\r\n", line
	}
	if err := p.tell(p.client, line); err != nil {
		return err
	}
	if err := p.tell(p.server, reply); err != nil {
		return err
	}
	// The router further out sends it on to what is ours from outside.
	return p.data(command, at, netip.AddrPortFrom(p.outside(command), at.Port()))
}
