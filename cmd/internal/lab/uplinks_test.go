package lab_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// Of two uplinks a data connection takes that of its control connection, from its
// first SYN on: the operator's mark is on it before it is routed. Active mode, where
// the SYN leaves by the uplink, with translated addresses and without.
func TestDataConnectionTakesTheUplinkOfItsControlConnection(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		server string // as the client knows it
		nat    string
	}{
		{"routed", "10.0.2.2", ""},
		{"masqueraded", "10.9.0.1", `
			chain published {
				type nat hook prerouting priority dstnat
				iifname "second" tcp dport 21 dnat ip to 10.0.2.2
			}
			chain hidden {
				type nat hook postrouting priority srcnat
				oifname { "client", "second" } ip saddr 10.0.2.2 masquerade
			}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := lab.New(t)
			l.Firewall("accept-line")
			l.StartServer("vsftpd", lab.Server)
			secondUplink(t, l, test.nat)
			l.StartDaemon()
			for range 2 {
				s, err := l.Login(lab.Client, netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr(test.server))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.RetrieveActive("PORT", "hello.txt"); err != nil {
					t.Fatal(err)
				}
			}
			out, err := l.Exec(lab.Gateway, "nft", "list", "table", "inet", "uplinks")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out, `oifname "second" counter packets 2 `) || !strings.Contains(out, `oifname "client" counter packets 0 `) {
				t.Errorf("the SYNs of the data connections took another uplink:\n%s", out)
			}
		})
	}
}

// secondUplink joins the gateway and the client by a second link, over which the
// client speaks, and has the operator's rules answer where a connection came from.
func secondUplink(t *testing.T, l *lab.Lab, nat string) {
	t.Helper()
	links(t, fmt.Sprintf(`
ip -n %[1]s-gateway link add second type veth peer name second netns %[1]s-client
ip -n %[1]s-gateway link set second up
ip -n %[1]s-gateway addr add 10.9.0.1/24 dev second
ip -n %[1]s-client link set second up
ip -n %[1]s-client addr add 10.9.0.2/24 dev second
ip -n %[1]s-client route add 10.0.2.0/24 via 10.9.0.1
ip -n %[1]s-gateway rule add fwmark 1/1 table 100
ip -n %[1]s-gateway route add 10.0.1.0/24 via 10.9.0.2 table 100`, l.Name))
	for _, where := range []lab.Where{lab.Gateway, lab.Client} {
		if _, err := l.Exec(where, "sh", "-c", "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done"); err != nil {
			t.Fatal(err)
		}
	}
	rules := `table inet uplinks {
		chain prerouting {
			type filter hook prerouting priority mangle
			iifname "second" ct state new ct mark set ct mark or 0x1
			meta mark set ct mark
		}
		chain count {
			type filter hook postrouting priority mangle
			tcp flags & (syn|ack) == syn ip daddr 10.0.1.2 oifname "second" counter
			tcp flags & (syn|ack) == syn ip daddr 10.0.1.2 oifname "client" counter
		}
		` + nat + `
	}`
	if _, err := l.Exec(lab.Gateway, "nft", rules); err != nil {
		t.Fatal(err)
	}
}
