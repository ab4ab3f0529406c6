package decode

import (
	"net/netip"

	"ftpinhole/conntrack"
)

// slowIP is a second decoder, written from the RFCs without regard to speed:
// it judges the first one.
func slowIP(raw []byte) (pkt conntrack.Packet, ok bool) {
	at := func(i int) int { return int(raw[i]) }
	be16 := func(i int) int { return at(i)<<8 | at(i+1) }
	be32 := func(i int) uint32 { return uint32(be16(i))<<16 | uint32(be16(i+2)) }
	if len(raw) < 20 {
		return pkt, false
	}
	var src, dst netip.Addr
	var proto, i int
	switch at(0) / 16 {
	case 4:
		total := be16(2)
		if total == 0 || total > len(raw) {
			// What is not there cannot be read; but a header that
			// contradicts its own length is nothing to rely on.
			if total != 0 && total < at(0)%16*4 {
				return pkt, false
			}
			total = len(raw)
		}
		raw = raw[:total]
		i = at(0) % 16 * 4
		if i < 20 || len(raw) < i {
			return pkt, false
		}
		if offset, more := be16(6)%0x2000, at(6)/0x20%2 == 1; offset != 0 || more {
			return pkt, false
		}
		src, _ = netip.AddrFromSlice(raw[12:16])
		dst, _ = netip.AddrFromSlice(raw[16:20])
		if proto = at(9); proto != 6 {
			return pkt, false
		}
	case 6:
		if len(raw) < 40 {
			return pkt, false
		}
		if n := be16(4); n != 0 && 40+n < len(raw) {
			raw = raw[:40+n]
		}
		src, _ = netip.AddrFromSlice(raw[8:24])
		dst, _ = netip.AddrFromSlice(raw[24:40])
		for proto, i = at(6), 40; proto != 6; {
			if len(raw) < i+8 {
				return pkt, false
			}
			next, length := at(i), 0
			switch proto {
			case 0, 43, 60: // hop-by-hop, routing, destination
				length = 8 * (1 + at(i+1))
			case 44: // fragment: only one that is the whole packet
				if be16(i+2)/8 != 0 || be16(i+2)%2 == 1 {
					return pkt, false
				}
				length = 8
			case 51: // authentication
				length = 4 * (2 + at(i+1))
			default:
				return pkt, false
			}
			proto, i = next, i+length
		}
	default:
		return pkt, false
	}
	if len(raw) < i+20 {
		return pkt, false
	}
	header := at(i+12) / 16 * 4
	if header < 20 || len(raw) < i+header {
		return pkt, false
	}
	return conntrack.Packet{
		Src:     netip.AddrPortFrom(src, uint16(be16(i))),
		Dst:     netip.AddrPortFrom(dst, uint16(be16(i+2))),
		Seq:     be32(i + 4),
		Ack:     be32(i + 8),
		Flags:   conntrack.Flags(at(i + 13)),
		Urgent:  uint16(be16(i + 18)),
		Payload: raw[i+header:],
	}, true
}
