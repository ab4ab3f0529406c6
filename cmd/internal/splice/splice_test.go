package splice

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ftpinhole/conntrack"
)

// shift moves what lies above 1,000 down by ten, and drops blocks that end at
// or below that.
type shift struct{}

func (shift) Ack(n uint32) uint32 {
	if n > 1000 {
		n -= 10
	}
	return n
}

func (s shift) Sack(left, right uint32) (l, r uint32, ok bool) {
	return s.Ack(left), s.Ack(right), right > 1000
}

// asIs changes nothing.
type asIs struct{}

func (asIs) Ack(n uint32) uint32                            { return n }
func (asIs) Sack(left, right uint32) (l, r uint32, ok bool) { return left, right, true }

// segmentBytes is a TCP segment from port 21 to 40000, seq 7, ack 2000, urgent
// pointer 3 and no good checksum.
func segmentBytes(flags conntrack.Flags, options, payload string) []byte {
	b := []byte{0, 21, 0x9c, 0x40, 0, 0, 0, 7, 0, 0, 7, 0xd0, byte(5+len(options)/4) << 4, byte(flags), 0x20, 0, 0xde, 0xad, 0, 3}
	return append(append(b, options...), payload...)
}

func v4(options string, body []byte) []byte {
	b := []byte{0x45 + byte(len(options)/4), 0x10, 0, 0, 1, 2, 0x40, 0, 64, 6, 0xbe, 0xef, 10, 0, 2, 2, 192, 168, 150, 80}
	b = append(append(b, options...), body...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func v6(next byte, body []byte) []byte {
	b := []byte{0x6a, 0xbc, 0xde, 0xf0, 0, 0, next, 64,
		0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
		0xfd, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 1}
	b = append(b, body...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

func changed(b []byte, i int, with ...byte) []byte {
	b = slices.Clone(b)
	copy(b[i:], with)
	return b
}

func sackOption(edges ...uint32) string {
	b := []byte{optNOP, optNOP, optSACK, byte(2 + 4*len(edges))}
	for _, e := range edges {
		b = binary.BigEndian.AppendUint32(b, e)
	}
	return string(b)
}

const (
	line      = "227 Entering Passive Mode (10,0,2,2,195,80)\r\n"
	push      = conntrack.Flags(1 << 3)
	timestamp = "\x01\x01\x08\x0aabcdefgh"
	nops      = "\x01\x01\x01\x01\x01\x01\x01\x01"
)

var (
	hop     = []byte{60, 0, 1, 4, 0, 0, 0, 0} // hop-by-hop, then destination
	dest    = []byte{6, 1, 1, 12, 15: 0}      // destination of 16 bytes, then TCP
	routed  = []byte{6, 2, 4, 0, 23: 0}       // routing, used up
	atomic  = []byte{6, 0, 0, 0, 1, 2, 3, 4}  // a fragment that is the whole packet (RFC 6946)
	signed  = []byte{6, 4, 23: 0}             // AH with an ICV of 12 bytes
	padding = make([]byte, 18)
)

// packets are those that can be rewritten.
func packets(flags conntrack.Flags, options, payload string) map[string][]byte {
	body := segmentBytes(flags, options, payload)
	return map[string][]byte{
		"IPv4":                 v4("", body),
		"IPv4 options":         v4("\x94\x04\x00\x00\x01\x01\x01\x00", body),
		"IPv4 padding":         slices.Concat(v4("", body), padding),
		"IPv4 length 0":        changed(v4("", body), 2, 0, 0),
		"IPv6":                 v6(6, body),
		"IPv6 padding":         slices.Concat(v6(6, body), padding),
		"IPv6 length 0":        changed(v6(6, body), 4, 0, 0),
		"IPv6 extensions":      v6(0, slices.Concat(hop, dest, body)),
		"IPv6 routing":         v6(43, slices.Concat(routed, body)),
		"IPv6 atomic fragment": v6(44, slices.Concat(atomic, body)),
	}
}

func TestSegment(t *testing.T) {
	for name, raw := range packets(conntrack.ACK|push, timestamp, line) {
		for _, s := range []conntrack.Segment{
			{Seq: 7, Flags: conntrack.ACK | push, Payload: []byte(line)},
			{Seq: 0xfffffff0, Flags: conntrack.ACK, Payload: []byte("227 (192,168,150,80,195,80)\r\n")},
			{Seq: 8, Flags: conntrack.ACK | push | conntrack.FIN, Payload: []byte("an odd length")},
			{Seq: 9, Flags: conntrack.ACK},
			{Seq: 9, Flags: conntrack.RST},
			{Seq: 1, Flags: conntrack.ACK | conntrack.URG, Urgent: 0x1234, Payload: []byte("abc\xf2")},
			{Seq: 1, Flags: conntrack.ACK | 0xc0, Payload: bytes.Repeat([]byte("long "), 12000)},
		} {
			t.Run(fmt.Sprintf("%s, %d bytes", name, len(s.Payload)), func(t *testing.T) {
				got := judgeSegment(t, raw, s)
				if again := judgeSegment(t, got, s); !bytes.Equal(again, got) {
					t.Errorf("written again:\n%x, was\n%x", again, got)
				}
			})
		}
	}
}

// reporter is a test, a fuzz run or a property's.
type reporter interface {
	Helper()
	Errorf(string, ...any)
}

// judgeSegment compares with the slow implementation, and looks that nothing
// else was touched.
func judgeSegment(t reporter, raw []byte, s conntrack.Segment) []byte {
	t.Helper()
	before, prefix := slices.Clone(raw), []byte("before")
	got, err := Segment(prefix, raw, s)
	want, wantErr := slowSegment(raw, s)
	// What is no TCP segment may be refused for something that comes before it.
	if (err == nil) != (wantErr == nil) || wantErr != ErrNotTCP && !errors.Is(err, wantErr) {
		t.Errorf("%x: error %v, want %v", raw, err, wantErr)
	}
	if !bytes.Equal(got, append(prefix, want...)) {
		t.Errorf("%x becomes\n%x, want\n%x", raw, got, want)
	}
	if !bytes.Equal(raw, before) {
		t.Errorf("%x was changed into %x", before, raw)
	}
	return got[len(prefix):]
}

func judgeAcks(t reporter, raw []byte, a Translator) ([]byte, bool) {
	t.Helper()
	before, prefix := slices.Clone(raw), []byte("before")
	got, ok := Acks(prefix, raw, a)
	want, wantOK := slowAcks(raw, a)
	if ok != wantOK || !bytes.Equal(got, append(prefix, want...)) {
		t.Errorf("%x becomes\n%x, %v, want\n%x, %v", raw, got, ok, want, wantOK)
	}
	if !bytes.Equal(raw, before) {
		t.Errorf("%x was changed into %x", before, raw)
	}
	return got[len(prefix):], ok
}

// One packet, written out: neither implementation is asked.
func TestSegmentBytes(t *testing.T) {
	raw := v4("\x01\x01\x01\x00", segmentBytes(conntrack.ACK|push, timestamp, "PORT 10,0,1,2,195,80\r\n"))
	got, err := Segment(nil, raw, conntrack.Segment{Seq: 0x01020304, Flags: conntrack.ACK, Payload: []byte("NOOP\r\n")})
	want := "\x46\x10\x00\x3e\x01\x02\x40\x00\x40\x06\xd3\xac\x0a\x00\x02\x02\xc0\xa8\x96\x50" + "\x01\x01\x01\x00" +
		"\x00\x15\x9c\x40\x01\x02\x03\x04\x00\x00\x07\xd0\x80\x10\x20\x00\x0f\x4f\x00\x03" + timestamp + "NOOP\r\n"
	if err != nil || string(got) != want {
		t.Errorf("got  %x, %v\nwant %x", got, err, want)
	}
}

func TestSegmentRefuses(t *testing.T) {
	body := segmentBytes(conntrack.ACK, "", line)
	s := conntrack.Segment{Seq: 9, Flags: conntrack.ACK, Payload: []byte("NOOP\r\n")}
	for _, tt := range []struct {
		name string
		raw  []byte
		want error
	}{
		{"nothing", nil, ErrNotTCP},
		{"version 5", changed(v4("", body), 0, 0x55), ErrNotTCP},
		{"UDP", changed(v4("", body), 9, 17), ErrNotTCP},
		{"fragment", changed(v4("", body), 6, 0x20), ErrNotTCP},
		{"later fragment", changed(v4("", body), 7, 1), ErrNotTCP},
		{"length within the header", changed(v4("", body), 2, 0, 19), ErrNotTCP},
		{"header beyond the packet", changed(v4("", body[:20]), 0, 0x4f), ErrNotTCP},
		{"TCP header cut", v4("", body[:19]), ErrNotTCP},
		{"TCP header of four words", v4("", changed(body, 12, 0x40)), ErrNotTCP},
		{"TCP header beyond the packet", v4("", changed(body[:24], 12, 0xf0)), ErrNotTCP},
		{"IPv4 AH", changed(v4("", slices.Concat(signed, body)), 9, 51), ErrNotTCP},
		{"IPv6 AH", v6(51, slices.Concat(signed, body)), ErrSigned},
		{"IPv6 AH behind hop-by-hop", v6(0, slices.Concat(changed(hop, 0, 51), signed, body)), ErrSigned},
		{"IPv6 fragment", v6(44, slices.Concat(changed(atomic, 3, 1), body)), ErrNotTCP},
		{"IPv6 routing, segments left", v6(43, slices.Concat(changed(routed, 3, 1), body)), ErrRouted},
		{"IPv6 jumbogram", changed(v6(0, slices.Concat(changed(hop, 0, 6), body)), 4, 0, 0), ErrJumbo},
		{"IPv6 ESP", v6(50, body), ErrNotTCP},
		{"IPv6 extension beyond the packet", v6(60, changed(dest, 1, 255)), ErrNotTCP},
		{"IPv6 no room for an extension", v6(60, nil), ErrNotTCP},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Segment(nil, tt.raw, s); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if got, ok := Acks(nil, tt.raw, shift{}); ok || got != nil {
				t.Errorf("acknowledgements were translated: %x", got)
			}
		})
	}
}

func TestLongest(t *testing.T) {
	for name, raw := range packets(conntrack.ACK, timestamp, line) {
		t.Run(name, func(t *testing.T) {
			p, err := read(raw)
			if err != nil {
				t.Fatal(err)
			}
			payload := make([]byte, 65536-p.payload)
			s := conntrack.Segment{Flags: conntrack.ACK, Payload: payload[1:]}
			if got := judgeSegment(t, raw, s); len(got) != 65535 {
				t.Errorf("%d bytes, want 65535", len(got))
			}
			s.Payload = payload
			if _, err := Segment(nil, raw, s); !errors.Is(err, ErrTooLong) {
				t.Errorf("65,536 bytes: %v", err)
			}
		})
	}
}

// A packet that the queue's message could not hold, and one that is longer than
// any header can tell.
func TestCutPackets(t *testing.T) {
	s := conntrack.Segment{Seq: 9, Flags: conntrack.ACK | conntrack.FIN, Payload: []byte(line)}
	for name, raw := range packets(conntrack.ACK|conntrack.FIN, "", line) {
		if strings.Contains(name, "padding") || strings.Contains(name, "length 0") {
			continue
		}
		raw = raw[:len(raw)-4]
		got := judgeSegment(t, raw, s)
		if flags := got[len(got)-len(line)-20+13]; flags != byte(conntrack.ACK) {
			t.Errorf("%s: leaves with flags %#x", name, flags)
		}
		if got, ok := judgeAcks(t, raw, shift{}); !ok || got[len(raw)-len(line)+4-20+13] != byte(conntrack.ACK) {
			t.Errorf("%s: acknowledgements: %x, %v", name, got, ok)
		}
	}
	big := changed(v4("", segmentBytes(conntrack.ACK, "", string(make([]byte, 70000)))), 2, 0, 0)
	judgeSegment(t, big, s)
	if _, ok := judgeAcks(t, big, shift{}); ok {
		t.Error("a packet of 70,040 bytes was written")
	}
}

func TestAcks(t *testing.T) {
	for _, tt := range []struct {
		name, options, want string // want: the options after it
	}{
		{"none", "", ""},
		{"timestamp", timestamp, timestamp},
		{"one block", sackOption(1100, 1200), sackOption(1090, 1190)},
		{"two", sackOption(900, 1200, 1300, 1400), sackOption(900, 1190, 1290, 1390)},
		{"three behind a timestamp", timestamp + sackOption(2000, 2100, 1500, 1600, 1100, 1200), timestamp + sackOption(1990, 2090, 1490, 1590, 1090, 1190)},
		{"four", sackOption(1, 2000, 3, 3000, 5, 4000, 7, 5000), sackOption(1, 1990, 3, 2990, 5, 3990, 7, 4990)},
		{"one goes", sackOption(900, 1000), "\x01\x01" + "\x01\x01" + nops},
		{"the first goes", sackOption(900, 1000, 1100, 1200), sackOption(1090, 1190) + nops},
		{"the middle goes", sackOption(1300, 1400, 900, 1000, 1100, 1200), sackOption(1290, 1390, 1090, 1190) + nops},
		{"the last goes", sackOption(1300, 1400, 1100, 1200, 900, 1000), sackOption(1290, 1390, 1090, 1190) + nops},
		{"all four go", sackOption(1, 2, 3, 4, 5, 6, 7, 8), "\x01\x01" + "\x01\x01" + nops + nops + nops + nops},
		{"two options", sackOption(900, 1000) + sackOption(1100, 1200), "\x01\x01\x01\x01" + nops + sackOption(1090, 1190)},
		{"at the very end", "\x01\x01" + sackOption(1100, 1200)[2:] + "\x02\x04\x05\xb4", "\x01\x01" + sackOption(1090, 1190)[2:] + "\x02\x04\x05\xb4"},
		{"behind the end of options", "\x00\x01\x01\x01" + sackOption(1100, 1200), "\x00\x01\x01\x01" + sackOption(1100, 1200)},
		{"behind a malformed option", "\x08\x01\x01\x01" + sackOption(1100, 1200), "\x08\x01\x01\x01" + sackOption(1100, 1200)},
		{"beyond the header", "\x01\x01\x05\x12" + sackOption(1100, 1200)[4:], "\x01\x01\x05\x12" + sackOption(1100, 1200)[4:]},
		{"half a block", "\x01\x01\x05\x06\x00\x00\x07\xd0", "\x01\x01\x05\x06\x00\x00\x07\xd0"},
		{"no block", "\x01\x01\x05\x02", "\x01\x01\x05\x02"},
		{"length left out", "\x01\x01\x01\x05", "\x01\x01\x01\x05"},
	} {
		for name, raw := range packets(conntrack.ACK, tt.options, line) {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				got, ok := judgeAcks(t, raw, shift{})
				if !ok {
					t.Fatal("nothing has changed")
				}
				end := len(got) - len(line)
				if options := string(got[end-len(tt.options) : end]); options != tt.want {
					t.Errorf("options %x, want %x", options, tt.want)
				}
				if _, ok := judgeAcks(t, raw, asIs{}); ok {
					t.Error("changed where nothing is to be")
				}
			})
		}
	}
}

// A SACK block alone can change, and without ACK nothing does.
func TestAcksChangesOnlyWhatCounts(t *testing.T) {
	raw := v4("", changed(segmentBytes(conntrack.ACK, sackOption(1100, 1200), ""), 8, 0, 0, 3, 0xe8)) // ack 1000
	if got, ok := judgeAcks(t, raw, shift{}); !ok || be(got[28:32]) != 1000 {
		t.Errorf("a block alone: %x, %v", got, ok)
	}
	for _, flags := range []conntrack.Flags{conntrack.SYN, conntrack.RST, conntrack.FIN, 0} {
		if got, ok := judgeAcks(t, v4("", segmentBytes(flags, sackOption(1100, 1200), line)), shift{}); ok {
			t.Errorf("without ACK, flags %#x: %x", flags, got)
		}
	}
}

// *conntrack.Acks is what the gateway gives.
var _ Translator = (*conntrack.Acks)(nil)

// odd generates packets that are right, nearly right and cut.
func odd() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		sack := rapid.Custom(func(t *rapid.T) string {
			edges := rapid.SliceOfN(rapid.Uint32Range(900, 1100), 2, 8).Draw(t, "edges")
			return sackOption(edges[:len(edges)/2*2]...)
		})
		options := rapid.OneOf(sack, rapid.SampledFrom([]string{"", timestamp, timestamp + sackOption(1, 2000)})).Draw(t, "options")
		flags := conntrack.Flags(rapid.Byte().Draw(t, "flags")) | conntrack.ACK
		all := packets(flags, options, string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "payload")))
		names := make([]string, 0, len(all))
		for name := range all {
			names = append(names, name)
		}
		slices.Sort(names)
		b := all[rapid.SampledFrom(names).Draw(t, "packet")]
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			b = changed(b, rapid.IntRange(0, min(len(b)-1, 110)).Draw(t, "at"), rapid.Byte().Draw(t, "byte"))
		}
		if rapid.IntRange(0, 3).Draw(t, "cut") == 0 {
			b = b[:rapid.IntRange(0, len(b)).Draw(t, "length")]
		}
		return b
	})
}

func TestAgreesWithSlowWriter(t *testing.T) {
	written, translated := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		raw := odd().Draw(t, "raw")
		if len(judgeSegment(t, raw, conntrack.Segment{
			Seq: rapid.Uint32().Draw(t, "seq"), Flags: conntrack.Flags(rapid.Byte().Draw(t, "flags")),
			Urgent: rapid.Uint16().Draw(t, "urgent"), Payload: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "payload"),
		})) > 0 {
			written++
		}
		if _, ok := judgeAcks(t, raw, shift{}); ok {
			translated++
		}
	})
	if written == 0 || translated == 0 {
		t.Errorf("%d packets could be written, %d translated", written, translated)
	}
}

func FuzzSegment(f *testing.F) {
	for _, raw := range packets(conntrack.ACK, timestamp, line) {
		f.Add(raw, uint32(7), byte(0x38), uint16(4), []byte("227 (1,2,3,4,5,6)\r\n"))
	}
	f.Fuzz(func(t *testing.T, raw []byte, seq uint32, flags byte, urgent uint16, payload []byte) {
		judgeSegment(t, raw, conntrack.Segment{Seq: seq, Flags: conntrack.Flags(flags), Urgent: urgent, Payload: payload})
	})
}

func FuzzAcks(f *testing.F) {
	for _, raw := range packets(conntrack.ACK, timestamp+sackOption(900, 950, 1100, 1200), line) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		judgeAcks(t, raw, shift{})
		if got, ok := judgeAcks(t, raw, asIs{}); ok {
			t.Errorf("%x: changed where nothing is to be: %x", raw, got)
		}
	})
}

func TestNoAllocs(t *testing.T) {
	dst := make([]byte, 0, 65536)
	s := conntrack.Segment{Seq: 9, Flags: conntrack.ACK, Payload: []byte(line)}
	all := packets(conntrack.ACK, timestamp+sackOption(900, 950, 1100, 1200), line)
	all["AH"] = v6(51, slices.Concat(signed, segmentBytes(conntrack.ACK, "", line))) // refusals neither
	if n := testing.AllocsPerRun(100, func() {
		for _, raw := range all {
			_, _ = Segment(dst, raw, s)
			Acks(dst, raw, shift{})
			Acks(dst, raw, asIs{})
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSegment(b *testing.B) {
	dst := make([]byte, 0, 65536)
	for _, bt := range []struct {
		name string
		raw  []byte
		n    int
	}{
		{"line", v4("", segmentBytes(conntrack.ACK, timestamp, line)), len(line)},
		{"line IPv6", v6(6, segmentBytes(conntrack.ACK, timestamp, line)), len(line)},
		{"64 kB", v4("", segmentBytes(conntrack.ACK, timestamp, line)), 65000},
	} {
		b.Run(bt.name, func(b *testing.B) {
			s := conntrack.Segment{Seq: 9, Flags: conntrack.ACK, Payload: make([]byte, bt.n)}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Segment(dst, bt.raw, s)
			}
		})
	}
}

func BenchmarkAcks(b *testing.B) {
	dst := make([]byte, 0, 65536)
	raw := v4("", segmentBytes(conntrack.ACK, timestamp+sackOption(900, 950, 1100, 1200), ""))
	b.ReportAllocs()
	for b.Loop() {
		Acks(dst, raw, shift{})
	}
}
