package capture

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"pgregory.net/rapid"

	"ftpinhole/cmd/internal/decode"
)

const (
	raw   = uint32(decode.Raw)
	micro = 0xa1b2c3d4
	nano  = 0xa1b23c4d
)

var le, be = binary.LittleEndian, binary.BigEndian

func TestPcap(t *testing.T) {
	first := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	sec := uint32(first.Unix())
	ethernet := append(append(make([]byte, 12), 8, 0), packet("eth")...)
	tests := []struct {
		name  string
		file  []byte
		want  []string
		times []time.Duration // after first
	}{
		{"little endian", classic(le, micro, 65535, raw, stamped{sec, 123456, packet("a")}, stamped{sec + 1, 0, packet("b")}), []string{"a", "b"}, []time.Duration{123456 * time.Microsecond, time.Second}},
		{"big endian", classic(be, micro, 65535, raw, stamped{sec, 123456, packet("a")}), []string{"a"}, []time.Duration{123456 * time.Microsecond}},
		{"nanoseconds", classic(le, nano, 65535, raw, stamped{sec, 123456789, packet("a")}), []string{"a"}, []time.Duration{123456789}},
		{"nanoseconds, big endian", classic(be, nano, 65535, raw, stamped{sec, 123456789, packet("a")}), []string{"a"}, []time.Duration{123456789}},
		{"snaplen too low", classic(le, micro, 10, raw, stamped{sec, 0, packet("a")}), []string{"a"}, []time.Duration{0}},
		{"snaplen 0", classic(le, micro, 0, raw, stamped{sec, 0, packet("a")}), []string{"a"}, []time.Duration{0}},
		{"frame check sequence bits", classic(le, micro, 65535, raw|0x14000000, stamped{sec, 0, packet("a")}), []string{"a"}, []time.Duration{0}},
		{"ethernet", classic(le, micro, 65535, 1, stamped{sec, 0, ethernet}), []string{"eth"}, []time.Duration{0}},
		{"SLL2, which has no eight-bit number", classic(le, micro, 65535, 276, stamped{sec, 0, append(append([]byte{8, 0}, make([]byte, 18)...), packet("sll2")...)}), []string{"sll2"}, []time.Duration{0}},
		{"undecodable", classic(le, micro, 65535, raw, stamped{sec, 0, []byte("hm")}, stamped{sec, 0, nil}, stamped{sec, 0, packet("b")}), []string{"-", "-", "b"}, []time.Duration{0, 0, 0}},
		{"empty", classic(le, micro, 65535, raw), nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, times, err := read(tt.file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("payloads (-want +got):\n%s", diff)
			}
			for i, at := range times {
				if !at.Equal(first.Add(tt.times[i])) {
					t.Errorf("packet %d at %v", i, at)
				}
			}
		})
	}
}

func TestPcapng(t *testing.T) {
	stamp := time.Date(2026, 11, 20, 10, 0, 0, 123456789, time.UTC)
	us, ns := uint64(stamp.UnixMicro()), uint64(stamp.UnixNano())
	for _, order := range []binary.AppendByteOrder{le, be} {
		n := &ng{AppendByteOrder: order}
		ethernet := append(append(make([]byte, 12), 8, 0), packet("eth")...)
		n.section().block(0x0bad, 1, 2, 3, 4). // an unknown block
							iface(decode.Raw, 0).
							iface(decode.Ethernet, 65535, append(n.option(2, []byte("eth0")...), n.option(9, 9)...)...).
							enhanced(0, us, packet("raw")).
							enhanced(1, ns, ethernet)
		simple := order.AppendUint32(nil, uint32(len(packet("simple"))))
		n.block(blockSimplePacket, append(simple, packet("simple")...)...)
		old := order.AppendUint16(nil, 0) // interface
		old = order.AppendUint16(old, 9)  // drops
		old = order.AppendUint32(old, uint32(us>>32))
		old = order.AppendUint32(old, uint32(us))
		old = order.AppendUint32(old, uint32(len(packet("old"))))
		old = order.AppendUint32(old, 1000)
		n.block(blockPacket, append(old, packet("old")...)...)
		// A new section forgets the interfaces. Its clock counts halves to the 20th.
		n.section().iface(decode.LinuxSLL2, 0, n.option(9, 0x80|20)...).
			enhanced(0, uint64(stamp.Unix())<<20|1<<19, append(append([]byte{8, 0}, make([]byte, 18)...), packet("sll2")...))

		got, times, err := read(n.b)
		if err != nil {
			t.Fatalf("%v: %v", order, err)
		}
		if diff := cmp.Diff([]string{"raw", "eth", "simple", "old", "sll2"}, got); diff != "" {
			t.Errorf("%v: payloads (-want +got):\n%s", order, diff)
		}
		micros := stamp.Truncate(time.Microsecond)
		want := []time.Time{micros, stamp, time.Unix(0, 0).UTC(), micros, stamp.Truncate(time.Second).Add(time.Second / 2)}
		if diff := cmp.Diff(want, times); diff != "" {
			t.Errorf("%v: times (-want +got):\n%s", order, diff)
		}
	}
}

func TestTimeResolution(t *testing.T) {
	tests := []struct {
		name  string
		i     iface
		stamp uint64
		want  time.Time
	}{
		{"seconds", iface{resolution: 0}, 1000, time.Unix(1000, 0)},
		{"milliseconds", iface{resolution: 3}, 1500, time.Unix(1, 5e8)},
		{"picoseconds", iface{resolution: 12}, 1_500_000_000_999, time.Unix(1, 5e8)},
		{"offset", iface{resolution: 6, offset: 1000}, 1_000_000, time.Unix(1001, 0)},
		{"negative offset", iface{resolution: 6, offset: -1}, 1_000_000, time.Unix(0, 0)},
		{"2^-1", iface{resolution: 0x81}, 3, time.Unix(1, 5e8)},
		{"2^-63", iface{resolution: 0x80 | 63}, 1<<63 | 1<<62, time.Unix(1, 5e8)},
		{"2^-64, which no 64-bit clock reaches", iface{resolution: 0x80 | 64}, 1 << 63, time.Unix(0, 0)},
		{"10^-19", iface{resolution: 19}, 15_000_000_000_000_000_000, time.Unix(1, 5e8)},
		{"10^-64, where pcapgo divides by zero", iface{resolution: 64}, 1, time.Unix(0, 0)},
		{"2^-127", iface{resolution: 0xff}, 1, time.Unix(0, 0)},
		{"offset beyond all time", iface{resolution: 6, offset: 1<<63 - 1}, 5, time.Unix(0, 5000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.i.time(tt.stamp); !got.Equal(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want.UTC())
			}
		})
	}
}

// The same as pcapgo's own reader, on files that pcapgo has written.
func TestAgreesWithPcapgo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var file bytes.Buffer
		w, err := pcapgo.NewNgWriter(&file, layers.LinkTypeRaw)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range rapid.SliceOfN(rapid.StringN(0, 100, 100), 1, 8).Draw(t, "payloads") {
			b := packet(s)
			at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "seconds"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds"))
			if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(b), Length: len(b)}, b); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		other, err := pcapgo.NewNgReader(bytes.NewReader(file.Bytes()), pcapgo.DefaultNgReaderOptions)
		if err != nil {
			t.Fatal(err)
		}
		payloads, times, err := read(file.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for i := range payloads {
			data, info, err := other.ReadPacketData()
			if err != nil || string(data[40:]) != payloads[i] || !info.Timestamp.Equal(times[i]) {
				t.Fatalf("packet %d: %q at %v, pcapgo has %q at %v, %v", i, payloads[i], times[i], data, info.Timestamp, err)
			}
		}
		if _, _, err := other.ReadPacketData(); err != io.EOF {
			t.Errorf("pcapgo has more packets: %v", err)
		}
	})
}

// A file that is cut anywhere gives the packets up to there and says so.
func TestTruncated(t *testing.T) {
	n := &ng{AppendByteOrder: le}
	n.section().iface(decode.Raw, 0)
	ends := map[int]int{28: 0, len(n.b): 0} // where the cut is clean, and how many packets come before it
	for i, s := range []string{"a", "bb", "ccc"} {
		n.enhanced(0, 1, packet(s))
		ends[len(n.b)] = i + 1
	}
	pcapEnds := map[int]int{24: 0, 24 + 57: 1, 24 + 57 + 58: 2}
	tests := []struct {
		name string
		file []byte
		ends map[int]int
	}{
		{"pcap", classic(le, micro, 65535, raw, stamped{0, 0, packet("a")}, stamped{0, 0, packet("bb")}), pcapEnds},
		{"pcapng", n.b, ends},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			complete := 0
			for cut := range len(tt.file) + 1 {
				got, _, err := read(tt.file[:cut])
				n, clean := tt.ends[cut]
				if clean {
					complete = n
				}
				switch {
				case len(got) != complete:
					t.Errorf("cut at %d: %d packets, want %d", cut, len(got), complete)
				case clean && err != nil:
					t.Errorf("cut at %d: %v", cut, err)
				case !clean && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrFormat):
					t.Errorf("cut at %d: error %v", cut, err)
				case !clean && len(got) > 0 && !errors.Is(err, ErrTruncated):
					t.Errorf("cut at %d: error %v, want ErrTruncated", cut, err)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	good := packet("a")
	start := func() *ng { return (&ng{AppendByteOrder: le}).section() }
	claim := func(n uint32) []byte { // a packet that claims n bytes
		b := classic(le, micro, 0xffffffff, raw, stamped{0, 0, good})
		le.PutUint32(b[24+8:], n)
		le.PutUint32(b[24+12:], 0xffffffff)
		return b
	}
	tests := []struct {
		name string
		file []byte
		want error
		text string
	}{
		{"nothing", nil, ErrFormat, "0 bytes"},
		{"text", []byte("220 ready\r\n"), ErrFormat, ""},
		{"gzip", gzipped(classic(le, micro, 65535, raw)), ErrFormat, "zcat"},
		{"version 3", append(classic(le, micro, 65535, raw)[:4], append([]byte{3, 0, 4, 0}, make([]byte, 16)...)...), ErrFormat, "version"},
		{"pcap link type", classic(le, micro, 65535, 189), ErrLinkType, "189"},
		{"pcap link type that is Ethernet in eight bits", classic(le, micro, 65535, 257), ErrLinkType, "257"},
		{"pcap packet of 4 GiB", claim(0xfffffff0), ErrFormat, "packet 1"},
		{"pcap packet over the limit", claim(maxPacket + 1), ErrFormat, "packet 1"},
		{"pcap captured more than there was", func() []byte {
			b := classic(le, micro, 65535, raw, stamped{0, 0, good})
			le.PutUint32(b[24+12:], 1)
			return b
		}(), ErrFormat, "packet 1"},
		{"pcapng byte order", append(binary.BigEndian.AppendUint32(nil, blockSection), make([]byte, 24)...), ErrFormat, "byte order"},
		{"pcapng link type", start().iface(189, 0).enhanced(0, 0, good).b, ErrLinkType, "189"},
		{"pcapng no interface", start().enhanced(0, 0, good).b, ErrFormat, "interface 0"},
		{"pcapng interface of the last section", start().iface(decode.Raw, 0).section().enhanced(0, 0, good).b, ErrFormat, "interface 0"},
		{"pcapng simple packet without an interface", start().block(blockSimplePacket, 0, 0, 0, 0).b, ErrFormat, "interface 0"},
		{"pcapng packet longer than its block", func() []byte {
			n := start().iface(decode.Raw, 0)
			at := len(n.b)
			n.enhanced(0, 0, good)
			le.PutUint32(n.b[at+8+12:], 0xfffffff0)
			return n.b
		}(), ErrFormat, "packet of 4294967280 bytes"},
		{"pcapng short packet block", start().block(blockEnhancedPacket, 1, 2, 3, 4).b, ErrFormat, "4 bytes"},
		{"pcapng short interface block", start().block(blockInterface, 1, 2, 3, 4).b, ErrFormat, "4 bytes"},
		{"pcapng option longer than its block", start().iface(decode.Raw, 0, 2, 0, 0xff, 0xff).b, ErrFormat, "option"},
		{"pcapng empty packet block", start().block(blockEnhancedPacket).b, ErrFormat, "0 bytes"},
		{"pcapng block of no length", append(start().b, 6, 0, 0, 0, 0, 0, 0, 0), ErrFormat, "block of 0 bytes"},
		{"pcapng block of odd length", append(start().b, 6, 0, 0, 0, 13, 0, 0, 0), ErrFormat, "block of 13 bytes"},
		{"pcapng packet block of 4 GiB", append(start().b, 6, 0, 0, 0, 0xf0, 0xff, 0xff, 0xff), ErrFormat, "block of 4294967280 bytes"},
		{"pcapng other block of 4 GiB", append(start().b, 99, 0, 0, 0, 0xf0, 0xff, 0xff, 0xff), ErrTruncated, ""},
		{"pcapng lengths that differ", func() []byte {
			b := start().iface(decode.Raw, 0).b
			b[len(b)-4]++
			return b
		}(), ErrFormat, "at its end"},
		{"pcapng too many interfaces", func() []byte {
			n := start()
			for range maxInterfaces + 1 {
				n.iface(decode.Raw, 0)
			}
			return n.b
		}(), ErrFormat, "interfaces"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, _, err := read(tt.file)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want %v with %q", err, tt.want, tt.text)
			}
			if len(got) != 0 {
				t.Errorf("packets %q", got)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
				t.Errorf("%d bytes allocated for a file of %d", n, len(tt.file))
			}
		})
	}
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

// An error of the disk is not taken for a damaged capture, and errors stay.
func TestReadError(t *testing.T) {
	n := (&ng{AppendByteOrder: le}).section().iface(decode.Raw, 0).enhanced(0, 0, packet("a"))
	for name, file := range map[string][]byte{"pcapng": n.b, "pcap": classic(le, micro, 65535, raw, stamped{0, 0, packet("a")})} {
		broken := errors.New("disk is gone")
		r, err := NewReader(io.MultiReader(bytes.NewReader(file), iotest.ErrReader(broken)))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, ok, err := r.Next(); !ok || err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for range 2 {
			if _, _, _, err := r.Next(); !errors.Is(err, broken) || errors.Is(err, ErrFormat) || errors.Is(err, ErrTruncated) {
				t.Errorf("%s: error %v", name, err)
			}
		}
		if read, bad := r.Packets(); read != 1 || bad != 0 {
			t.Errorf("%s: %d packets, %d undecodable", name, read, bad)
		}
	}
	if _, err := NewReader(iotest.ErrReader(io.ErrNoProgress)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v", err)
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.pcap")
	if _, err := Open(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("not a capture"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), path) {
		t.Errorf("text file: %v", err)
	}
	if err := os.WriteFile(path, classic(le, micro, 65535, raw, stamped{5, 0, packet("a")}), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, pkt, ok, err := r.Next(); err != nil || !ok || string(pkt.Payload) != "a" {
		t.Errorf("got %+v, %v", pkt, err)
	}
	if _, _, _, err := r.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(classic(le, micro, 65535, raw, stamped{5, 0, packet("a")}, stamped{6, 0, packet("b")}))
	f.Add(classic(be, nano, 0xffffffff, 276, stamped{5, 0, packet("a")}))
	n := &ng{AppendByteOrder: be}
	n.section().iface(decode.Raw, 0, n.option(9, 64)...).iface(decode.Ethernet, 0xffffffff, n.option(14, make([]byte, 8)...)...).enhanced(0, 1<<40, packet("x")).section()
	f.Add(n.b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if (r == nil) == (err == nil) {
			t.Fatalf("reader %v, error %v", r, err)
		}
		if err != nil {
			return
		}
		for i := 0; ; i++ {
			at, pkt, ok, err := r.Next()
			if err != nil {
				if ok || !at.IsZero() || pkt.Payload != nil || pkt.Src.IsValid() {
					t.Errorf("packet %+v and error %v", pkt, err)
				}
				if err != io.EOF && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrLinkType) {
					t.Errorf("error %v is of no kind", err)
				}
				return
			}
			if ok != pkt.Src.IsValid() || len(pkt.Payload) > len(b) {
				t.Errorf("ok = %v with %+v", ok, pkt)
			}
			if i > len(b)/16 {
				t.Fatal("more packets than the file has room for")
			}
		}
	})
}
