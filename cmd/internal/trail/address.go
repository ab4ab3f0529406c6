package trail

import (
	"encoding/binary"
	"net/netip"
)

// addrKey is how an address is stored: 16 bytes, IPv4 mapped to IPv6; none for
// the zero Addr. Zones are not kept.
func addrKey(a netip.Addr) []byte {
	if !a.IsValid() {
		return []byte{}
	}
	b := a.As16()
	return b[:]
}

func addrOf(key []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(key)
	return a.Unmap()
}

// keyRange is the least and the greatest key of the addresses in a prefix.
func keyRange(p netip.Prefix) (least, greatest []byte) {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	low := p.Addr().As16()
	high := low
	for i := range 2 {
		mask := ^uint64(0) // the bits of this half that are free
		if n := bits - 64*i; n >= 64 {
			mask = 0
		} else if n > 0 {
			mask >>= n
		}
		half := binary.BigEndian.Uint64(low[8*i:])
		binary.BigEndian.PutUint64(low[8*i:], half&^mask)
		binary.BigEndian.PutUint64(high[8*i:], half|mask)
	}
	return low[:], high[:]
}
