package probe

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// bits is a value of which some bits may be unknown.
type bits struct{ value, known []byte }

func known(b []byte) bits {
	k := make([]byte, len(b))
	for i := range k {
		k[i] = 0xff
	}
	return bits{b, k}
}

func unknown(n int) bits { return bits{make([]byte, n), make([]byte, n)} }

func (b bits) whole() bool {
	for _, k := range b.known {
		if k != 0xff {
			return false
		}
	}
	return true
}

// Bits of ct state, as nft and the xt matches have them
// (NF_CT_STATE_BIT, include/uapi/linux/netfilter/nf_conntrack_common.h).
const (
	stateInvalid     = 1 << 0 // also before conntrack
	stateEstablished = 1 << 1
	stateRelated     = 1 << 2
	stateNew         = 1 << 3
	stateUntracked   = 1 << 6
)

// packet is what is played through the ruleset.
type packet struct {
	family       uint8 // NFPROTO_IPV4 or NFPROTO_IPV6
	state        uint32
	reply        bool   // of the connection's reply direction
	sport, dport uint16 // 0: unknown
	flags        uint8  // of TCP; 0: unknown
	mark         uint32 // ct mark, of which
	markKnown    uint32 // these bits are known
}

// meta is what the meta expression loads; only what we know of.
func (p packet) meta(key uint32) bits {
	switch key {
	case unix.NFT_META_L4PROTO:
		return known([]byte{unix.IPPROTO_TCP})
	case unix.NFT_META_NFPROTO:
		return known([]byte{p.family})
	case unix.NFT_META_PROTOCOL:
		if p.family == unix.NFPROTO_IPV4 {
			return known([]byte{0x08, 0x00})
		}
		return known([]byte{0x86, 0xdd})
	}
	return unknown(16)
}

// ct is what the ct expression loads. Numbers are in host order.
func (p packet) ct(key uint32, direction []byte) bits {
	switch key {
	case unix.NFT_CT_STATE:
		return known(binary.NativeEndian.AppendUint32(nil, p.state))
	case unix.NFT_CT_MARK:
		return bits{
			binary.NativeEndian.AppendUint32(nil, p.mark),
			binary.NativeEndian.AppendUint32(nil, p.markKnown),
		}
	case unix.NFT_CT_DIRECTION:
		if p.reply {
			return known([]byte{1})
		}
		return known([]byte{0})
	case unix.NFT_CT_PROTOCOL:
		return known([]byte{unix.IPPROTO_TCP})
	case unix.NFT_CT_L3PROTOCOL:
		return known([]byte{p.family})
	case unix.NFT_CT_PROTO_SRC, unix.NFT_CT_PROTO_DST:
		// Without NAT: the server's port is the original destination's.
		original := len(direction) == 1 && direction[0] == 0
		if server := p.server(); server != 0 && original == (key == unix.NFT_CT_PROTO_DST) {
			return known(binary.BigEndian.AppendUint16(nil, server))
		}
		return unknown(2)
	}
	return unknown(16)
}

func (p packet) server() uint16 {
	if p.reply {
		return p.sport
	}
	return p.dport
}

// payload is what the payload expression loads.
func (p packet) payload(base, offset, n uint32) bits {
	if n > 64 {
		n = 64
	}
	b := unknown(int(n))
	put := func(at uint32, v []byte) {
		for i, x := range v {
			if j := int64(at) + int64(i) - int64(offset); j >= 0 && j < int64(n) {
				b.value[j], b.known[j] = x, 0xff
			}
		}
	}
	switch {
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		if p.sport != 0 {
			put(0, binary.BigEndian.AppendUint16(nil, p.sport))
		}
		if p.dport != 0 {
			put(2, binary.BigEndian.AppendUint16(nil, p.dport))
		}
		if p.flags != 0 {
			put(13, []byte{p.flags})
		}
	case base == unix.NFT_PAYLOAD_NETWORK_HEADER && p.family == unix.NFPROTO_IPV4:
		put(9, []byte{unix.IPPROTO_TCP})
	case base == unix.NFT_PAYLOAD_NETWORK_HEADER && p.family == unix.NFPROTO_IPV6:
		put(6, []byte{unix.IPPROTO_TCP})
	}
	return b
}

// registers are nf_tables' 64 bytes: numbers 1 to 4 mean 16 bytes each, 8 to
// 23 mean 4 bytes each (enum nft_registers).
type registers struct{ value, known [64]byte }

func place(reg uint32) int {
	if reg >= 1 && reg <= 4 {
		return int(reg-1) * 16
	}
	if reg >= 8 && reg < 24 {
		return int(reg-8) * 4
	}
	return -1
}

func (r *registers) store(reg uint32, b bits) {
	at := place(reg)
	if at < 0 {
		return
	}
	copy(r.value[at:], b.value)
	copy(r.known[at:], b.known)
	// A short value is followed by zeros up to the register's four bytes.
	for i := at + len(b.value); i%4 != 0 && i < len(r.value); i++ {
		r.value[i], r.known[i] = 0, 0xff
	}
}

func (r *registers) load(reg uint32, n int) bits {
	at := place(reg)
	if at < 0 || n < 0 || at+n > len(r.value) {
		return unknown(max(n, 0))
	}
	b := unknown(n)
	copy(b.value, r.value[at:])
	copy(b.known, r.known[at:])
	return b
}

// forget is for expressions that we do not know: they may have loaded anything.
func (r *registers) forget() { *r = registers{} }
