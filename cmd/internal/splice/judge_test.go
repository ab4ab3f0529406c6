package splice

import (
	"bytes"
	"slices"

	"ftpinhole/cmd/internal/decode"
	"ftpinhole/conntrack"
)

// This is the second implementation, which judges the first: written from the
// RFCs without regard to speed. Package decode says where the payload is.

func be(b []byte) (n uint32) {
	for _, c := range b {
		n = n<<8 | uint32(c)
	}
	return n
}

func put(b []byte, n uint32) {
	for i := range b {
		b[i] = byte(n >> (8 * (len(b) - 1 - i)))
	}
}

// checksum is RFC 1071's, one addition at a time.
func checksum(b []byte) uint32 {
	var n uint32
	for i := range b {
		word := uint32(b[i])
		if i%2 == 0 {
			word *= 256
		}
		n += word
		if n > 0xffff {
			n -= 0xffff
		}
	}
	return 0xffff - n
}

// anatomy is what an independent reader finds in a packet.
type anatomy struct {
	refused error // by which Segment must refuse it
	tcp     int   // where the TCP header begins
	told    int   // the length that the IP header tells; 0 if none
}

// dissect reads a packet that package decode has taken.
func dissect(raw []byte) (a anatomy) {
	if raw[0]>>4 == 4 {
		return anatomy{tcp: int(raw[0]%16) * 4, told: int(be(raw[2:4]))}
	}
	a.tcp = 40
	if n := int(be(raw[4:6])); n > 0 {
		a.told = 40 + n
	} else if raw[6] == 0 {
		a.refused = ErrJumbo
	}
	for kind := raw[6]; kind != 6; {
		h := raw[a.tcp:]
		length := 8 * (1 + int(h[1]))
		switch {
		case kind == 44:
			length = 8
		case kind == 51:
			length = 4 * (2 + int(h[1]))
		}
		if a.refused == nil && kind == 51 {
			a.refused = ErrSigned
		}
		if a.refused == nil && kind == 43 && h[3] > 0 {
			a.refused = ErrRouted
		}
		kind = h[0]
		a.tcp += length
	}
	return a
}

// whole makes lengths and checksums.
func whole(b []byte, tcp int) []byte {
	pseudo := []byte{0, 0, 0, 0, 0, 0, 0, 6}
	put(pseudo[:4], uint32(len(b)-tcp))
	if b[0]>>4 == 4 {
		put(b[2:4], uint32(len(b)))
		put(b[10:12], 0)
		put(b[10:12], checksum(b[:tcp]))
		pseudo = append(slices.Clone(b[12:20]), pseudo...)
	} else {
		put(b[4:6], uint32(len(b)-40))
		pseudo = append(slices.Clone(b[8:40]), pseudo...)
	}
	put(b[tcp+16:tcp+18], 0)
	put(b[tcp+16:tcp+18], checksum(append(pseudo, b[tcp:]...)))
	return b
}

// slowSegment is what Segment must do.
func slowSegment(raw []byte, s conntrack.Segment) ([]byte, error) {
	var p conntrack.Packet
	if !decode.New().IP(raw, &p) {
		return nil, ErrNotTCP
	}
	a := dissect(raw)
	if a.refused != nil {
		return nil, a.refused
	}
	data := a.tcp + int(raw[a.tcp+12]/16)*4
	if data+len(s.Payload) > 65535 {
		return nil, ErrTooLong
	}
	b := slices.Concat(raw[:data], s.Payload)
	put(b[a.tcp+4:a.tcp+8], s.Seq)
	b[a.tcp+13] = byte(s.Flags)
	if a.told > len(raw) {
		b[a.tcp+13] &= 0xfe
	}
	if s.Flags&0x20 != 0 {
		put(b[a.tcp+18:a.tcp+20], uint32(s.Urgent))
	}
	return whole(b, a.tcp), nil
}

// slowAcks is what Acks must do.
func slowAcks(raw []byte, t Translator) ([]byte, bool) {
	var p conntrack.Packet
	if !decode.New().IP(raw, &p) || p.Flags&conntrack.ACK == 0 {
		return nil, false
	}
	a := dissect(raw)
	data := a.tcp + int(raw[a.tcp+12]/16)*4
	if a.refused != nil || data+len(p.Payload) > 65535 {
		return nil, false
	}
	b := slices.Clone(raw[:data+len(p.Payload)])
	put(b[a.tcp+8:a.tcp+12], t.Ack(be(b[a.tcp+8:a.tcp+12])))
	options := slowOptions(b[a.tcp+20:data], t)
	if len(options) != data-a.tcp-20 {
		panic("the judge has made other options")
	}
	copy(b[a.tcp+20:], options)
	if bytes.Equal(b, raw[:len(b)]) {
		return nil, false
	}
	if a.told > len(raw) {
		b[a.tcp+13] &= 0xfe
	}
	return whole(b, a.tcp), true
}

func slowOptions(b []byte, t Translator) []byte {
	if len(b) == 0 || b[0] == 0 {
		return b
	}
	if b[0] == 1 {
		return append([]byte{1}, slowOptions(b[1:], t)...)
	}
	if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
		return b
	}
	option, rest := b[:b[1]], slowOptions(b[b[1]:], t)
	if b[0] == 5 && len(option)%8 == 2 && len(option) > 2 {
		var blocks []byte
		for i := 2; i < len(option); i += 8 {
			if l, r, ok := t.Sack(be(option[i:i+4]), be(option[i+4:i+8])); ok {
				block := make([]byte, 8)
				put(block[:4], l)
				put(block[4:], r)
				blocks = append(blocks, block...)
			}
		}
		var n []byte
		if len(blocks) > 0 {
			n = append([]byte{5, byte(2 + len(blocks))}, blocks...)
		}
		option = append(n, bytes.Repeat([]byte{1}, len(option)-len(n))...)
	}
	return slices.Concat(option, rest)
}
