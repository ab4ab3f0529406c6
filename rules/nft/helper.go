package nft

import (
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// helperObject is the name of our ct helper object.
const helperObject = "expect"

// helperNameLen is how long a helper's name is in a register
// (NF_CT_HELPER_NAME_LEN, include/net/netfilter/nf_conntrack_helper.h).
const helperNameLen = 16

// attachRule: ct direction original tcp dport { ports } ct helper set "expect".
// The kernel ignores it for all but the first packet of a connection, and where
// another helper came before.
func attachRule(c *Config) rule {
	exprs := []expr.Any{
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{original}},
	}
	exprs = append(exprs, isTCP()...)
	return rule{ports: c.Ports, exprs: append(exprs,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: tcpDestination, Len: 2},
		&expr.Lookup{SourceRegister: 1, SetName: anonymous},
		&expr.Objref{Type: unix.NFT_OBJECT_CT_HELPER, Name: helperObject},
	)}
}

// expectedRule gives a data connection that was expected the mark that a pinhole
// of the sets gives: ct state related ct helper NAME ct mark set …. It comes with
// the control connection's mark, which is taken off: it is none.
func expectedRule(c *Config) rule {
	name := make([]byte, helperNameLen)
	copy(name, c.Helper)
	exprs := append(ctState(expr.CtStateBitRELATED),
		&expr.Ct{Key: expr.CtKeyHELPER, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
	)
	return rule{exprs: append(exprs, setMark(c.Mark, c.ControlMark)...)}
}

// addHelper makes the object that attaches the helper, to both families. ENOENT:
// the helper is not registered.
func (b *batch) addHelper(helper string) {
	b.add(unix.NFT_MSG_NEWOBJ, netlink.Create, note{what: "ct helper " + helper}, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_OBJ_TABLE, TableName)
		ae.String(unix.NFTA_OBJ_NAME, helperObject)
		ae.Uint32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_CT_HELPER)
		ae.Nested(unix.NFTA_OBJ_DATA, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.NFTA_CT_HELPER_NAME, helper)
			ae.Uint16(unix.NFTA_CT_HELPER_L3PROTO, unix.NFPROTO_INET)
			ae.Uint8(unix.NFTA_CT_HELPER_L4PROTO, protoTCP)
			return nil
		})
	})
}
