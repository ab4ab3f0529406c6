package probe

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"
)

// nft tries the kind of set and the ways to a queue that the daemon uses: the
// kernel judges all of it, and undoes it.
func (k *kernel) nft() []Row {
	rows := []Row{{Name: "nft", Detail: "tables, timeout sets and limits of elements"}}
	if err := k.tryIn(addSet); err != nil {
		rows[0] = Row{Name: "nft", Level: Error, Cause: Missing, Detail: fmt.Sprintf("a timeout set with a limit for each element: %v", err),
			Mend: "the kernel needs nf_tables with nft_limit and nft_counter, Linux 5.11 or later"}
	}
	rows = append(rows, queueStatement(
		k.tryIn(func(t table) []draft { return t.rule("queue", nativeQueue) }),
		k.tryIn(func(t table) []draft { return t.rule("target", xtQueue) })))
	if err := k.tryIn(addTranslation); err != nil {
		return append(rows, Row{Name: "translation", Level: Error, Cause: Missing, Detail: fmt.Sprintf("a chain that translates addresses: %v", err),
			Mend: "the kernel needs nf_tables with NAT in family inet, Linux 5.2 or later: modprobe nft_chain_nat nft_nat"})
	}
	return append(rows, Row{Name: "translation", Detail: "chains that translate addresses"})
}

// queueStatement judges how the two ways to a queue were refused, if they were.
func queueStatement(native, compat error) Row {
	const name = "queue statement"
	switch {
	case native == nil:
		return Row{Name: name, Detail: "nft queue"}
	case compat == nil:
		return Row{Name: name, Detail: "iptables' NFQUEUE through nft_compat; the kernel has no nft queue"}
	}
	return Row{Name: name, Level: Error, Cause: Missing,
		Detail: fmt.Sprintf("nft queue: %v; iptables' NFQUEUE: %v", native, compat),
		Mend:   "the kernel needs nft_queue: modprobe nft_queue (or nft_compat and xt_NFQUEUE)"}
}

// draft is one message of a transaction.
type draft struct {
	msg   netfilter.MessageType
	flags netlink.HeaderFlags
	put   func(*netlink.AttributeEncoder)
}

// table is the name of a throw-away table, family inet.
type table string

// tryIn tries drafts in a table that is not there before or after.
func (k *kernel) tryIn(drafts func(table) []draft) error {
	t := table("ftpinhole_check_" + rand.Text()[:8])
	all := append([]draft{{unix.NFT_MSG_NEWTABLE, netlink.Create | netlink.Excl, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, string(t))
	}}}, drafts(t)...)
	all = append(all, draft{unix.NFT_MSG_DELTABLE, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, string(t)+"_never") // ENOENT
	}})
	var msgs []netlink.Message
	for _, d := range all {
		m, err := message(netfilter.NFSubsysNFTables, d.msg, d.flags, unix.NFPROTO_INET, 0, d.put)
		if err != nil {
			return err
		}
		msgs = append(msgs, m)
	}
	last := len(msgs) - 1
	return k.try(msgs[:last], msgs[last])
}

// addSet makes a set as the pinholes' is: elements that expire, each with a
// counter and a limit of its own (NFTA_SET_EXPRESSIONS, Linux 5.11).
func addSet(t table) []draft {
	const (
		expressions = 18    // NFTA_SET_EXPRESSIONS
		hasExprs    = 0x100 // NFT_SET_EXPR
		// ipv4_addr . ipv4_addr . inet_service, as nft numbers types
		keyType = 7<<12 | 7<<6 | 13
		aDay    = 86400 // seconds
	)
	return []draft{{unix.NFT_MSG_NEWSET, netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_TABLE, string(t))
		ae.String(unix.NFTA_SET_NAME, "pinholes")
		ae.Uint32(unix.NFTA_SET_FLAGS, unix.NFT_SET_TIMEOUT|unix.NFT_SET_EVAL|hasExprs)
		ae.Uint32(unix.NFTA_SET_KEY_TYPE, keyType)
		ae.Uint32(unix.NFTA_SET_KEY_LEN, 12)
		ae.Uint32(unix.NFTA_SET_ID, 1)
		ae.Nested(expressions, func(ae *netlink.AttributeEncoder) error {
			putExpr(ae, "counter", func(*netlink.AttributeEncoder) {})
			putExpr(ae, "limit", func(ae *netlink.AttributeEncoder) {
				ae.Uint64(unix.NFTA_LIMIT_RATE, 1)
				ae.Uint64(unix.NFTA_LIMIT_UNIT, aDay)
				ae.Uint32(unix.NFTA_LIMIT_BURST, 1)
				ae.Uint32(unix.NFTA_LIMIT_TYPE, unix.NFT_LIMIT_PKTS)
			})
			return nil
		})
	}}}
}

// addTranslation makes a chain that sends connections elsewhere.
func addTranslation(t table) []draft {
	const priority = -101 // before the usual dstnat
	return []draft{
		{unix.NFT_MSG_NEWCHAIN, netlink.Create, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_CHAIN_TABLE, string(t))
			ae.String(unix.NFTA_CHAIN_NAME, "c")
			ae.Nested(unix.NFTA_CHAIN_HOOK, func(ae *netlink.AttributeEncoder) error {
				ae.Uint32(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_PRE_ROUTING)
				ae.Int32(unix.NFTA_HOOK_PRIORITY, priority)
				return nil
			})
			ae.String(unix.NFTA_CHAIN_TYPE, "nat")
		}},
		{unix.NFT_MSG_NEWRULE, netlink.Create | netlink.Append, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_RULE_TABLE, string(t))
			ae.String(unix.NFTA_RULE_CHAIN, "c")
			ae.Nested(unix.NFTA_RULE_EXPRESSIONS, func(ae *netlink.AttributeEncoder) error {
				putExpr(ae, "immediate", func(ae *netlink.AttributeEncoder) {
					ae.Uint32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_1)
					ae.Nested(unix.NFTA_IMMEDIATE_DATA, func(ae *netlink.AttributeEncoder) error {
						ae.Bytes(unix.NFTA_DATA_VALUE, []byte{192, 0, 2, 1})
						return nil
					})
				})
				putExpr(ae, "nat", func(ae *netlink.AttributeEncoder) {
					ae.Uint32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT)
					ae.Uint32(unix.NFTA_NAT_FAMILY, unix.NFPROTO_IPV4)
					ae.Uint32(unix.NFTA_NAT_REG_ADDR_MIN, unix.NFT_REG_1)
				})
				return nil
			})
		}},
	}
}

// rule makes a chain that no packet passes, and a rule of one expression.
func (t table) rule(name string, put func(*netlink.AttributeEncoder)) []draft {
	return []draft{
		{unix.NFT_MSG_NEWCHAIN, netlink.Create, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_CHAIN_TABLE, string(t))
			ae.String(unix.NFTA_CHAIN_NAME, "c")
		}},
		{unix.NFT_MSG_NEWRULE, netlink.Create | netlink.Append, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_RULE_TABLE, string(t))
			ae.String(unix.NFTA_RULE_CHAIN, "c")
			ae.Nested(unix.NFTA_RULE_EXPRESSIONS, func(ae *netlink.AttributeEncoder) error {
				putExpr(ae, name, put)
				return nil
			})
		}},
	}
}

func putExpr(ae *netlink.AttributeEncoder, name string, put func(*netlink.AttributeEncoder)) {
	ae.Nested(unix.NFTA_LIST_ELEM, func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.NFTA_EXPR_NAME, name)
		ae.Nested(unix.NFTA_EXPR_DATA, func(ae *netlink.AttributeEncoder) error {
			put(ae)
			return nil
		})
		return nil
	})
}

func nativeQueue(ae *netlink.AttributeEncoder) {
	const bypass = 1 // NFT_QUEUE_FLAG_BYPASS
	ae.Uint16(unix.NFTA_QUEUE_NUM, 0xffff)
	ae.Uint16(unix.NFTA_QUEUE_TOTAL, 1)
	ae.Uint16(unix.NFTA_QUEUE_FLAGS, bypass)
}

// xtQueue is struct xt_NFQ_info_v3, padded to eight bytes.
func xtQueue(ae *netlink.AttributeEncoder) {
	info := binary.NativeEndian.AppendUint16(nil, 0xffff) // queuenum
	info = binary.NativeEndian.AppendUint16(info, 1)      // queues_total
	info = binary.NativeEndian.AppendUint16(info, 1)      // flags: NFQ_FLAG_BYPASS
	info = append(info, 0, 0)
	ae.String(unix.NFTA_TARGET_NAME, "NFQUEUE")
	ae.Uint32(unix.NFTA_TARGET_REV, 3)
	ae.Bytes(unix.NFTA_TARGET_INFO, info)
}
