package splice

import (
	"encoding/binary"

	"ftpinhole/conntrack"
)

// Translator translates what a segment acknowledges: a *conntrack.Acks.
type Translator interface {
	// Ack gives another acknowledgement number.
	Ack(uint32) uint32
	// Sack gives another block of a SACK option, or false if nothing is left.
	Sack(left, right uint32) (l, r uint32, ok bool)
}

// TCP options (RFC 9293 3.2, RFC 2018 3).
const (
	optEnd  = 0
	optNOP  = 1
	optSACK = 5

	sackBlock = 8 // bytes: left and right edge
)

// Acks appends to dst the packet raw, which begins at its IP header, with its
// acknowledgement number and the blocks of its SACK options translated. A block
// of which nothing is left goes: the others move up, and NOPs take the room.
// It does not allocate if dst has room. dst must not overlap raw.
//
// It is false, and dst returned as it was, if nothing changes: also for a
// segment without ACK, and for a packet that Segment refuses. As there, a packet
// that is not there as a whole leaves without FIN.
func Acks(dst, raw []byte, a Translator) ([]byte, bool) {
	p, err := read(raw)
	if err != nil || p.end > maxPacket || conntrack.Flags(raw[p.tcp+13])&conntrack.ACK == 0 {
		return dst, false
	}
	from := len(dst)
	out := append(dst, raw[:p.end]...)
	header := out[from+p.tcp : from+p.payload]
	ack := binary.BigEndian.Uint32(header[8:])
	translated := a.Ack(ack)
	binary.BigEndian.PutUint32(header[8:], translated)
	if sacks := options(header[20:], a); !sacks && translated == ack {
		return dst, false
	}
	p.finish(out[from:])
	return out, true
}

// options translates SACK options and reports whether one has changed. As
// Linux does (tcp_parse_options), it stops where an option is malformed.
func options(b []byte, a Translator) (changed bool) {
	for len(b) > 0 && b[0] != optEnd {
		if b[0] == optNOP {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			break
		}
		n := int(b[1])
		if b[0] == optSACK && n > 2 && (n-2)%sackBlock == 0 && sack(b[:n], a) {
			changed = true
		}
		b = b[n:]
	}
	return changed
}

// sack translates one option.
func sack(option []byte, a Translator) (changed bool) {
	kept := option[:2]
	for block := option[2:]; len(block) > 0; block = block[sackBlock:] {
		left, right := binary.BigEndian.Uint32(block), binary.BigEndian.Uint32(block[4:])
		l, r, ok := a.Sack(left, right)
		changed = changed || !ok || l != left || r != right
		if ok {
			kept = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(kept, l), r)
		}
	}
	option[1] = byte(len(kept))
	rest := option[len(kept):]
	if len(kept) == 2 {
		rest = option
	}
	for i := range rest {
		rest[i] = optNOP
	}
	return changed
}
