package main

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// writeCapture is "capture FILE DIALOGUE", which makes a pcap file of a session
// between 10.0.1.2:40000 and 10.0.2.2:21. The dialogue has a line for each line:
// "C: PASV", "S: 227 …", or "data 10.0.1.2:51000 10.0.2.2:50055" for a data
// connection that carries five bytes back.
func writeCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("capture FILE DIALOGUE")
	}
	client, server := netip.MustParseAddrPort("10.0.1.2:40000"), netip.MustParseAddrPort("10.0.2.2:21")
	t := newTape(since)
	t.connect(client, server)
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		line = strings.TrimRight(line, "\n")
		switch words := strings.Fields(line); {
		case strings.HasPrefix(line, "C: "):
			t.packet(client, server, ack, line[3:]+"\r\n")
		case strings.HasPrefix(line, "S: "):
			t.packet(server, client, ack, line[3:]+"\r\n")
		case len(words) == 3 && words[0] == "data":
			from, to := netip.MustParseAddrPort(words[1]), netip.MustParseAddrPort(words[2])
			t.connect(from, to)
			t.packet(to, from, ack, "bytes")
			t.finish(to, from)
		default:
			ts.Fatalf("capture: %q", line)
		}
	}
	t.finish(client, server)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), t.b, 0o600))
}

// TCP's flags (RFC 9293 3.1).
const (
	fin = 1 << 0
	syn = 1 << 1
	ack = 1 << 4
)

// tape is a pcap file in the making, a packet each millisecond.
type tape struct {
	b    []byte
	at   time.Time
	next map[[2]netip.AddrPort]uint32 // sequence numbers
}

// newTape begins a pcap file with packets that begin with IP (LINKTYPE_RAW, 101).
func newTape(at time.Time) *tape {
	t := &tape{at: at, next: make(map[[2]netip.AddrPort]uint32)}
	t.b = binary.LittleEndian.AppendUint32(t.b, 0xa1b2c3d4)
	t.b = binary.LittleEndian.AppendUint16(t.b, 2)
	t.b = binary.LittleEndian.AppendUint16(t.b, 4)
	for _, field := range []uint32{0, 0, 65535, 101} {
		t.b = binary.LittleEndian.AppendUint32(t.b, field)
	}
	return t
}

func (t *tape) connect(from, to netip.AddrPort) {
	t.packet(from, to, syn, "")
	t.packet(to, from, syn|ack, "")
	t.packet(from, to, ack, "")
}

func (t *tape) finish(a, b netip.AddrPort) {
	t.packet(a, b, fin|ack, "")
	t.packet(b, a, fin|ack, "")
}

// packet adds a segment. Its checksums are 0: offloading leaves them wrong too.
func (t *tape) packet(from, to netip.AddrPort, flags byte, payload string) {
	const headers = 20 + 20
	seq := t.next[[2]netip.AddrPort{from, to}]
	tcp := binary.BigEndian.AppendUint16(nil, from.Port())
	tcp = binary.BigEndian.AppendUint16(tcp, to.Port())
	tcp = binary.BigEndian.AppendUint32(tcp, seq)
	tcp = binary.BigEndian.AppendUint32(tcp, t.next[[2]netip.AddrPort{to, from}])
	tcp = append(tcp, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	ip := binary.BigEndian.AppendUint16([]byte{4<<4 | 5, 0}, uint16(headers+len(payload)))
	ip = append(ip, 0, 0, 0, 0, 64, 6, 0, 0)
	ip = append(append(ip, from.Addr().AsSlice()...), to.Addr().AsSlice()...)

	t.at = t.at.Add(time.Millisecond)
	length := uint32(headers + len(payload))
	for _, field := range []uint32{uint32(t.at.Unix()), uint32(t.at.Nanosecond() / 1000), length, length} {
		t.b = binary.LittleEndian.AppendUint32(t.b, field)
	}
	t.b = append(append(append(t.b, ip...), tcp...), payload...)
	seq += uint32(len(payload))
	if flags&(syn|fin) != 0 {
		seq++
	}
	t.next[[2]netip.AddrPort{from, to}] = seq
}
