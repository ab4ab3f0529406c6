package lab_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// Must hold: a second gateway takes over in the middle of sessions, with what
// docs/failover.md has, word for word. The control connections go on, the pinholes
// that were open work there, once, and so does what is negotiated next. Where
// pinholes are no expectations, conntrackd does not carry them.
func TestFailover(t *testing.T) {
	t.Parallel()
	first, second := lab.New(t), lab.New(t)
	carried := expects(t, first)
	backend, accept := "expect", "ct state related accept"
	if !carried {
		backend, accept = "nft", "ct mark and 0x10000000 == 0x10000000 accept"
	}
	beside(t, first, second)
	first.StartServer("vsftpd", lab.Server)
	page := blocks(t, "failover.md")
	daemon := make(map[*lab.Lab]*lab.Daemon)
	for name, l := range map[string]*lab.Lab{"first": first, "second": second} {
		l.Firewall("drop")
		gateway(t, l, fmt.Sprintf(`
nft insert rule inet firewall judge %s
nft insert rule inet firewall input iif sync accept
nft insert rule inet firewall output oif sync accept
mkdir -p /etc/conntrackd /run/lock
cat >/etc/conntrackd/conntrackd.conf <<'CONF'
%sCONF
conntrackd -d`, accept, only(t, page, "conntrackd.conf "+name)))
		daemon[l] = l.StartDaemon("--backend", backend)
	}

	type session struct {
		*lab.Session
		open netip.AddrPort // by the first gateway, not used yet
	}
	var sessions []session
	for _, family := range []int{4, 6} {
		s, open := pinholeBy(t, first, family, "EPSV")
		sessions = append(sessions, session{s, open})
		patience.Until(t, "the second gateway's conntrackd knows the session and its pinhole", func() bool {
			known := gateway(t, second, "conntrackd -e")
			expected := gateway(t, second, "conntrackd -e expect")
			return strings.Contains(known, "src="+lab.Address(lab.Client, family).String()) &&
				(!carried || strings.Contains(expected, fmt.Sprintf("dport=%d", open.Port())))
		})
	}

	daemon[first].Kill()
	takeOver(t, first, second, only(t, page, "sh primary"))

	for _, s := range sessions {
		if err := s.Expect("NOOP", 200); err != nil {
			t.Fatalf("the control connection that has the data port %v: %v", s.open, err)
		}
		if carried {
			if _, err := s.Retrieve(s.open, "hello.txt"); err != nil {
				t.Errorf("through the pinhole to %v, which the first gateway opened: %v", s.open, err)
			}
		}
		before := dropped(t, second)
		if conn, err := first.Dial(lab.Client, netip.Addr{}, s.open, 500*time.Millisecond); err == nil {
			conn.Close()
			t.Errorf("a connection to %v that nobody has agreed on passed", s.open)
		}
		patience.Until(t, fmt.Sprintf("it was the second gateway's firewall that dropped a SYN to %v", s.open),
			func() bool { return dropped(t, second) > before })
		data, err := s.Passive("EPSV")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Retrieve(data, "hello.txt"); err != nil {
			t.Errorf("EPSV on the second gateway: %v", err)
		}
		if _, err := s.RetrieveActive("EPRT", "hello.txt"); err != nil {
			t.Errorf("EPRT on the second gateway: %v", err)
		}
	}
	closed := lab.Pinholes(daemon[second].WaitClosed(t, 4), "close")
	for _, record := range closed {
		if record.Pinhole.Reason != "finished" || !strings.Contains(record.Raw, `"backend":"`+backend+`"`) {
			t.Errorf("not finished, or not by the backend %s: %s", backend, record.Raw)
		}
	}
	if len(closed) != 4 {
		t.Errorf("%d pinholes were opened by the second gateway's daemon, want 4", len(closed))
	}
}

// only is the text of the one block of this kind.
func only(t *testing.T, page []block, kind string) string {
	t.Helper()
	var found []string
	for _, b := range page {
		if b.kind == kind {
			found = append(found, b.text)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d blocks %q, want 1", len(found), kind)
	}
	return found[0]
}

// gateway runs commands on a fresh gateway and returns what they print.
func gateway(t *testing.T, l *lab.Lab, commands string) string {
	t.Helper()
	return shell(t, l, lab.Fresh, block{section: t.Name(), text: commands})
}

// beside puts the second lab's gateway beside the first's: each has addresses of
// its own, the first has those of the service too, and a link is between them. The
// second's client and server namespaces become the switches of the two networks.
func beside(t *testing.T, first, second *lab.Lab) {
	t.Helper()
	links(t, fmt.Sprintf(`
network=0
for side in client server; do
	network=$((network + 1))
	ip -n %[1]s-gateway link set $side netns %[2]s-$side name host
	ip -n %[1]s-gateway link add $side type veth peer name first netns %[2]s-$side
	ip -n %[2]s-$side -batch - <<END
addr flush dev uplink scope global
link add switch type bridge
link set uplink master switch
link set host master switch
link set first master switch
link set host up
link set first up
link set switch up
END
	ip -n %[1]s-gateway -batch - <<END
link set $side up
addr add 10.0.$network.11/24 dev $side
addr add 10.0.$network.1/24 dev $side
addr add fd00:0:0:$network::11/64 dev $side nodad
addr add fd00:0:0:$network::1/64 dev $side nodad
END
	ip -n %[2]s-gateway -batch - <<END
addr flush dev $side scope global
addr add 10.0.$network.12/24 dev $side
addr add fd00:0:0:$network::12/64 dev $side nodad
END
done
ip -n %[1]s-gateway link add sync type veth peer name sync netns %[2]s-gateway
ip -n %[1]s-gateway addr add 192.168.100.1/24 dev sync
ip -n %[2]s-gateway addr add 192.168.100.2/24 dev sync
ip -n %[1]s-gateway link set sync up
ip -n %[2]s-gateway link set sync up
`, first.Name, second.Name))
	for _, l := range []*lab.Lab{first, second} {
		l.Fresh()
		gateway(t, l, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	}
}

// takeOver is what happens when the first gateway has lost its power: keepalived
// gives the second one the service addresses, tells the neighbours so, and calls
// the script.
func takeOver(t *testing.T, first, second *lab.Lab, script string) {
	t.Helper()
	gateway(t, first, "for link in sync client server; do ip link set $link down; done; conntrackd -k")
	gateway(t, second, `
ip addr add 10.0.1.1/24 dev client
ip addr add 10.0.2.1/24 dev server
ip addr add fd00:0:0:1::1/64 dev client nodad
ip addr add fd00:0:0:2::1/64 dev server nodad`)
	for service, neighbour := range map[string]string{
		"10.0.1.1": "10.0.1.2", "fd00:0:0:1::1": "fd00:0:0:1::2",
		"10.0.2.1": "10.0.2.2", "fd00:0:0:2::1": "fd00:0:0:2::2",
	} {
		// Whoever is asked for its hardware address learns that of who asks.
		to := netip.AddrPortFrom(netip.MustParseAddr(neighbour), 21)
		patience.Until(t, fmt.Sprintf("%s answers to the address %s of the second gateway", neighbour, service), func() bool {
			conn, err := second.Dial(lab.Gateway, netip.MustParseAddr(service), to, time.Second)
			if err == nil {
				conn.Close()
			}
			return err == nil || errors.Is(err, syscall.ECONNREFUSED)
		})
	}
	gateway(t, second, script)
}
