package lab_test

import (
	"net/netip"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// A server behind somebody else's NAT announces its inside address, or none:
// refused and recorded, and the line goes on as it is. With pasv_address =
// "peer" its own address is meant. With and without a NAT of ours.
func TestNATForeignAddress(t *testing.T) {
	t.Parallel()
	for name, peer := range map[string]bool{"own": false, "peer": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			l.Firewall("accept-line")
			d := configured(t, l, "[[policy.rule]]\nservers = ['10.0.2.0/24']\npasv_address = '"+name+"'\n")
			denied := 0
			for _, n := range []lab.NAT{{Kind: "none"}, {"dnat", "longer"}, {"both", "shorter"}} {
				l.Translate(n)
				p := loginPair(t, l, n, n.Ends(4))
				for _, announced := range []string{"192.168.100.100", "0.0.0.0", "192.0.2.1"} {
					at, err := p.free("PASV")
					if err != nil {
						t.Fatal(err)
					}
					if err := p.tell(p.client, "PASV\r\n"); err != nil {
						t.Fatal(err)
					}
					sent := passiveReply("PASV", netip.AddrPortFrom(netip.MustParseAddr(announced), at.Port())) + "\r\n"
					if !peer {
						if err := p.tell(p.server, sent); err != nil {
							t.Errorf("%v, %s: %v", n, announced, err)
						}
						denied++
						if conn, err := l.Dial(lab.Client, netip.Addr{}, netip.AddrPortFrom(p.ends.Published, at.Port()), 300*time.Millisecond); err == nil {
							conn.Close()
							t.Errorf("%v, %s: the port is open", n, announced)
						}
						continue
					}
					if err := p.server.write(sent); err != nil {
						t.Fatal(err)
					}
					got, err := p.client.line()
					if err != nil {
						t.Fatal(err)
					}
					told, err := p.sameWords("PASV", sent, got)
					if err != nil {
						t.Errorf("%v, %s: %v", n, announced, err)
					} else if err := p.data("PASV", at, told); err != nil {
						t.Errorf("%v, %s: %v", n, announced, err)
					}
				}
				if err := p.end(); err != nil {
					t.Error(err)
				}
			}
			patience.Until(t, "every refusal is recorded", func() bool {
				records := lab.Pinholes(d.AuditRecords(), "deny")
				for _, r := range records {
					if r.Pinhole.Reason != "foreign_address" {
						t.Fatalf("denied for another reason: %s", r.Raw)
					}
				}
				return refusals(records) == denied
			})
			noneInvalid(t, l)
		})
	}
}

// refusals are how many the records stand for.
func refusals(records []lab.Record) int {
	total := 0
	for _, r := range records {
		total += max(1, r.Pinhole.Count)
	}
	return total
}
