package lab_test

import (
	"net/netip"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
)

// A cluster's 227 names another machine of it: with foreign_pairs the client
// reaches that one, also behind masquerade, and none that is not named there.
func TestCluster(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	member, stranger := netip.MustParseAddr("10.0.2.9"), netip.MustParseAddr("10.0.2.17")
	d := configured(t, l, "[[policy.rule]]\nservers = ['10.0.2.2']\nforeign_pairs = [{ peer = '10.0.2.2', foreign = '10.0.2.8/29' }]\n")
	kinds := []lab.NAT{{Kind: "none"}, {Kind: "masquerade", Length: "longer"}}
	for _, n := range kinds {
		l.Translate(n)
		for _, a := range []netip.Addr{member, stranger} {
			if _, err := l.Exec(lab.Server, "ip", "address", "add", a.String()+"/24", "dev", "uplink"); err != nil {
				t.Fatal(err)
			}
		}
		p := loginPair(t, l, n, n.Ends(4))
		for _, machine := range []netip.Addr{member, stranger} {
			at := netip.AddrPortFrom(machine, 50055)
			if err := p.tell(p.client, "PASV\r\n"); err != nil {
				t.Fatal(err)
			}
			if err := p.tell(p.server, passiveReply("PASV", at)+"\r\n"); err != nil {
				t.Fatalf("%v: %v", n, err)
			}
			if machine == member {
				if err := p.data("PASV", at, at); err != nil {
					t.Errorf("%v: %v", n, err)
				}
				continue
			}
			if conn, err := l.Dial(lab.Client, netip.Addr{}, at, 300*time.Millisecond); err == nil {
				conn.Close()
				t.Errorf("%v: %v is open", n, at)
			}
		}
		if err := p.end(); err != nil {
			t.Error(err)
		}
	}

	records := d.WaitClosed(t, len(kinds))
	if opened := lab.Pinholes(records, "open"); len(opened) != len(kinds) || opened[0].Pinhole.DestIP != member.String() {
		t.Errorf("want %d pinholes to %v: %v", len(kinds), member, opened)
	}
	for _, r := range lab.Pinholes(records, "deny") {
		if r.Pinhole.Reason != "foreign_address" {
			t.Errorf("denied for another reason: %s", r.Raw)
		}
	}
	noneInvalid(t, l)
}
