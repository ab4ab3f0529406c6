package nft_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"ftpinhole/rules"
	"ftpinhole/rules/nft"
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
		for deadline := time.Now().Add(5 * time.Second); !pair.from.reaches(t, pair.to); {
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
		if err == nil {
			ok = true
			c.(*net.TCPConn).SetLinger(0) // the port is free at once
			c.Close()
		}
	})
	return ok
}

const (
	soon  = 2 * time.Second        // patience with what should come through
	drop  = 150 * time.Millisecond // patience with what should be dropped
	port  = 50055
	data4 = "10.0.2.2:50055"
	data6 = "[fd00:2::2]:50055"
)

func TestPinhole(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	c := forward()
	c.SourcePorts = true
	table := l.gateway.installed(t, c)
	for _, test := range []struct {
		name    string
		pinhole rules.Pinhole
		sport   uint16
		to      string
		want    bool
		used    bool // the pinhole's counter says that a SYN came
	}{
		{name: "IPv4", pinhole: pinhole("v4", client4, data4), to: data4, want: true, used: true},
		{name: "IPv6", pinhole: pinhole("v6", client6, data6), to: data6, want: true, used: true},
		{name: "other source", pinhole: pinhole("src", "10.0.1.3", data4), to: data4},
		{name: "other destination", pinhole: pinhole("dst", client4, "10.0.2.3:50055"), to: data4},
		{name: "other port", pinhole: pinhole("port", client4, "10.0.2.2:50056"), to: data4},
		{name: "other direction", pinhole: pinhole("back", server4, "10.0.1.2:50055"), to: data4},
		{name: "source port", pinhole: from(20, pinhole("sport", client4, data4)), sport: 20, to: data4, want: true, used: true},
		{name: "other source port", pinhole: from(20, pinhole("othersport", client4, data4)), sport: 22222, to: data4},
		{name: "source port, IPv6", pinhole: from(20, pinhole("sport6", client6, data6)), sport: 20, to: data6, want: true, used: true},
		{name: "other source port, IPv6", pinhole: from(20, pinhole("othersport6", client6, data6)), sport: 22222, to: data6},
	} {
		t.Run(test.name, func(t *testing.T) {
			patience := map[bool]time.Duration{true: soon, false: drop}[test.want]
			if l.client.attempt(t, test.sport, test.to, drop) {
				t.Fatal("came through without a pinhole")
			}
			add(t, table, test.pinhole)
			if got := l.client.attempt(t, test.sport, test.to, patience); got != test.want {
				t.Errorf("came through: %v, want %v", got, test.want)
			}
			ids, err := table.Arrived()
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Contains(ids, test.pinhole.ID); got != test.used {
				t.Errorf("arrived: %v, want %v", got, test.used)
			}
			if test.want && l.client.attempt(t, test.sport, test.to, drop) {
				t.Error("a second connection came through")
			}
			remove(t, table, test.pinhole.ID)
		})
	}
	if got := l.gateway.elements(t); got != "" {
		t.Errorf("left in the sets:\n%s", got)
	}
}

func from(port uint16, p rules.Pinhole) rules.Pinhole {
	p.SrcPort = port
	return p
}

// Law 4: of four connections at once to one pinhole exactly one gets through.
// Each trial opens the same pinhole again, so that this is tested too.
func TestLaw4OneOfFour(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	table := l.gateway.installed(t, forward())
	const trials, atOnce = 100, 4
	for trial := range trials {
		add(t, table, pinhole(fmt.Sprintf("t-%d", trial), client4, data4))
		sockets := make([]int, atOnce)
		l.client.do(t, func() {
			for i := range sockets {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					t.Errorf("socket: %v", err)
				}
				sockets[i] = fd
			}
		})
		addr := netip.MustParseAddr(server4).As4()
		start := make(chan struct{})
		var wait sync.WaitGroup
		for _, fd := range sockets {
			wait.Go(func() {
				<-start
				if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: addr}); err != nil && err != unix.EINPROGRESS {
					t.Errorf("connect: %v", err)
				}
			})
		}
		close(start)
		wait.Wait()
		through := 0
		for deadline := time.Now().Add(soon); through == 0 && time.Now().Before(deadline); {
			through = connected(t, sockets, 5*time.Millisecond)
		}
		through = connected(t, sockets, 20*time.Millisecond) // those that are later
		for _, fd := range sockets {
			unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			unix.Close(fd)
		}
		if through != 1 {
			t.Fatalf("trial %d: %d of %d came through", trial, through, atOnce)
		}
	}
}

// connected counts the sockets that are connected after wait.
func connected(t *testing.T, sockets []int, wait time.Duration) int {
	time.Sleep(wait)
	polls := make([]unix.PollFd, len(sockets))
	for i, fd := range sockets {
		polls[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
	}
	if _, err := unix.Poll(polls, 0); err != nil {
		t.Fatalf("poll: %v", err)
	}
	n := 0
	for _, p := range polls {
		if p.Revents&unix.POLLOUT != 0 && p.Revents&(unix.POLLERR|unix.POLLHUP) == 0 {
			n++
		}
	}
	return n
}

// Only a SYN that stands alone uses a pinhole up.
func TestOtherSegmentsUseNothing(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	table := l.gateway.installed(t, forward())
	add(t, table, pinhole("a-1", client4, data4))
	const fin, syn, rst, ack = 1, 2, 4, 16
	for i, flags := range []byte{ack, syn | ack, syn | fin, syn | rst, fin | ack, rst, 0} {
		l.client.do(t, func() { segment(t, uint16(33000+i), flags) })
	}
	time.Sleep(20 * time.Millisecond)
	if ids, err := table.Arrived(); len(ids) != 0 || err != nil {
		t.Errorf("arrived: %v, %v", ids, err)
	}
	if !l.client.attempt(t, 0, data4, soon) {
		t.Error("the connection did not come through afterwards")
	}
}

// segment sends a TCP segment without payload from client4 to data4.
func segment(t *testing.T, sport uint16, flags byte) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP)
	if err != nil {
		t.Errorf("raw socket: %v", err)
		return
	}
	defer unix.Close(fd)
	src, dst := netip.MustParseAddr(client4).As4(), netip.MustParseAddr(server4).As4()
	h := make([]byte, 20)
	binary.BigEndian.PutUint16(h[0:], sport)
	binary.BigEndian.PutUint16(h[2:], port)
	binary.BigEndian.PutUint32(h[4:], 1000)
	h[12], h[13] = 5<<4, flags
	binary.BigEndian.PutUint16(h[14:], 1024)
	sum := uint32(unix.IPPROTO_TCP + len(h))
	for _, part := range [][]byte{src[:], dst[:], h} {
		for ; len(part) > 0; part = part[2:] {
			sum += uint32(binary.BigEndian.Uint16(part))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(h[16:], ^uint16(sum))
	if err := unix.Sendto(fd, h, 0, &unix.SockaddrInet4{Addr: dst}); err != nil {
		t.Errorf("send: %v", err)
	}
}

// A SYN that is lost behind the gateway comes again, and passes by the mark.
func TestRepeatedSYNPasses(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	table := l.gateway.installed(t, forward())
	add(t, table, pinhole("a-1", client4, data4))
	l.server.run(t, "nft -f -", "table inet lossy {\n chain input {\n type filter hook input priority 0; policy drop;\n }\n}\n")
	result := make(chan bool)
	go func() { result <- l.client.attempt(t, 0, data4, 5*time.Second) }()
	for deadline := time.Now().Add(soon); ; {
		ids, err := table.Arrived()
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the first SYN did not arrive")
		}
		time.Sleep(5 * time.Millisecond)
	}
	l.server.run(t, "nft delete table inet lossy", "")
	if !<-result {
		t.Error("the repeated SYN did not come through")
	}
}

// Where sessions are read and where pinholes open, hook by hook.
func TestHooks(t *testing.T) {
	l := newLab(t)
	for _, ns := range []namespace{l.client, l.gateway, l.server} {
		ns.listen(t, 21)
		ns.listen(t, port)
	}
	for _, test := range []struct {
		name     string
		from     namespace
		src, dst string
		reads    nft.Hook
	}{
		{"through", l.client, client4, server4, nft.Forward},
		{"through, IPv6", l.client, client6, server6, nft.Forward},
		{"to the gateway", l.client, client4, gateway4, nft.Input},
		{"to the gateway, IPv6", l.client, client6, gateway6, nft.Input},
		{"from the gateway", l.gateway, gateway4, client4, nft.Output},
		{"from the gateway, IPv6", l.gateway, gateway6, client6, nft.Output},
		{"loopback", l.gateway, "127.0.0.1", "127.0.0.1", nft.Output},
	} {
		for _, hook := range []nft.Hook{nft.Forward, nft.Input, nft.Output} {
			t.Run(fmt.Sprintf("%s/%s", test.name, hook), func(t *testing.T) {
				c := forward()
				c.Hooks = []nft.Hook{hook}
				table := l.gateway.installed(t, c)
				dst := netip.MustParseAddr(test.dst)
				if !test.from.attempt(t, 0, netip.AddrPortFrom(dst, 21).String(), soon) {
					t.Fatal("no control connection")
				}
				if got := l.gateway.marked(t, nft.DefaultControlMark) > 0; got != (hook == test.reads) {
					t.Errorf("control connection marked: %v", got)
				}
				data := netip.AddrPortFrom(dst, port).String()
				add(t, table, pinhole("a-1", test.src, data))
				opens := hook == test.reads || hook != nft.Forward && test.reads != nft.Forward
				patience := map[bool]time.Duration{true: soon, false: drop}[opens]
				if got := test.from.attempt(t, 0, data, patience); got != opens {
					t.Errorf("data connection came through: %v, want %v", got, opens)
				}
				if err := table.Uninstall(); err != nil {
					t.Error(err)
				}
				l.gateway.forget(t)
			})
		}
	}
}

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
