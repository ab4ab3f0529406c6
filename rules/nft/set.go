package nft

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules"
)

// pinholeSet is one of our named sets: source address, with sport the source
// port, destination address, destination port.
type pinholeSet struct {
	name  string
	ipv6  bool
	sport bool
}

// pinholeSets returns the sets of a table, in their order in it.
func pinholeSets(sourcePorts bool) []pinholeSet {
	sets := []pinholeSet{{name: "pinholes4"}, {name: "pinholes6", ipv6: true}}
	if sourcePorts {
		sets = append(sets,
			pinholeSet{name: "pinholes4_sport", sport: true},
			pinholeSet{name: "pinholes6_sport", ipv6: true, sport: true})
	}
	return sets
}

// setOf returns the set that k belongs to.
func setOf(k rules.Key) pinholeSet {
	s := pinholeSet{name: "pinholes4", ipv6: k.Src.Is6(), sport: k.SrcPort != 0}
	if s.ipv6 {
		s.name = "pinholes6"
	}
	if s.sport {
		s.name += "_sport"
	}
	return s
}

// oneShot is what every element of a set carries: the counter tells later that
// a SYN came, and the limit lets exactly one through, however many CPUs ask at
// once. A day is longer than any pinhole lives.
func oneShot() []expr.Any {
	return []expr.Any{
		&expr.Counter{},
		&expr.Limit{Type: expr.LimitTypePkts, Rate: 1, Unit: expr.LimitTimeDay, Burst: 1},
	}
}

// keyType is the set's type as nft numbers it: six bits for each field.
func (s pinholeSet) keyType() uint32 {
	const (
		ipv4Addr    = 7
		ipv6Addr    = 8
		inetService = 13
	)
	addr := uint32(ipv4Addr)
	if s.ipv6 {
		addr = ipv6Addr
	}
	t := addr
	if s.sport {
		t = t<<6 | inetService
	}
	t = t<<6 | addr
	return t<<6 | inetService
}

func (s pinholeSet) addrLen() uint32 {
	if s.ipv6 {
		return 16
	}
	return 4
}

func (s pinholeSet) keyLen() uint32 {
	n := 2*s.addrLen() + 4
	if s.sport {
		n += 4
	}
	return n
}

// key is k as the kernel compares it: each field padded to 32 bits.
func (s pinholeSet) key(k rules.Key) []byte {
	b := k.Src.AsSlice()
	if s.sport {
		b = append(binary.BigEndian.AppendUint16(b, k.SrcPort), 0, 0)
	}
	b = append(b, k.Dst.Addr().AsSlice()...)
	return append(binary.BigEndian.AppendUint16(b, k.Dst.Port()), 0, 0)
}

// load puts a packet's key into the registers from 1 on.
func (s pinholeSet) load() []expr.Any {
	family, src, dst := byte(unix.NFPROTO_IPV4), uint32(12), uint32(16)
	if s.ipv6 {
		family, src, dst = unix.NFPROTO_IPV6, 8, 24
	}
	exprs := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
	}
	word := uint32(0) // of the key, 32 bits each
	field := func(base expr.PayloadBase, offset, length uint32) {
		exprs = append(exprs, &expr.Payload{DestRegister: register(word), Base: base, Offset: offset, Len: length})
		word += (length + 3) / 4
	}
	field(expr.PayloadBaseNetworkHeader, src, s.addrLen())
	if s.sport {
		field(expr.PayloadBaseTransportHeader, tcpSource, 2)
	}
	field(expr.PayloadBaseNetworkHeader, dst, s.addrLen())
	field(expr.PayloadBaseTransportHeader, tcpDestination, 2)
	return exprs
}

// register returns the register that starts at a word of the data registers:
// NFT_REG_1 to NFT_REG_4 are four words each, NFT_REG32_00 on are the same
// words one by one. nft names the larger where it can, and so we do.
func register(word uint32) uint32 {
	if word%4 == 0 {
		return unix.NFT_REG_1 + word/4
	}
	return unix.NFT_REG32_00 + word
}

// addSet makes s in the kernel, its expressions with it.
func (b *batch) addSet(s pinholeSet, id, size uint32) {
	b.add(unix.NFT_MSG_NEWSET, netlink.Create, note{what: "set " + s.name}, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_TABLE, TableName)
		ae.String(unix.NFTA_SET_NAME, s.name)
		ae.Uint32(unix.NFTA_SET_FLAGS, unix.NFT_SET_TIMEOUT|unix.NFT_SET_EVAL|nftSetExpr)
		ae.Uint32(unix.NFTA_SET_KEY_TYPE, s.keyType())
		ae.Uint32(unix.NFTA_SET_KEY_LEN, s.keyLen())
		ae.Uint32(unix.NFTA_SET_ID, id)
		ae.Nested(unix.NFTA_SET_DESC, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.NFTA_SET_DESC_SIZE, size)
			return nil
		})
		ae.Nested(nftaSetExpressions, func(ae *netlink.AttributeEncoder) error {
			return encodeExprs(ae, oneShot())
		})
	})
}

// addElement opens p for timeout. With netlink.Excl an element that exists is
// EEXIST, without it stays as it is.
func (b *batch) addElement(p rules.Pinhole, timeout time.Duration, excl netlink.HeaderFlags) {
	s := setOf(p.Key())
	b.add(unix.NFT_MSG_NEWSETELEM, netlink.Create|excl, note{what: "element of set " + s.name}, func(ae *netlink.AttributeEncoder) {
		encodeElement(ae, s, p.Key(), func(ae *netlink.AttributeEncoder) {
			// Anything below a millisecond would be 0, which means for ever.
			ae.Uint64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(max(timeout.Milliseconds(), 1)))
			ae.Bytes(unix.NFTA_SET_ELEM_USERDATA, userdata.AppendString(nil, userdata.NFTNL_UDATA_SET_ELEM_COMMENT, p.ID))
		})
	})
}

// deleteElement closes k. ENOENT if it is gone.
func (b *batch) deleteElement(k rules.Key) {
	s := setOf(k)
	b.add(unix.NFT_MSG_DELSETELEM, 0, note{what: "element of set " + s.name}, func(ae *netlink.AttributeEncoder) {
		encodeElement(ae, s, k, func(*netlink.AttributeEncoder) {})
	})
}

func encodeElement(ae *netlink.AttributeEncoder, s pinholeSet, k rules.Key, more func(*netlink.AttributeEncoder)) {
	ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, TableName)
	ae.String(unix.NFTA_SET_ELEM_LIST_SET, s.name)
	ae.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(unix.NFTA_LIST_ELEM, func(ae *netlink.AttributeEncoder) error {
			encodeKey(ae, s.key(k))
			more(ae)
			return nil
		})
		return nil
	})
}

func encodeKey(ae *netlink.AttributeEncoder, key []byte) {
	ae.Nested(unix.NFTA_SET_ELEM_KEY, func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(unix.NFTA_DATA_VALUE, key)
		return nil
	})
}

// normal returns p with its addresses unmapped.
func normal(p rules.Pinhole) rules.Pinhole {
	p.Src = p.Src.Unmap()
	p.Dst = netip.AddrPortFrom(p.Dst.Addr().Unmap(), p.Dst.Port())
	return p
}
