package nft_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// The addresses of the lab. The client is .2 of one network, the server .2 of
// another, the gateway .1 of both.
const (
	client4, gateway4, server4 = "10.0.1.2", "10.0.1.1", "10.0.2.2"
	client6, gateway6, server6 = "fd00:1::2", "fd00:1::1", "fd00:2::2"
)

// lab is a client and a server with a gateway between that drops what is not
// established, but for the operator's line.
type lab struct {
	client, gateway, server namespace
}

func newLab(t *testing.T) lab {
	t.Helper()
	l := lab{newNamespace(t, "client"), newNamespace(t, "gateway"), newNamespace(t, "server")}
	connect := func(host namespace, n int) {
		host.run(t, fmt.Sprintf(`
			ip link add eth0 type veth peer name eth%[2]d netns %[1]s
			ip addr add 10.0.%[2]d.2/24 dev eth0; ip addr add fd00:%[2]d::2/64 dev eth0 nodad; ip link set eth0 up
			ip netns exec %[1]s sh -ec 'ip addr add 10.0.%[2]d.1/24 dev eth%[2]d; ip addr add fd00:%[2]d::1/64 dev eth%[2]d nodad; ip link set eth%[2]d up'
			ip route add default via 10.0.%[2]d.1; ip -6 route add default via fd00:%[2]d::1
		`, l.gateway, n), "")
	}
	connect(l.client, 1)
	connect(l.server, 2)
	l.gateway.run(t, "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding", "")
	var chains strings.Builder
	for _, hook := range []string{"forward", "input", "output"} {
		fmt.Fprintf(&chains, `chain %s {
			type filter hook %s priority filter; policy drop;
			ct state established accept
			meta l4proto 58 accept
			tcp dport 21 accept
			ct mark and 0x10000000 == 0x10000000 accept
		}
		`, hook, hook)
	}
	l.gateway.run(t, "nft -f -", "table inet firewall {\n"+chains.String()+"}\n")
	// A link that has just come up needs up to a second before IPv6 works.
	for _, pair := range []struct {
		from namespace
		to   string
	}{{l.client, server6}, {l.server, client6}} {
		for deadline := time.Now().Add(soon); !pair.from.reaches(t, pair.to); {
			if time.Now().After(deadline) {
				t.Fatalf("no way from %s to %s", pair.from, pair.to)
			}
		}
	}
	l.gateway.forget(t)
	return l
}

// reaches tells whether to answers, if only that nobody listens there.
func (ns namespace) reaches(t *testing.T, to string) (ok bool) {
	t.Helper()
	ns.do(t, func() {
		_, err := net.DialTimeout("tcp", netip.AddrPortFrom(netip.MustParseAddr(to), 21).String(), drop)
		ok = errors.Is(err, unix.ECONNREFUSED)
	})
	return ok
}

// listen accepts connections to port at all addresses of ns, and keeps them.
func (ns namespace) listen(t testing.TB, port uint16) {
	t.Helper()
	var l net.Listener
	var err error
	ns.do(t, func() { l, err = net.Listen("tcp", fmt.Sprintf(":%d", port)) })
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte{0}) // attempt waits for it
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})
}

// attempt connects from ns, from a source port or 0, and says whether it came
// through within patience.
func (ns namespace) attempt(t testing.TB, sport uint16, to string, patience time.Duration) bool {
	t.Helper()
	ok := false
	ns.do(t, func() {
		d := net.Dialer{Timeout: patience}
		if sport != 0 {
			d.LocalAddr = &net.TCPAddr{Port: int(sport)}
		}
		c, err := d.Dial("tcp", to)
		// Reset before we looked: it was connected, or else it would be refused.
		ok = err == nil || errors.Is(err, unix.ECONNRESET)
		if err == nil {
			// Sent by another CPU, the RST may overtake the ACK before it.
			_ = c.SetReadDeadline(time.Now().Add(patience))
			_, _ = c.Read(make([]byte, 1))
			c.(*net.TCPConn).SetLinger(0) // the port is free at once
			c.Close()
		}
	})
	return ok
}

const (
	soon  = 2 * time.Minute        // patience with what should come: only a test that fails takes so long
	drop  = 150 * time.Millisecond // patience with what should be dropped
	port  = 50055
	data4 = "10.0.2.2:50055"
	data6 = "[fd00:2::2]:50055"
)

// flows calls f with a way to the namespace's conntrack.
func (ns namespace) flows(t *testing.T, f func(*conntrack.Conn)) {
	t.Helper()
	ns.do(t, func() {
		c, err := conntrack.Dial(nil)
		if err != nil {
			t.Errorf("conntrack: %v", err)
			return
		}
		defer c.Close()
		f(c)
	})
}

// marked counts the flows that carry mark.
func (ns namespace) marked(t *testing.T, mark uint32) (n int) {
	t.Helper()
	ns.flows(t, func(c *conntrack.Conn) {
		flows, err := c.Dump(nil)
		if err != nil {
			t.Errorf("dump: %v", err)
		}
		for _, f := range flows {
			if f.Mark&mark != 0 {
				n++
			}
		}
	})
	return n
}

// forget empties conntrack.
func (ns namespace) forget(t *testing.T) {
	t.Helper()
	ns.flows(t, func(c *conntrack.Conn) {
		if err := c.Flush(); err != nil {
			t.Errorf("flush: %v", err)
		}
	})
}
