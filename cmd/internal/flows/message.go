package flows

import (
	"encoding/binary"
	"net/netip"

	"ftpinhole/rules"
	"ftpinhole/rules/nfnetlink"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"
)

const protoTCP = unix.IPPROTO_TCP

// enum cntl_msg_types (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	ctGet    = 1 // IPCTNL_MSG_CT_GET
	ctDelete = 2 // IPCTNL_MSG_CT_DELETE
)

// The attributes we send, from the same file.
const (
	ctaTupleOrig  = 1  // CTA_TUPLE_ORIG
	ctaTupleReply = 2  // CTA_TUPLE_REPLY
	ctaMark       = 8  // CTA_MARK
	ctaID         = 12 // CTA_ID
	ctaZone       = 18 // CTA_ZONE
	ctaMarkMask   = 21 // CTA_MARK_MASK
	ctaFilter     = 25 // CTA_FILTER

	ctaFilterOrigFlags  = 1 // CTA_FILTER_ORIG_FLAGS
	ctaFilterReplyFlags = 2 // CTA_FILTER_REPLY_FLAGS

	// Bits of the two above (net/netfilter/nf_internals.h).
	// CTA_FILTER_F_CTA_PROTO_NUM and CTA_FILTER_F_CTA_PROTO_SRC_PORT.
	filterSourcePort = 1<<3 | 1<<4
)

// request is a ctnetlink message: nfgenmsg, then the attributes that put adds.
func request(msg netfilter.MessageType, flags netlink.HeaderFlags, family netfilter.ProtoFamily,
	put func(*netlink.AttributeEncoder)) (netlink.Message, error) {
	ae := netfilter.NewAttributeEncoder()
	put(ae)
	return netfilter.EncodeNetlink(netfilter.Header{
		SubsystemID: netfilter.NFSubsysCTNetlink,
		MessageType: msg,
		Family:      family,
		Flags:       netlink.Request | flags,
	}, ae)
}

// putFlow names one entry: its original tuple, its zone, and for a delete its
// id, without which an entry that has the addresses and ports now would go.
func putFlow(f Flow, withID bool) func(*netlink.AttributeEncoder) {
	return func(ae *netlink.AttributeEncoder) {
		nfnetlink.PutTuple(ae, ctaTupleOrig, rules.Tuple{Src: f.Client, Dst: f.Server})
		if f.Zone != 0 {
			ae.Uint16(ctaZone, f.Zone)
		}
		if withID && f.ID != 0 {
			ae.Uint32(ctaID, f.ID)
		}
	}
}

// putMark asks for flows with (mark & mask) == value.
func putMark(value, mask uint32) func(*netlink.AttributeEncoder) {
	return func(ae *netlink.AttributeEncoder) {
		ae.Uint32(ctaMark, value)
		ae.Uint32(ctaMarkMask, mask)
	}
}

// putServerPort asks for TCP flows whose server, after DNAT, has this port.
func putServerPort(port uint16) func(*netlink.AttributeEncoder) {
	return func(ae *netlink.AttributeEncoder) {
		putSourcePort(ae, ctaTupleReply, port)
		putFilter(ae, 0, filterSourcePort)
	}
}

// putPorts asks for TCP flows whose Ends have these ports. It does not ask for
// their addresses, since few flows share both ports, and IPv6 addresses are
// compared the wrong way round (ctnetlink_filter_match_tuple, still in 6.18).
func putPorts(client, server uint16) func(*netlink.AttributeEncoder) {
	return func(ae *netlink.AttributeEncoder) {
		putSourcePort(ae, ctaTupleOrig, client)
		putSourcePort(ae, ctaTupleReply, server)
		putFilter(ae, filterSourcePort, filterSourcePort)
	}
}

// putSourcePort is as much of a tuple as filterSourcePort makes count.
func putSourcePort(ae *netlink.AttributeEncoder, tuple, port uint16) {
	ae.Nested(tuple, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(nfnetlink.CTATupleProto, func(ae *netlink.AttributeEncoder) error {
			ae.Uint8(nfnetlink.CTAProtoNum, protoTCP)
			ae.Uint16(nfnetlink.CTAProtoSrcPort, port)
			return nil
		})
		return nil
	})
}

// putFilter says what of the two tuples counts in a dump. CTA_FILTER needs Linux
// 5.8 (ctnetlink_alloc_filter); before that it is ignored and everything comes.
func putFilter(ae *netlink.AttributeEncoder, orig, reply uint32) {
	ae.Nested(ctaFilter, func(ae *netlink.AttributeEncoder) error {
		// Alone among ctnetlink's numbers the flags are in host order.
		ae.ByteOrder = binary.NativeEndian
		ae.Uint32(ctaFilterOrigFlags, orig)
		ae.Uint32(ctaFilterReplyFlags, reply)
		return nil
	})
}

func family(a netip.Addr) netfilter.ProtoFamily {
	if a.Is4() {
		return netfilter.ProtoIPv4
	}
	return netfilter.ProtoIPv6
}
