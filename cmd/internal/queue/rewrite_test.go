package queue

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/patience"
)

// edit replaces length bytes of a TCP connection's one direction, from an
// offset on, by others. It is the plainest of translators: no options (SACK is
// off), one edit, and whoever reads from the socket judges it.
type edit struct {
	at, length uint32
	with       []byte
	limit      int // of a packet that leaves

	mu      sync.Mutex
	begin   uint32 // the sequence number of offset 0
	longest int    // of the packets that hold the edit
}

// handle is the queue's handler for both directions.
func (e *edit) handle(p *Packet) {
	tcp := p.Payload[int(p.Payload[0]&15)*4:]
	e.mu.Lock()
	defer e.mu.Unlock()
	toServer := binary.BigEndian.Uint16(tcp[2:]) == 7
	switch {
	case tcp[13]&2 != 0: // SYN
		if toServer {
			e.begin = binary.BigEndian.Uint32(tcp[4:]) + 1
		}
		p.Accept()
	case toServer:
		e.forward(p, tcp)
	default:
		ack := binary.BigEndian.Uint32(tcp[8:])
		if off := ack - e.begin; off >= e.at+uint32(len(e.with)) {
			ack += e.length - uint32(len(e.with))
		} else if off > e.at {
			ack = e.begin + e.at
		}
		raw := bytes.Clone(p.Payload)
		binary.BigEndian.PutUint32(raw[len(raw)-len(tcp)+8:], ack)
		p.AcceptAs(whole(raw))
	}
}

// edited is the length of the longest packet that holds the edit.
func (e *edit) edited() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.longest
}

func (e *edit) forward(p *Packet, tcp []byte) {
	header := int(tcp[12]>>4) * 4
	start := binary.BigEndian.Uint32(tcp[4:]) - e.begin
	payload := tcp[header:]
	var out []byte
	first := start // where what leaves begins
	if start >= e.at+e.length && start > e.at {
		first += uint32(len(e.with)) - e.length
	} else if start > e.at {
		first = e.at + uint32(len(e.with))
	}
	for i, b := range payload {
		off := start + uint32(i)
		if off == e.at {
			out = append(out, e.with...)
		}
		if off < e.at || off >= e.at+e.length {
			out = append(out, b)
		}
	}
	head := len(p.Payload) - len(payload)
	raw := append(bytes.Clone(p.Payload[:head]), out...)
	if len(raw) > e.limit { // TCP sends the rest again
		raw = raw[:e.limit]
		raw[head-header+13] &^= 1 // FIN
	}
	binary.BigEndian.PutUint32(raw[head-header+4:], e.begin+first)
	if len(payload) > 0 && start <= e.at && e.at < start+uint32(len(payload)) {
		e.longest = max(e.longest, len(raw))
	}
	if !p.AcceptAs(whole(raw)) {
		panic("a second verdict")
	}
}

// whole gives an IPv4 packet its length and checksums.
func whole(raw []byte) []byte {
	header := int(raw[0]&15) * 4
	binary.BigEndian.PutUint16(raw[2:], uint16(len(raw)))
	binary.BigEndian.PutUint16(raw[10:], 0)
	binary.BigEndian.PutUint16(raw[10:], sum(raw[:header]))
	tcp := raw[header:]
	binary.BigEndian.PutUint16(tcp[16:], 0)
	pseudo := append(bytes.Clone(raw[12:20]), 0, 6)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], sum(append(pseudo, tcp...)))
	return raw
}

// sum is RFC 1071's.
func sum(b []byte) uint16 {
	var n uint64
	for i, c := range b {
		n += uint64(c) << (8 * (1 - i%2))
	}
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return ^uint16(n)
}

// Packets that leave with other bytes, longer and shorter, arrive at a real
// socket, which judges their checksums: as large as the kernel holds them, and
// in the segments that a queue that fails closed makes of them.
func TestAcceptAs(t *testing.T) {
	const size, at = 3 << 20, 2 << 20 // by then the window is wide open
	sent := make([]byte, size)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	for _, tt := range []struct {
		name       string
		mtu        int
		failClosed bool
		limit      int
		longer     int // than this is the edited packet
	}{
		{"GSO", 1500, false, maxPayload, 1500},
		{"segments", 1500, true, 1500, 0},
		{"64 kB segments", maxPayload, true, maxPayload, 50000},
	} {
		for name, e := range map[string]*edit{
			"longer":                  {at: at, length: 7, with: []byte("(192,168,150,80,14,178)")},
			"shorter":                 {at: at, length: 23, with: []byte("(1,2,3,4,5,6)")},
			"inserted":                {at: at, with: bytes.Repeat([]byte("x"), 400)},
			"removed":                 {at: at, length: 400},
			"removed, whole segments": {at: at, length: 5000},
			"same length":             {at: at, length: 3, with: []byte("abc")},
		} {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				e.limit = tt.limit
				num := number()
				q := open(t, Config{Num: num, NetNS: namespace(t, num), FailClosed: tt.failClosed})
				command(t, "ip", "link", "set", "lo", "mtu", strconv.Itoa(tt.mtu))
				command(t, "iptables-nft", "-w", "-A", "OUTPUT", "-p", "tcp", "--sport", "7", "-j", "NFQUEUE", "--queue-num", strconv.Itoa(int(num)))
				command(t, "sysctl", "-qw", "net.ipv4.tcp_sack=0")
				run(t, q, e.handle)
				want := append(append(bytes.Clone(sent[:at]), e.with...), sent[at+e.length:]...)
				// How much TCP puts into the packet of the edit is up to its window, and
				// that to how fast the machine is.
				patience.Until(t, "the edit is in a packet of "+strconv.Itoa(tt.longer)+" bytes and more", func() bool {
					if got := through(t, sent); !bytes.Equal(got, want) {
						t.Errorf("read %d bytes, want %d; equal up to %d", len(got), len(want), common(got, want))
					}
					return e.edited() > tt.longer
				})
				s := q.Stats()
				if s.Rewritten == 0 || s.Dropped != 0 || s.Panics != 0 || s.Errors != 0 || s.Late != 0 {
					t.Errorf("stats %+v", s)
				}
				if got := e.edited(); got > tt.limit {
					t.Errorf("the edited packet has %d bytes, want at most %d", got, tt.limit)
				}
			})
		}
	}
}

// through sends bytes through a connection to port 7 and returns what arrives.
func through(t *testing.T, sent []byte) []byte {
	t.Helper()
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
	for _, conn := range []net.Conn{c, s} {
		_ = conn.SetDeadline(patience.Deadline())
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_, _ = c.Write(sent)
		c.Close()
	})
	got, err := io.ReadAll(s)
	if err != nil {
		t.Error(err)
	}
	return got
}

func common(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// A queue that fails closed, full: nothing passes unread.
func TestFailClosedQueueFull(t *testing.T) {
	num := number()
	q := open(t, Config{Num: num, NetNS: namespace(t, num), MaxLen: 8, FailClosed: true})
	d := newDatagrams(t)
	free := make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	run(t, q, func(p *Packet) {
		<-free
		p.Accept()
	})
	t.Cleanup(release) // or Close waits for the handler
	d.attempt(100)
	if k, err := ReadKernel(num); err != nil || k.Waiting != 8 || k.Dropped != 92 {
		t.Errorf("kernel says %+v, %v", k, err)
	}
	release()
	d.expect(t, 8)
	d.send(t, 1)
	d.expect(t, 9)
}

// What waits when a queue that fails closed is closed does not arrive, and
// nothing passes between Run's end and Close.
func TestFailClosedClose(t *testing.T) {
	num := number()
	q := open(t, Config{Num: num, NetNS: namespace(t, num), FailClosed: true})
	d := newDatagrams(t)
	var held atomic.Pointer[Packet]
	stop := run(t, q, func(p *Packet) {
		if held.Swap(p) == nil {
			p.Accept()
		}
	})
	d.send(t, 50)
	wait(t, func() bool { return q.Stats().Received == 50 }, func() string { return "not received" })
	stop()
	d.attempt(1)
	wait(t, func() bool { return q.Stats().Dropped == 1 }, func() string { return "not dropped" })
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	held.Load().Accept() // too late, harmless
	d.send(t, 10)        // these bypass the queue
	d.expect(t, 11)
	if s := q.Stats(); s != (Stats{Received: 51, Accepted: 1, Dropped: 1}) {
		t.Errorf("stats %+v", s)
	}
}

// A verdict with the longest packet fits the socket, whatever its default is.
func TestWriteBuffer(t *testing.T) {
	num := number()
	q := open(t, Config{Num: num, NetNS: namespace(t, num)})
	raw, err := q.nf.Con.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		if err != nil || n < 2*messageSize { // the kernel doubles it
			t.Errorf("buffer of %d bytes, %v", n, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
