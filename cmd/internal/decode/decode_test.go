package decode

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"ftpinhole/conntrack"
)

var equal = cmp.Options{cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty()}

// segmentBytes is a TCP segment from port 21 to 40000, seq 7, ack 9, urgent
// pointer 259, with these options and payload.
func segmentBytes(flags byte, options, payload string) []byte {
	b := binary.BigEndian.AppendUint16(nil, 21)
	b = binary.BigEndian.AppendUint16(b, 40000)
	b = binary.BigEndian.AppendUint32(b, 7)
	b = binary.BigEndian.AppendUint32(b, 9)
	b = append(b, byte(5+len(options)/4)<<4, flags, 0xff, 0xff, 0xde, 0xad, 1, 3) // the checksum is wrong
	return append(append(b, options...), payload...)
}

// v4 is an IPv4 packet from 10.0.2.2 to 10.0.1.2.
func v4(proto byte, options string, body []byte) []byte {
	b := []byte{0x45 + byte(len(options)/4), 0, 0, 0, 1, 2, 0x40, 0, 64, proto, 0, 0, 10, 0, 2, 2, 10, 0, 1, 2}
	b = append(append(b, options...), body...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

// v6 is an IPv6 packet from 2001:db8::2 to 2001:db8::1.
func v6(proto byte, body []byte) []byte {
	b := []byte{0x60, 0, 0, 0, 0, 0, proto, 64}
	src, dst := netip.MustParseAddr("2001:db8::2").As16(), netip.MustParseAddr("2001:db8::1").As16()
	b = append(append(append(b, src[:]...), dst[:]...), body...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

// changed is b with its bytes at i replaced.
func changed(b []byte, i int, with ...byte) []byte {
	b = slices.Clone(b)
	copy(b[i:], with)
	return b
}

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

func TestIP(t *testing.T) {
	const line = "227 Entering Passive Mode (10,0,2,2,195,80)\r\n"
	tcp := segmentBytes(0x18, "", line)
	want4 := conntrack.Packet{
		Src: netip.MustParseAddrPort("10.0.2.2:21"), Dst: netip.MustParseAddrPort("10.0.1.2:40000"),
		Seq: 7, Ack: 9, Flags: conntrack.ACK | 1<<3, Urgent: 259, Payload: []byte(line),
	}
	want6 := want4
	want6.Src, want6.Dst = netip.MustParseAddrPort("[2001:db8::2]:21"), netip.MustParseAddrPort("[2001:db8::1]:40000")
	cut := func(p conntrack.Packet, n int) *conntrack.Packet { p.Payload = p.Payload[:n]; return &p }
	mapped := want6
	mapped.Src = netip.MustParseAddrPort("[::ffff:10.0.2.2]:21")
	padding := make([]byte, 18)
	hop := []byte{60, 0, 1, 4, 0, 0, 0, 0}                    // hop-by-hop, then destination
	dest := []byte{6, 1, 1, 12, 15: 0}                        // destination of 16 bytes, then TCP
	whole := []byte{6, 0, 0, 0, 1, 2, 3, 4}                   // atomic fragment, RFC 6946
	auth := []byte{6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 23: 0} // AH with an ICV of 12 bytes
	big := make([]byte, 70000)

	tests := []struct {
		name string
		raw  []byte
		want *conntrack.Packet
	}{
		{"IPv4", v4(6, "", tcp), &want4},
		{"IPv4 options", v4(6, "\x94\x04\x00\x00", tcp), &want4},
		{"IPv4 option of two bytes", v4(6, "\x9e\x02\x00\x00", tcp), &want4},
		{"TCP options", v4(6, "", segmentBytes(0x18, "\x01\x01\x08\x0a12345678", line)), &want4},
		{"TCP options that Linux accepts and gopacket does not", v4(6, "", segmentBytes(0x18, "\x08\x00\x01\x01", line)), &want4},
		{"TCP option beyond the header", v4(6, "", segmentBytes(0x18, "\x01\x01\x08\x40", line)), &want4},
		{"padding of a frame", join(v4(6, "", tcp), padding), &want4},
		{"no payload, padding", join(v4(6, "", tcp[:20]), padding), cut(want4, 0)},
		{"length 0", changed(v4(6, "", tcp), 2, 0, 0), &want4},
		{"length 0 above 65535 bytes", changed(v4(6, "", segmentBytes(0x18, "", string(big))), 2, 0, 0), func() *conntrack.Packet { p := want4; p.Payload = big; return &p }()},
		{"don't fragment", changed(v4(6, "", tcp), 6, 0x40, 0), &want4},
		{"reserved flag", changed(v4(6, "", tcp), 6, 0x80, 0), &want4},
		{"payload cut by the capture", v4(6, "", tcp)[:50], cut(want4, 10)},
		{"IPv6", v6(6, tcp), &want6},
		{"IPv6 padding", join(v6(6, tcp), padding), &want6},
		{"IPv6 length 0", changed(v6(6, tcp), 4, 0, 0), &want6},
		{"IPv6 extensions", v6(0, join(hop, dest, tcp)), &want6},
		{"IPv6 extensions, padding", join(v6(0, join(hop, dest, tcp)), padding), &want6},
		{"IPv6 routing", v6(43, join([]byte{6, 2, 0, 0, 23: 0}, tcp)), &want6},
		{"IPv6 whole fragment", v6(44, join(whole, tcp)), &want6},
		{"IPv6 AH", v6(51, join(auth, tcp)), &want6},
		{"IPv4-mapped addresses stay IPv6", changed(v6(6, tcp), 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 2, 2), &mapped},

		{"nothing", nil, nil},
		{"one byte", []byte{0x45}, nil},
		{"version 5", changed(v4(6, "", tcp), 0, 0x55), nil},
		{"header of four words", changed(v4(6, "", tcp), 0, 0x44), nil},
		{"header beyond the packet", changed(v4(6, "", tcp[:20]), 0, 0x4f), nil},
		{"length within the header", changed(v4(6, "", tcp), 2, 0, 19), nil},
		{"length within the TCP header", changed(v4(6, "", tcp), 2, 0, 39), nil},
		{"UDP", v4(17, "", tcp), nil},
		{"ESP", v6(50, tcp), nil},
		{"IPv4 AH, which conntrack does not look behind", v4(51, "", join(auth, tcp)), nil},
		{"first fragment", changed(v4(6, "", tcp), 6, 0x20, 0), nil},
		{"last fragment", changed(v4(6, "", tcp), 6, 0, 1), nil},
		{"IPv6 first fragment", v6(44, join(changed(whole, 3, 1), tcp)), nil},
		{"IPv6 last fragment", v6(44, join(changed(whole, 3, 8), tcp)), nil},
		{"IPv6 no next header", v6(59, tcp), nil},
		{"IPv6 extension beyond the packet", v6(60, join([]byte{6, 255, 7: 0}, tcp)), nil},
		{"IPv6 cut header", v6(6, tcp)[:39], nil},
		{"TCP header cut", v4(6, "", tcp[:19]), nil},
		{"TCP options cut", v4(6, "", segmentBytes(0, "\x01\x01\x01\x01", "")[:22]), nil},
		{"TCP header of four words", v4(6, "", changed(tcp, 12, 0x40)), nil},
		{"TCP header beyond the packet", v4(6, "", changed(tcp[:24], 12, 0xf0)), nil},
	}
	d := New()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got conntrack.Packet
			ok := d.IP(tt.raw, &got)
			if ok != (tt.want != nil) {
				t.Fatalf("ok = %v", ok)
			}
			if !ok {
				tt.want = &conntrack.Packet{} // untouched
			}
			if diff := cmp.Diff(*tt.want, got, equal); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The parser keeps the last packet's layers: none of them may show.
func TestNothingIsLeftOver(t *testing.T) {
	d := New()
	for _, bad := range [][]byte{
		v4(17, "", segmentBytes(0, "", "x")),
		v4(6, "", nil),
		v4(6, "", segmentBytes(0, "", "")[:10]),
		v6(6, nil),
		v6(60, segmentBytes(0, "", "")),
	} {
		var pkt conntrack.Packet
		if !d.IP(v4(6, "", segmentBytes(0x18, "", "PASV\r\n")), &pkt) || !d.IP(v6(6, segmentBytes(0x18, "", "PASV\r\n")), &pkt) {
			t.Fatal("a good packet is not decoded")
		}
		pkt = conntrack.Packet{}
		if d.IP(bad, &pkt) {
			t.Errorf("%x is decoded as %+v", bad, pkt)
		}
	}
}

// packets generates packets that are right, nearly right and cut.
func packets() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		words := rapid.Custom(func(t *rapid.T) string {
			b := rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "words")
			return string(b[:len(b)/4*4])
		})
		body := segmentBytes(rapid.Byte().Draw(t, "flags"), words.Draw(t, "tcp options"), string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "payload")))
		var b []byte
		if rapid.Bool().Draw(t, "IPv6") {
			proto := byte(6)
			for range rapid.IntRange(0, 4).Draw(t, "extensions") {
				kind := rapid.SampledFrom([]byte{0, 43, 44, 51, 60}).Draw(t, "kind")
				header := []byte{proto, 0, 0, 0, 0, 0, 0, 0}
				switch kind {
				case 44:
				case 51:
					header = append(header, 0, 0, 0, 0)
					header[1] = 1
				default:
					header[1] = byte(rapid.IntRange(0, 2).Draw(t, "length"))
					header = append(header, make([]byte, 8*int(header[1]))...)
				}
				proto, body = kind, append(header, body...)
			}
			b = v6(proto, body)
		} else {
			b = v4(6, words.Draw(t, "ip options"), body)
		}
		b = append(b, make([]byte, rapid.IntRange(0, 8).Draw(t, "padding"))...)
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			b[rapid.IntRange(0, min(len(b)-1, 70)).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		if rapid.IntRange(0, 3).Draw(t, "cut") == 0 {
			b = b[:rapid.IntRange(0, len(b)).Draw(t, "length")]
		}
		return b
	})
}

func TestAgreesWithSlowDecoder(t *testing.T) {
	d := New()
	decodable := 0
	rapid.Check(t, func(t *rapid.T) {
		if agree(t, d, packets().Draw(t, "packet")) {
			decodable++
		}
	})
	if decodable == 0 {
		t.Error("the generator makes nothing that is decodable")
	}
}

// agree compares the decoders, and checks that the payload lies in raw.
func agree(t interface {
	Helper()
	Errorf(string, ...any)
}, d *Decoder, raw []byte) bool {
	t.Helper()
	var got conntrack.Packet
	ok := d.IP(raw, &got)
	want, slowOK := slowIP(raw)
	if ok != slowOK {
		t.Errorf("%x: ok = %v, the slow decoder says %v", raw, ok, slowOK)
		return ok
	}
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("%x (-slow +got):\n%s", raw, diff)
	}
	if n := len(got.Payload); n > 0 {
		first, last := uintptr(unsafe.Pointer(&got.Payload[0])), uintptr(unsafe.Pointer(&got.Payload[n-1]))
		if first < uintptr(unsafe.Pointer(&raw[0])) || last > uintptr(unsafe.Pointer(&raw[len(raw)-1])) {
			t.Errorf("%x: the payload is not in the packet", raw)
		}
	}
	return ok
}

func FuzzIP(f *testing.F) {
	tcp := segmentBytes(0x18, "\x01\x01\x01\x00", "PORT 10,0,1,2,195,80\r\n")
	f.Add(v4(6, "\x94\x04\x00\x00", tcp))
	f.Add(v6(0, join([]byte{44, 0, 1, 4, 0, 0, 0, 0}, []byte{51, 0, 0, 0, 0, 0, 0, 0}, []byte{6, 1, 11: 0}, tcp)))
	f.Add(changed(v4(6, "", tcp), 2, 0, 0))
	d := New()
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		agree(t, d, raw)
		if !bytes.Equal(before, raw) {
			t.Error("the packet was changed")
		}
	})
}

func TestNoAllocs(t *testing.T) {
	d := New()
	tcp := segmentBytes(0x18, "\x01\x01\x08\x0a12345678", "NOOP\r\n")
	raws := [][]byte{
		v4(6, "", tcp), v6(6, tcp), v6(0, join([]byte{60, 0, 1, 4, 0, 0, 0, 0}, []byte{6, 0, 1, 4, 0, 0, 0, 0}, tcp)),
		v4(17, "", tcp), v4(6, "", tcp[:19]), v6(50, tcp), nil, // undecodable ones neither
	}
	var pkt conntrack.Packet
	if n := testing.AllocsPerRun(100, func() {
		for _, raw := range raws {
			d.IP(raw, &pkt)
			d.Link(Raw, raw, &pkt)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkIP(b *testing.B) {
	tcp := segmentBytes(0x18, "\x01\x01\x08\x0a12345678", "NOOP\r\n")
	for name, raw := range map[string][]byte{"v4": v4(6, "", tcp), "v6": v6(6, tcp)} {
		b.Run(name, func(b *testing.B) {
			d := New()
			var pkt conntrack.Packet
			b.ReportAllocs()
			for b.Loop() {
				d.IP(raw, &pkt)
			}
		})
	}
}
