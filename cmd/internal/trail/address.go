package trail

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
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

// keys are the keys from low to high.
type keys struct{ low, high []byte }

// Beside the keys of all IPv4 addresses.
var (
	beforeIPv4 = addrKey(netip.MustParseAddr("::fffe:ffff:ffff"))
	afterIPv4  = addrKey(netip.MustParseAddr("::1:0:0:0"))
)

// keysOf are the keys of the addresses in a prefix. One of IPv6 has no IPv4
// addresses, though it may have their keys between its own.
func keysOf(p netip.Prefix) []keys {
	low, high := keyRange(p)
	if p.Addr().Is4() || p.Bits() >= 96 || bytes.Compare(low, beforeIPv4) > 0 || bytes.Compare(high, beforeIPv4) <= 0 {
		return []keys{{low, high}}
	}
	if bytes.Compare(high, afterIPv4) < 0 {
		return []keys{{low, beforeIPv4}}
	}
	return []keys{{low, beforeIPv4}, {afterIPv4, high}}
}

// rangesOf are the keys of the addresses in any of the prefixes, none in two ranges.
func rangesOf(prefixes []netip.Prefix) []keys {
	var all []keys
	for _, p := range prefixes {
		all = append(all, keysOf(p)...)
	}
	// Of two, one is in the other, or they have no address in common.
	slices.SortFunc(all, func(a, b keys) int {
		return cmp.Or(bytes.Compare(a.low, b.low), bytes.Compare(b.high, a.high))
	})
	var apart []keys
	for _, k := range all {
		if len(apart) == 0 || bytes.Compare(k.low, apart[len(apart)-1].high) > 0 {
			apart = append(apart, k)
		}
	}
	return apart
}

// inRanges is the condition that a column is in one of the ranges, which are in their
// order. It is looked for by halves: who asks for a thousand addresses asks for no
// thousand comparisons of each row, nor for more than SQLite takes.
func inRanges(column string, ranges []keys) condition {
	switch n := len(ranges); {
	case n == 0:
		return condition{sql: "0"}
	case n > 1:
		left, right := inRanges(column, ranges[:n/2]), inRanges(column, ranges[n/2:])
		return condition{
			"CASE WHEN " + column + " < ? THEN " + left.sql + " ELSE " + right.sql + " END",
			slices.Concat([]any{ranges[n/2].low}, left.args, right.args),
		}
	case bytes.Equal(ranges[0].low, ranges[0].high):
		return condition{column + " = ?", []any{ranges[0].low}}
	}
	return condition{column + " BETWEEN ? AND ?", []any{ranges[0].low, ranges[0].high}}
}
