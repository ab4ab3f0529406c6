package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes and flags of include/uapi/linux/netfilter/nf_tables.h that
// x/sys/unix lacks.
const (
	nftSetExpr             = 0x100 // NFT_SET_EXPR: elements carry expressions
	nftaTableHandle        = 4     // NFTA_TABLE_HANDLE
	nftaSetHandle          = 16    // NFTA_SET_HANDLE
	nftaSetExpressions     = 18    // NFTA_SET_EXPRESSIONS
	nftaSetElemExpressions = 11    // NFTA_SET_ELEM_EXPRESSIONS
	accept                 = 1     // NF_ACCEPT (include/uapi/linux/netfilter.h)
)

// batch is a list of changes that the kernel makes all at once or not at all.
// google/nftables, which has such a list too, cannot write the expressions of
// a set, and our sets must never exist without theirs.
type batch struct {
	messages []netlink.Message
	notes    []note
	err      error
	sets     uint32            // anonymous sets so far
	removed  []netlink.Message // by commit: elements as they were at their end
	renewed  []netlink.Message // by commit: elements that came, or have another time, and are echoed
}

// note says what a message is about, for errors.
type note struct {
	what    string
	modules string // that a kernel without it can load, "" if there are none
}

// What a kernel needs to queue packets and to translate addresses.
const (
	queueModules = "nft_queue, or nft_compat and xt_NFQUEUE"
	natModules   = "nft_chain_nat and nft_nat"
)

// add appends a message to change something of our table.
func (b *batch) add(kind uint16, flags netlink.HeaderFlags, n note, attributes func(*netlink.AttributeEncoder)) {
	data, err := encode(attributes)
	if err != nil {
		b.err = errors.Join(b.err, fmt.Errorf("%s: %w", n.what, err))
		return
	}
	b.messages = append(b.messages, netlink.Message{
		Header: netlink.Header{Type: headerType(kind), Flags: netlink.Request | flags},
		Data:   append(genHeader(unix.NFPROTO_INET, 0), data...),
	})
	b.notes = append(b.notes, n)
}

// framed returns b's messages between the marks of a batch. The last asks for
// an acknowledgement.
func (b *batch) framed() []netlink.Message {
	frame := func(kind uint16) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request},
			Data:   genHeader(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
		}
	}
	out := make([]netlink.Message, 0, len(b.messages)+2)
	out = append(out, frame(unix.NFNL_MSG_BATCH_BEGIN))
	out = append(out, b.messages...)
	out[len(out)-1].Header.Flags |= netlink.Acknowledge
	return append(out, frame(unix.NFNL_MSG_BATCH_END))
}

func (b *batch) addTable() {
	b.add(unix.NFT_MSG_NEWTABLE, netlink.Create, note{what: "table"}, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, TableName)
		ae.Uint32(unix.NFTA_TABLE_FLAGS, 0)
	})
}

// deleteTable deletes the table with all that is in it. ENOENT if there is none.
func (b *batch) deleteTable() {
	b.add(unix.NFT_MSG_DELTABLE, 0, note{what: "old table"}, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, TableName)
	})
}

func (b *batch) addChain(c chain) {
	n := note{what: "chain " + c.name}
	if c.kind == natChain {
		n.modules = natModules
	}
	b.add(unix.NFT_MSG_NEWCHAIN, netlink.Create, n, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_TABLE, TableName)
		ae.String(unix.NFTA_CHAIN_NAME, c.name)
		ae.Nested(unix.NFTA_CHAIN_HOOK, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.NFTA_HOOK_HOOKNUM, c.hook)
			ae.Uint32(unix.NFTA_HOOK_PRIORITY, uint32(c.priority))
			return nil
		})
		ae.Uint32(unix.NFTA_CHAIN_POLICY, accept)
		ae.String(unix.NFTA_CHAIN_TYPE, c.kind)
	})
}

// flushChain deletes the rules of a chain. ENOENT if there is none.
func (b *batch) flushChain(name string) {
	b.add(unix.NFT_MSG_DELRULE, 0, note{what: "old rules of chain " + name}, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, TableName)
		ae.String(unix.NFTA_RULE_CHAIN, name)
	})
}

// deleteChain deletes a chain without rules. ENOENT if there is none.
func (b *batch) deleteChain(name string) {
	b.add(unix.NFT_MSG_DELCHAIN, 0, note{what: "old chain " + name}, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_TABLE, TableName)
		ae.String(unix.NFTA_CHAIN_NAME, name)
	})
}

// addRules adds the rules of c.
func (b *batch) addRules(c chain) {
	for _, r := range c.rules {
		b.addRule(c.name, r)
	}
}

func (b *batch) addRule(chain string, r rule) {
	n := note{what: "rule of chain " + chain}
	for _, e := range r.exprs {
		switch e := e.(type) {
		case *expr.Lookup:
			if e.SetName == anonymous {
				e.SetID = b.addPorts(r.ports)
			}
		case *expr.Queue, *expr.Target:
			n.modules = queueModules
		case *expr.NAT:
			n.modules = natModules
		}
	}
	b.add(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, n, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, TableName)
		ae.String(unix.NFTA_RULE_CHAIN, chain)
		ae.Nested(unix.NFTA_RULE_EXPRESSIONS, func(ae *netlink.AttributeEncoder) error {
			return encodeExprs(ae, r.exprs)
		})
	})
}

// encodeExprs writes each of exprs as an element of a list.
func encodeExprs(ae *netlink.AttributeEncoder, exprs []expr.Any) error {
	for _, e := range exprs {
		data, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			return err
		}
		ae.Bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, data)
	}
	return nil
}

// encode writes attributes in network byte order.
func encode(attributes func(*netlink.AttributeEncoder)) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	attributes(ae)
	return ae.Encode()
}

// headerType is the netlink type of a message of nf_tables.
func headerType(kind uint16) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind)
}

// genHeader is struct nfgenmsg (include/uapi/linux/netfilter/nfnetlink.h).
func genHeader(family uint8, resource uint16) []byte {
	return []byte{family, unix.NFNETLINK_V0, byte(resource >> 8), byte(resource)}
}
