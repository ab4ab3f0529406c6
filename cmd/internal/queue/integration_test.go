package queue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/patience"
)

// namespace moves the test's thread into a network namespace of its own, with
// a rule that sends what goes to port 7 through queue num, and returns a file
// descriptor of it. Both end with the test.
func namespace(t testing.TB, num uint16) (fd int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	runtime.LockOSThread() // never unlocked: the thread, and the namespace, go when the test returns
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	command(t, "ip", "link", "set", "lo", "mtu", "1500", "up")
	for _, proto := range []string{"udp", "tcp"} {
		command(t, "iptables-nft", "-w", "-A", "OUTPUT", "-p", proto, "--dport", "7",
			"-j", "NFQUEUE", "--queue-num", strconv.Itoa(int(num)), "--queue-bypass")
	}
	return int(f.Fd())
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "NFQUEUE") || strings.Contains(string(out), "not supported") {
			t.Skipf("this kernel has no NFQUEUE target: %s", out)
		}
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

func number() uint16 { return uint16(20000 + rand.IntN(20000)) }

func open(t testing.TB, cfg Config) *Queue {
	t.Helper()
	q, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// run runs the queue until the test ends or the returned function is called.
func run(t testing.TB, q *Queue, handle func(*Packet)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx, handle) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// datagrams sends numbered datagrams to port 7 and counts what arrives.
type datagrams struct {
	from, to net.Conn
	mu       sync.Mutex
	seen     map[uint32]int
	next     uint32
}

func newDatagrams(t testing.TB) *datagrams {
	t.Helper()
	to, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7})
	if err != nil {
		t.Fatal(err)
	}
	if err := to.SetReadBuffer(8 << 20); err != nil {
		t.Fatal(err)
	}
	from, err := net.DialUDP("udp4", nil, to.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	d := &datagrams{from: from, to: to, seen: map[uint32]int{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 64)
		for {
			n, err := to.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if n >= 4 {
				d.mu.Lock()
				d.seen[binary.BigEndian.Uint32(b)]++
				d.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() { from.Close(); to.Close(); wg.Wait() })
	return d
}

func (d *datagrams) send(t testing.TB, n int) {
	t.Helper()
	for range n {
		d.next++
		if _, err := d.from.Write(binary.BigEndian.AppendUint32(nil, d.next)); err != nil {
			t.Fatalf("datagram %d: %v", d.next, err)
		}
	}
}

// attempt is send where datagrams may be dropped, which the sender is told of.
func (d *datagrams) attempt(n int) {
	for range n {
		d.next++
		_, _ = d.from.Write(binary.BigEndian.AppendUint32(nil, d.next))
	}
}

func (d *datagrams) arrived() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.seen)
}

// expect waits until n datagrams have arrived, none of them twice.
func (d *datagrams) expect(t testing.TB, n int) {
	t.Helper()
	wait(t, func() bool { return d.arrived() >= n }, func() string { return strconv.Itoa(d.arrived()) + " of " + strconv.Itoa(n) + " arrived" })
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, times := range d.seen {
		if times != 1 {
			t.Errorf("datagram %d arrived %d times", id, times)
		}
	}
	if len(d.seen) > n {
		t.Errorf("%d arrived, want %d", len(d.seen), n)
	}
}

func wait(t testing.TB, ok func() bool, what func() string) {
	t.Helper()
	for deadline := patience.Deadline(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what())
		}
	}
}

func TestPacketsFlow(t *testing.T) {
	num := number()
	q := open(t, Config{Num: num, NetNS: namespace(t, num)})
	d := newDatagrams(t)
	d.send(t, 3) // they wait for Run
	var hooks sync.Map
	run(t, q, func(p *Packet) {
		hooks.Store(p.Hook, len(p.Payload))
		p.Accept()
	})
	d.send(t, 1000)
	d.expect(t, 1003)
	if s := q.Stats(); s != (Stats{Received: 1003, Accepted: 1003}) {
		t.Errorf("stats %+v", s)
	}
	if n, ok := hooks.Load(uint8(3)); !ok || n != 20+8+4 { // NF_INET_LOCAL_OUT
		t.Errorf("payload of %v bytes at output, want 32", n)
	}
	if k, err := ReadKernel(num); err != nil || k.Waiting != 0 || k.Sequence != 1003 {
		t.Errorf("kernel says %+v, %v", k, err)
	}
}

// Law 2, with the kernel as the judge: a second verdict for a packet would be
// answered with ENOENT and counted as late, a missing one would be a datagram
// that does not arrive.
func TestLaw2UnderLoad(t *testing.T) {
	num := number()
	q := open(t, Config{Num: num, NetNS: namespace(t, num)})
	d := newDatagrams(t)
	later := make(chan *Packet, 64)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for p := range later {
				as := bytes.Clone(p.Payload)
				as[20+6], as[20+7] = 0, 0 // UDP without a checksum: its own is not whole yet
				p.AcceptAs(as)
				p.Accept()
				p.Drop()
			}
		})
	}
	n := 0
	stop := run(t, q, func(p *Packet) {
		n++
		if n%2 == 0 {
			later <- p
		}
		if n%10 == 0 {
			panic("every tenth")
		}
		if n%2 == 1 {
			p.Accept()
		}
	})
	for range 20 {
		d.send(t, 500)
		d.expect(t, int(d.next)) // pace: not to test fail-open here
	}
	stop()
	q.Close() // no handler runs any more
	close(later)
	wg.Wait()
	s := q.Stats()
	if s.Rewritten < 4000 || s.Rewritten > 5000 { // whoever is first where the handler panics
		t.Errorf("%d packets were rewritten, want 4000 to 5000", s.Rewritten)
	}
	if s.Rewritten = 0; s != (Stats{Received: 10000, Accepted: 10000, Panics: 1000}) {
		t.Errorf("stats %+v", s)
	}
}

func TestTaken(t *testing.T) {
	num := number()
	ns := namespace(t, num)
	first := open(t, Config{Num: num, NetNS: ns})
	_, err := Open(Config{Num: num, NetNS: ns})
	if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "queue "+strconv.Itoa(int(num))) || !strings.Contains(err.Error(), "--queue-num") {
		t.Errorf("second reader: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	open(t, Config{Num: num, NetNS: ns}) // free again
}

func TestPermission(t *testing.T) {
	num := number()
	namespace(t, num)
	// The thread's own capabilities; it ends with the test.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Config{Num: num})
	if !errors.Is(err, ErrPermission) || errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("Open = %v", err)
	}
}

// A queue that is full, and a reader that does nothing: packets go on.
func TestFailOpenQueueFull(t *testing.T) {
	num := number()
	q := open(t, Config{Num: num, NetNS: namespace(t, num), MaxLen: 8})
	d := newDatagrams(t)
	free := make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	run(t, q, func(p *Packet) {
		<-free
		p.Accept()
	})
	t.Cleanup(release) // or Close waits for the handler
	d.send(t, 100)
	d.expect(t, 92)
	if k, err := ReadKernel(num); err != nil || k.Waiting != 8 {
		t.Errorf("kernel says %+v, %v", k, err)
	}
	release()
	d.expect(t, 100)
}

// The reader's socket is full: packets go on, and the overrun is counted.
func TestFailOpenOverrun(t *testing.T) {
	num := number()
	q := open(t, Config{Num: num, NetNS: namespace(t, num), ReadBuffer: 1})
	d := newDatagrams(t)
	free := make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	run(t, q, func(p *Packet) {
		<-free
		p.Accept()
	})
	t.Cleanup(release) // or Close waits for the handler
	d.send(t, 500)
	wait(t, func() bool { return d.arrived() > 400 }, func() string { return "packets are held up" })
	release()
	d.expect(t, 500)
	wait(t, func() bool { return q.Stats().Overruns > 0 }, func() string { return "no overrun was counted" })
	d.send(t, 1) // the socket still works
	d.expect(t, 501)
	if s := q.Stats(); s.Late != 0 || s.Errors != 0 || s.Accepted != s.Received {
		t.Errorf("stats %+v", s)
	}
}

// What waits when the queue is closed goes on, and what comes later bypasses it.
func TestClose(t *testing.T) {
	num := number()
	q := open(t, Config{Num: num, NetNS: namespace(t, num)})
	d := newDatagrams(t)
	var held atomic.Pointer[Packet]
	stop := run(t, q, func(p *Packet) { held.Store(p) })
	d.send(t, 50)
	wait(t, func() bool { return q.Stats().Received == 50 }, func() string { return "not received" })
	if n := d.arrived(); n != 0 {
		t.Fatalf("%d arrived without a verdict", n)
	}
	stop()
	d.send(t, 1)
	d.expect(t, 1) // unseen, since Run has ended
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	d.expect(t, 51)
	held.Load().Accept() // too late, harmless
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	d.send(t, 10)
	d.expect(t, 61)
	if _, err := ReadKernel(num); !errors.Is(err, ErrNotBound) {
		t.Errorf("still bound: %v", err)
	}
}

func TestCloseWithoutRun(t *testing.T) {
	num := number()
	q := open(t, Config{Num: num, NetNS: namespace(t, num)})
	d := newDatagrams(t)
	d.send(t, 20)
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	d.expect(t, 20)
}

// A daemon that comes back finds its rules in place and traffic on them: what
// arrives while it binds must not be taken for an answer to binding.
func TestBindUnderTraffic(t *testing.T) {
	num := number()
	ns := namespace(t, num)
	d := newDatagrams(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = d.from.Write(make([]byte, 8)) // EPERM while nobody takes packets
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	for i := range 50 {
		q, err := Open(Config{Num: num, NetNS: ns})
		if err != nil {
			t.Fatalf("try %d: %v", i, err)
		}
		end := run(t, q, func(p *Packet) { p.Accept() })
		wait(t, func() bool { return q.Stats().Received > 0 }, func() string { return "nothing received" })
		end()
		if err := q.Close(); err != nil {
			t.Errorf("try %d: %v", i, err)
		}
		if s := q.Stats(); s.Errors != 0 || s.Malformed != 0 {
			t.Errorf("try %d: %+v", i, s)
		}
	}
}

// Segments come whole, as large as the kernel holds them, not cut to the MTU.
func TestGSO(t *testing.T) {
	num := number()
	q := open(t, Config{Num: num, NetNS: namespace(t, num)})
	var longest atomic.Int64
	run(t, q, func(p *Packet) {
		longest.Store(max(longest.Load(), int64(len(p.Payload))))
		p.Accept()
	})
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const size = 4 << 20
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = c.Write(make([]byte, size))
		c.Close()
	})
	if n, err := io.Copy(io.Discard, s); n != size || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	wg.Wait()
	if longest.Load() <= 1500 {
		t.Errorf("longest packet %d bytes: the GSO flag is not on", longest.Load())
	}
}

// The whole way of a packet: out of a socket, through the queue, into another.
func BenchmarkPacket(b *testing.B) {
	num := number()
	q := open(b, Config{Num: num, NetNS: namespace(b, num)})
	d := newDatagrams(b)
	run(b, q, func(p *Packet) { p.Accept() })
	b.ReportAllocs()
	for b.Loop() {
		n := q.Stats().Accepted
		d.send(b, 1)
		for q.Stats().Accepted == n {
			runtime.Gosched()
		}
	}
}
