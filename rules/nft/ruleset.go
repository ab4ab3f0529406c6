package nft

import (
	"encoding/binary"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	loopback = 1 // the interface index of lo, in every network namespace
	protoTCP = unix.IPPROTO_TCP

	tcpSource      = 0 // offsets in the TCP header (RFC 9293 3.1)
	tcpDestination = 2
	tcpFlags       = 13
)

// rule is a rule of a chain. Those that have ports look them up in a set of
// their own.
type rule struct {
	exprs []expr.Any
	ports []uint16
}

// anonymous is what a set without a name is called until the kernel numbers
// it. Nobody can change such a set, and each belongs to one rule.
const anonymous = "__set%d"

// The values of ct direction (enum ip_conntrack_dir).
const (
	original = 0
	reply    = 1
)

// controlRule: [iif|oif …] ct direction … tcp sport|dport { ports }
// ct mark set ct mark | control mark, queue [flags bypass] to …
func controlRule(c *Config, xtables bool, direction byte, port uint32, iface []expr.Any) rule {
	exprs := append([]expr.Any{}, iface...)
	exprs = append(exprs,
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{direction}},
	)
	exprs = append(exprs, isTCP()...)
	exprs = append(exprs,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: port, Len: 2},
		&expr.Lookup{SourceRegister: 1, SetName: anonymous},
	)
	exprs = append(exprs, orMark(c.ControlMark)...)
	flags := expr.QueueFlagBypass
	if c.FailClosed {
		flags = 0
	}
	exprs = append(exprs, queue(xtables, c.QueueNum, c.Queues, flags))
	return rule{exprs: exprs, ports: c.Ports}
}

// queue hands the packet to one of total queues from num on, chosen by its
// addresses. With the flag bypass it passes while nobody reads, else it is
// dropped then.
func queue(xtables bool, num, total uint16, flags expr.QueueFlag) expr.Any {
	if !xtables {
		return &expr.Queue{Num: num, Total: total, Flag: flags}
	}
	// struct xt_NFQ_info_v3 (include/uapi/linux/netfilter/xt_NFQUEUE.h), padded
	// to XT_ALIGN. Its flag NFQ_FLAG_BYPASS has the same value as nft's.
	info := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(info[0:], num)
	binary.NativeEndian.PutUint16(info[2:], total)
	binary.NativeEndian.PutUint16(info[4:], uint16(flags))
	return &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}
}

// pinholeRules: two for each set, and two for what is expected. A SYN that comes
// again while its connection is new has its mark and needs no pinhole: it must not
// use up the next one.
func pinholeRules(c *Config) []rule {
	var out []rule
	if c.Helper != "" {
		out = append(out, expectedRule(c))
	}
	for _, s := range c.sets(pinholes) {
		exprs := append(loneSYN(expr.CtStateBitNEW), marked(c.Mark, 0)...)
		exprs = append(exprs, s.load()...)
		exprs = append(exprs, &expr.Lookup{SourceRegister: 1, SetName: s.name()})
		exprs = append(exprs, setMark(c.Mark, candidateMark)...)
		out = append(out, rule{exprs: exprs})
	}
	out = append(out, candidateRules(c)...)
	return append(out, reopenRules(c)...)
}

// reopenRules are for a SYN that conntrack takes for one of a connection that it
// has closed but not forgotten, since a RST came (nf_conntrack_tcp_packet): it uses
// the pinhole like any other. The change of its mark tells of that. An expectation
// is looked up for new connections only, so there any SYN of a connection that came
// through a pinhole tells; who hears of it removes the expectation.
func reopenRules(c *Config) []rule {
	var out []rule
	for _, s := range c.sets(pinholes) {
		exprs := append(loneSYN(expr.CtStateBitESTABLISHED), s.load()...)
		exprs = append(exprs, &expr.Lookup{SourceRegister: 1, SetName: s.name()})
		exprs = append(exprs, flipMark(ReopenMark, c.Mark)...)
		out = append(out, rule{exprs: append(exprs, &expr.Verdict{Kind: expr.VerdictReturn})})
	}
	if c.Helper != "" {
		exprs := append(loneSYN(expr.CtStateBitESTABLISHED), marked(c.Mark, c.Mark)...)
		out = append(out, rule{exprs: append(exprs, flipMark(ReopenMark, c.Mark)...)})
	}
	return out
}

// loneSYN: ct state … tcp flags & (fin|syn|rst|ack) == syn. Without the
// flags a bare ACK, which conntrack takes for new, would use the pinhole up.
func loneSYN(state uint32) []expr.Any {
	exprs := ctState(state)
	exprs = append(exprs, isTCP()...)
	return append(exprs,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: tcpFlags, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{0x17}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0x02}},
	)
}

// invalidReturn: ct state invalid return.
func invalidReturn() []expr.Any {
	return append(ctState(expr.CtStateBitINVALID), &expr.Verdict{Kind: expr.VerdictReturn})
}

// ctState: ct state bit.
func ctState(bit uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(bit), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native(0)},
	}
}

// isTCP: meta l4proto tcp.
func isTCP() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protoTCP}},
	}
}

// marked: ct mark & bits == value.
func marked(bits, value uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(bits), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: native(value)},
	}
}

// flipMark: ct mark set ct mark & ^on ^ (flip | on).
func flipMark(flip, on uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(^on), Xor: native(flip | on)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true},
	}
}

// orMark: ct mark set ct mark | bits.
func orMark(bits uint32) []expr.Any { return setMark(bits, 0) }

// setMark: ct mark set ct mark & ^off | on.
func setMark(on, off uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(^(on | off)), Xor: native(on)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true},
	}
}

func onLoopback(iface expr.MetaKey) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: iface, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: native(loopback)},
	}
}

func notLoopback(iface expr.MetaKey) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: iface, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native(loopback)},
	}
}

// native returns v as the kernel holds marks and states in registers.
func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// addPorts makes an anonymous set of ports and returns its number in b.
func (b *batch) addPorts(ports []uint16) uint32 {
	b.sets++
	id := 1000 + b.sets // apart from the ids of the named sets
	b.add(unix.NFT_MSG_NEWSET, netlink.Create, note{what: "set of control ports"}, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_TABLE, TableName)
		ae.String(unix.NFTA_SET_NAME, anonymous)
		ae.Uint32(unix.NFTA_SET_FLAGS, unix.NFT_SET_ANONYMOUS|unix.NFT_SET_CONSTANT)
		ae.Uint32(unix.NFTA_SET_KEY_TYPE, typeInetService)
		ae.Uint32(unix.NFTA_SET_KEY_LEN, 2)
		ae.Uint32(unix.NFTA_SET_ID, id)
		ae.Nested(unix.NFTA_SET_DESC, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.NFTA_SET_DESC_SIZE, uint32(len(ports)))
			return nil
		})
	})
	b.add(unix.NFT_MSG_NEWSETELEM, netlink.Create, note{what: "control ports"}, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, TableName)
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, anonymous)
		ae.Uint32(unix.NFTA_SET_ELEM_LIST_SET_ID, id)
		ae.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(ae *netlink.AttributeEncoder) error {
			for _, port := range ports {
				ae.Nested(unix.NFTA_LIST_ELEM, func(ae *netlink.AttributeEncoder) error {
					encodeKey(ae, binary.BigEndian.AppendUint16(nil, port))
					return nil
				})
			}
			return nil
		})
	})
	return id
}
