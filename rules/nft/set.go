package nft

import (
	"encoding/binary"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules"
)

// purpose is what a set is for, and its name without the family.
type purpose string

const (
	pinholes  purpose = "pinholes"  // what is let in
	dnat      purpose = "dnat"      // map: where that goes, by where it was sent to
	snat      purpose = "snat"      // map: which source that gets
	marks     purpose = "marks"     // map: the control connection's mark, by where a connection was sent to
	rewritten purpose = "rewritten" // directions of rewritten sessions
)

// set is one of our named sets and maps. Its key is source address, with sport
// the source port, destination address, destination port.
type set struct {
	purpose purpose
	ipv6    bool
	sport   bool
}

// sets returns the sets of a table, in their order in it.
func sets(c *Config) []set {
	var out []set
	for _, p := range []purpose{pinholes, dnat, snat, marks} {
		out = append(out, c.sets(p)...)
	}
	return append(out, c.sets(rewritten)...)
}

// sets returns the sets for p.
func (c *Config) sets(p purpose) []set {
	if p == rewritten {
		return []set{{p, false, true}, {p, true, true}}
	}
	out := []set{{p, false, false}, {p, true, false}}
	if c.SourcePorts {
		out = append(out, set{p, false, true}, set{p, true, true})
	}
	return out
}

// name is the set's name in the kernel, like pinholes4 or dnat6_sport.
func (s set) name() string {
	name := string(s.purpose) + "4"
	if s.ipv6 {
		name = string(s.purpose) + "6"
	}
	if s.sport && s.purpose != rewritten {
		name += "_sport"
	}
	return name
}

// flags of the set (enum nft_set_flags).
func (s set) flags() uint32 {
	switch s.purpose {
	case pinholes:
		return unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL | nftSetExpr
	case dnat, marks:
		return unix.NFT_SET_TIMEOUT | unix.NFT_SET_MAP | nftSetExpr
	case snat:
		return unix.NFT_SET_TIMEOUT | unix.NFT_SET_MAP
	}
	return 0
}

// exprs are what every element of the set carries.
func (s set) exprs() []expr.Any {
	switch s.purpose {
	case pinholes:
		// The counter tells later that a SYN came, and the limit lets exactly one
		// through, however many CPUs ask at once. A day is longer than any
		// pinhole lives.
		return []expr.Any{
			&expr.Counter{},
			&expr.Limit{Type: expr.LimitTypePkts, Rate: 1, Unit: expr.LimitTimeDay, Burst: 1},
		}
	case marks:
		return []expr.Any{
			&expr.Limit{Type: expr.LimitTypePkts, Rate: 1, Unit: expr.LimitTimeDay, Burst: 1},
		}
	case dnat:
		// An operator may let all pass that was translated: of several SYNs at
		// once one is. A SYN that is lost on the way from here to the pinhole
		// comes again after a second (RFC 6298 section 2), and has its turn.
		return []expr.Any{
			&expr.Limit{Type: expr.LimitTypePkts, Rate: 1, Unit: expr.LimitTimeSecond, Burst: 1},
		}
	}
	return nil
}

// Types of keys and data as nft numbers them.
const (
	typeIPv4Addr    = 7
	typeIPv6Addr    = 8
	typeInetService = 13
	typeMark        = 19
)

// concatenated is the type of several fields: six bits for each.
func concatenated(fields ...uint32) (t uint32) {
	for _, f := range fields {
		t = t<<6 | f
	}
	return t
}

// addr returns the type and the length of an address of the set's family.
func (s set) addr() (typ, length uint32) {
	if s.ipv6 {
		return typeIPv6Addr, 16
	}
	return typeIPv4Addr, 4
}

// keyType returns the type of a key, and its length with each field padded to
// 32 bits.
func (s set) keyType() (typ, length uint32) {
	addr, n := s.addr()
	if s.sport {
		return concatenated(addr, typeInetService, addr, typeInetService), 2*n + 8
	}
	return concatenated(addr, addr, typeInetService), 2*n + 4
}

// dataType returns the type and the length of what a map holds at a key.
func (s set) dataType() (typ, length uint32) {
	addr, n := s.addr()
	switch s.purpose {
	case dnat:
		return concatenated(addr, typeInetService), n + 4
	case marks:
		return typeMark, 4
	}
	return addr, n
}

// key is k as the kernel compares it: each field padded to 32 bits.
func (s set) key(k rules.Key) []byte {
	b := k.Src.AsSlice()
	if s.sport {
		b = appendPort(b, k.SrcPort)
	}
	b = append(b, k.Dst.Addr().AsSlice()...)
	return appendPort(b, k.Dst.Port())
}

func appendPort(b []byte, port uint16) []byte {
	return append(binary.BigEndian.AppendUint16(b, port), 0, 0)
}

// load puts a packet's key into the registers from 1 on.
func (s set) load() []expr.Any {
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
	_, addrLen := s.addr()
	field(expr.PayloadBaseNetworkHeader, src, addrLen)
	if s.sport {
		field(expr.PayloadBaseTransportHeader, tcpSource, 2)
	}
	field(expr.PayloadBaseNetworkHeader, dst, addrLen)
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
func (b *batch) addSet(s set, id, size uint32) {
	b.add(unix.NFT_MSG_NEWSET, netlink.Create, note{what: "set " + s.name()}, func(ae *netlink.AttributeEncoder) {
		keyType, keyLen := s.keyType()
		ae.String(unix.NFTA_SET_TABLE, TableName)
		ae.String(unix.NFTA_SET_NAME, s.name())
		ae.Uint32(unix.NFTA_SET_FLAGS, s.flags())
		ae.Uint32(unix.NFTA_SET_KEY_TYPE, keyType)
		ae.Uint32(unix.NFTA_SET_KEY_LEN, keyLen)
		if s.flags()&unix.NFT_SET_MAP != 0 {
			dataType, dataLen := s.dataType()
			ae.Uint32(unix.NFTA_SET_DATA_TYPE, dataType)
			ae.Uint32(unix.NFTA_SET_DATA_LEN, dataLen)
		}
		ae.Uint32(unix.NFTA_SET_ID, id)
		ae.Nested(unix.NFTA_SET_DESC, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.NFTA_SET_DESC_SIZE, size)
			return nil
		})
		if exprs := s.exprs(); exprs != nil {
			ae.Nested(nftaSetExpressions, func(ae *netlink.AttributeEncoder) error {
				return encodeExprs(ae, exprs)
			})
		}
	})
}
