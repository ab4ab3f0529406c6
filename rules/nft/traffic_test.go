package nft_test

import (
	"encoding/binary"
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
			if came, err := table.Remove(test.pinhole.ID); came != test.used || err != nil {
				t.Errorf("removed: arrived %v, %v, want %v", came, err, test.used)
			}
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

// Law 4: of four connections at once to one pinhole exactly one gets through,
// also where the operator lets all pass that was translated. Each trial opens the
// same pinhole again, so that this is tested too.
func TestLaw4OneOfFour(t *testing.T) {
	outside := at(gateway4, outsidePort)
	for _, test := range []struct {
		name, operator string
		pinhole        rules.Pinhole
		to             string
	}{
		{"plain", "", pinhole("a", client4, data4), data4},
		{"translated", "", translated(client4, data4, outside, "10.0.2.1"), outside},
		{"translated, translated may pass", "nft insert rule inet firewall forward ct status dnat accept",
			translated(client4, data4, outside, "10.0.2.1"), outside},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			l.server.listen(t, port)
			l.gateway.run(t, test.operator, "")
			table := l.gateway.installed(t, forward())
			const trials, atOnce = 100, 4
			for trial := range trials {
				test.pinhole.ID = fmt.Sprintf("t-%d", trial)
				add(t, table, test.pinhole)
				through := l.client.race(t, netip.MustParseAddrPort(test.to), atOnce)
				if through == 0 && test.pinhole.Outside.IsValid() {
					// One SYN is translated; where that one is lost on its way, on a machine
					// that is starved, the daemon would arm the pinhole again.
					t.Logf("trial %d: the SYN that was translated is lost", trial)
					test.pinhole.ID += "-again"
					add(t, table, test.pinhole)
					through = l.client.race(t, netip.MustParseAddrPort(test.to), atOnce)
				}
				if through != 1 {
					t.Fatalf("trial %d: %d of %d came through", trial, through, atOnce)
				}
			}
		})
	}
}

// race makes n connections at once and returns how many come through.
func (ns namespace) race(t *testing.T, to netip.AddrPort, n int) int {
	t.Helper()
	sockets := make([]int, n)
	ns.do(t, func() {
		for i := range sockets {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Errorf("socket: %v", err)
			}
			sockets[i] = fd
		}
	})
	start := make(chan struct{})
	var wait sync.WaitGroup
	for _, fd := range sockets {
		wait.Go(func() {
			<-start
			if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil && err != unix.EINPROGRESS {
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
	return through
}

// connected counts the sockets that are connected after wait.
func connected(t *testing.T, sockets []int, wait time.Duration) int {
	time.Sleep(wait)
	polls := make([]unix.PollFd, len(sockets))
	for i, fd := range sockets {
		polls[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
	}
	for {
		_, err := unix.Poll(polls, 0)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			t.Fatalf("poll: %v", err)
		}
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

// A SYN that comes while the removal waits for another program is told of.
func TestRemoveTellsOfLateSYN(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	table := l.gateway.installed(t, forward())
	add(t, table, pinhole("a-1", client4, data4))
	release := nft.HoldChanges(table)
	type answer struct {
		arrived bool
		err     error
	}
	removed := make(chan answer, 1)
	go func() {
		arrived, err := table.Remove("a-1")
		removed <- answer{arrived, err}
	}()
	time.Sleep(100 * time.Millisecond) // it waits
	passed := l.client.attempt(t, 0, data4, soon)
	release()
	if got := <-removed; !passed || !got.arrived || got.err != nil {
		t.Errorf("a connection passed: %v, its pinhole's removal says that one came: %v, %v", passed, got.arrived, got.err)
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
	go func() { result <- l.client.attempt(t, 0, data4, soon) }()
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

// A used pinhole stays used when the table is made from another configuration,
// and an unused one stays open.
func TestLaw4ReconfigureOpensNothingAgain(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	table := l.gateway.installed(t, forward())
	add(t, table, pinhole("used", client4, data4))
	add(t, table, pinhole("unused", client6, data6))
	if !l.client.attempt(t, 0, data4, soon) {
		t.Fatal("the pinhole is shut")
	}
	c := forward()
	c.SourcePorts = true
	c.Ports = []uint16{21, 2121}
	if err := table.Reconfigure(c, time.Now()); err != nil {
		t.Fatal(err)
	}
	if l.client.attempt(t, 0, data4, drop) {
		t.Error("a second connection came through")
	}
	if !l.client.attempt(t, 0, data6, soon) {
		t.Error("the unused pinhole was lost")
	}
	if ok, err := table.Verify(); !ok || err != nil {
		t.Errorf("verify: %v, %v", ok, err)
	}
	c.Ports = nil
	if err := table.Reconfigure(c, time.Now()); err == nil {
		t.Error("a configuration without ports was taken")
	}
	if ok, err := table.Verify(); !ok || err != nil {
		t.Errorf("verify after the refusal: %v, %v", ok, err)
	}
}

// closed waits until conntrack has a connection as closed.
func (ns namespace) closed(t *testing.T, src, dst string) {
	t.Helper()
	for deadline := time.Now().Add(soon); !strings.Contains(ns.run(t, "conntrack -L -p tcp -s "+src+" -d "+dst+" 2>/dev/null", ""), " CLOSE "); {
		if time.Now().After(deadline) {
			t.Fatalf("conntrack has no closed connection from %s to %s", src, dst)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// refusing listens, and ends each connection with a RST of its own.
func (ns namespace) refusing(t *testing.T, port uint16) {
	t.Helper()
	var listener net.Listener
	ns.do(t, func() {
		var err error
		if listener, err = net.Listen("tcp", fmt.Sprintf(":%d", port)); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_ = c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
	}()
}

// Laws 4 and 7: conntrack keeps a connection that its server's RST has closed, and
// the next one of its addresses and ports is the same entry. It uses its pinhole all
// the same, no second one comes through that, and each one changes the mark.
func TestLaw4ClosedConnectionIsOpenedAgain(t *testing.T) {
	for _, test := range []struct{ name, src, dst, data string }{
		{"IPv4", client4, server4, data4},
		{"IPv6", client6, server6, data6},
	} {
		for _, sport := range []uint16{0, 20} {
			t.Run(fmt.Sprintf("%s, source port %d", test.name, sport), func(t *testing.T) {
				l := newLab(t)
				l.server.refusing(t, port)
				c := forward()
				c.SourcePorts = true
				table := l.gateway.installed(t, c)
				marks := make(map[uint32]int)
				for i := range 3 {
					id := fmt.Sprintf("a-%d", i)
					add(t, table, from(sport, pinhole(id, test.src, test.data)))
					if !l.client.attempt(t, 20, test.data, soon) {
						t.Fatalf("connection %d did not come through", i)
					}
					l.gateway.closed(t, test.src, test.dst)
					l.gateway.flows(t, func(c *conntrack.Conn) {
						all, err := c.Dump(nil)
						if err != nil {
							t.Error(err)
						}
						for _, f := range all {
							marks[f.Mark]++
						}
					})
					if ids, err := table.Arrived(); err != nil || !slices.Contains(ids, id) {
						t.Errorf("connection %d came, and the pinhole is unused (%v)", i, err)
					}
					if l.client.attempt(t, 0, test.data, drop) || sport != 0 && l.client.attempt(t, 21, test.data, drop) {
						t.Errorf("a second connection came through pinhole %d", i)
					}
				}
				if marks[nft.DefaultMark] != 2 || marks[nft.DefaultMark|nft.ReopenMark] != 1 {
					t.Errorf("marks %x", marks)
				}
			})
		}
	}
}

// A SYN that comes again, before anybody has answered the first, passes by its mark
// and leaves the next pinhole of the same addresses and port to the next connection.
func TestLaw4RepeatedSYNUsesNoOtherPinhole(t *testing.T) {
	l := newLab(t)
	table := l.gateway.installed(t, forward())
	l.server.run(t, "nft -f -", "table inet lossy {\n chain input {\n type filter hook input priority 0; policy drop;\n }\n}\n")
	add(t, table, pinhole("a-1", client4, data4))
	l.client.do(t, func() { segment(t, 4711, 0x02) })
	waitArrived(t, table, "a-1")
	remove(t, table, "a-1")
	add(t, table, pinhole("a-2", client4, data4))
	l.client.do(t, func() { segment(t, 4711, 0x02) })
	time.Sleep(drop)
	if ids, err := table.Arrived(); err != nil || len(ids) != 0 {
		t.Errorf("the repeated SYN used %q (%v)", ids, err)
	}
	l.client.do(t, func() { segment(t, 4712, 0x02) })
	waitArrived(t, table, "a-2")
}

func waitArrived(t *testing.T, table *nft.Table, id string) {
	t.Helper()
	for deadline := time.Now().Add(soon); ; time.Sleep(5 * time.Millisecond) {
		ids, err := table.Arrived()
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(ids, id) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no SYN came through %s", id)
		}
	}
}
