package expect

import (
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules"
	"ftpinhole/rules/nfnetlink"
)

// followMaster is the kernel's function that translates an expected connection
// as its control connection is (nf_nat_follow_master, net/netfilter/nf_nat_helper.c).
const followMaster = "nat-follow-master"

// Expectation is what conntrack holds of one. Tuple.Src.Port 0 stands for any.
type Expectation struct {
	Helper  string // of the control connection
	Control rules.Tuple
	Tuple   rules.Tuple // the data connection as its first packet comes in
	Timeout uint32      // seconds left
	ID      uint32      // CTA_EXPECT_ID
}

// The directions of the control connection, for a data connection that is
// translated: in passive mode it goes where the control connection's client
// sends, in active mode to that client.
const (
	original = 0 // IP_CT_DIR_ORIGINAL
	reply    = 1 // IP_CT_DIR_REPLY
)

// direction is the way of p's data connection, as its control connection goes.
func direction(p rules.Pinhole) uint32 {
	if p.Src != p.Control.Src.Addr() {
		return reply
	}
	return original
}

// follows tells whether p is translated as its control connection is: what
// followMaster does takes the same part of what comes back to that.
func follows(p rules.Pinhole) bool {
	back := p.ControlReply
	if direction(p) == reply {
		back = p.Control
	}
	seenAs := p.Src
	if p.SeenAs.IsValid() {
		seenAs = p.SeenAs
	}
	return p.Dst.Addr() == back.Src.Addr() && seenAs == back.Dst.Addr()
}

// expected is the data connection of p as its first packet comes in: before any
// translation of its destination.
func expected(p rules.Pinhole) rules.Tuple {
	dst := p.Dst
	if p.Outside.IsValid() {
		dst = p.Outside
	}
	return rules.Tuple{Src: netip.AddrPortFrom(p.Src, p.SrcPort), Dst: dst}
}

// create asks for p's expectation. With netlink.Excl it fails with EEXIST where
// there is one of that tuple, otherwise that one's time is set anew. What is
// made gets its time from the helper's policy, not from here.
//
// The helper is not named: the kernel would put it on the data connection too,
// which a flowtable would then not take.
func create(p rules.Pinhole, flags netlink.HeaderFlags, seconds uint32) (netlink.Message, error) {
	return message(unix.NFNL_SUBSYS_CTNETLINK_EXP, expNew, netlink.Acknowledge|flags, family(p.Src), func(ae *netlink.AttributeEncoder) {
		nfnetlink.PutTuple(ae, ctaExpectTuple, expected(p))
		nfnetlink.PutTuple(ae, ctaExpectMaster, p.Control)
		nfnetlink.PutTuple(ae, ctaExpectMask, mask(p))
		if seconds > 0 {
			ae.Uint32(ctaExpectTimeout, seconds)
		}
		if p.Outside.IsValid() || p.SeenAs.IsValid() {
			putNAT(ae, p)
		}
	})
}

// mask has a bit for each that must be as in the tuple: all but the source port,
// where that is any.
func mask(p rules.Pinhole) rules.Tuple {
	all, _ := netip.AddrFromSlice(slices.Repeat([]byte{0xff}, p.Src.BitLen()/8))
	m := rules.Tuple{Src: netip.AddrPortFrom(all, 0), Dst: netip.AddrPortFrom(all, 0xffff)}
	if p.SrcPort != 0 {
		m.Src = netip.AddrPortFrom(all, 0xffff)
	}
	return m
}

// putNAT has the kernel translate both addresses as it does the control
// connection's, and send to the inside port, which it reads from the source of
// the tuple (ctnetlink_parse_expect_nat, net/netfilter/nf_conntrack_netlink.c).
func putNAT(ae *netlink.AttributeEncoder, p rules.Pinhole) {
	ae.Nested(ctaExpectNAT, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(ctaExpectNATDir, direction(p))
		nfnetlink.PutTuple(ae, ctaExpectNATTuple, rules.Tuple{Src: p.Dst, Dst: netip.AddrPortFrom(p.Src, 0)})
		return nil
	})
	ae.String(ctaExpectFn, followMaster)
}

// get asks for the expectation of this tuple. ENOENT: there is none.
func get(t rules.Tuple) (netlink.Message, error) {
	return message(unix.NFNL_SUBSYS_CTNETLINK_EXP, expGet, netlink.Acknowledge, family(t.Src.Addr()), func(ae *netlink.AttributeEncoder) {
		nfnetlink.PutTuple(ae, ctaExpectTuple, t)
	})
}

// remove asks for the expectation of this tuple to go, and if id is not 0 only
// the one of that id. ENOENT: there is none.
func remove(t rules.Tuple, id uint32) (netlink.Message, error) {
	return message(unix.NFNL_SUBSYS_CTNETLINK_EXP, expDelete, netlink.Acknowledge, family(t.Src.Addr()), func(ae *netlink.AttributeEncoder) {
		nfnetlink.PutTuple(ae, ctaExpectTuple, t)
		if id != 0 {
			ae.Uint32(ctaExpectID, id)
		}
	})
}

// removeOf asks for all expectations of connections with this helper to go.
func removeOf(helper string) (netlink.Message, error) {
	return message(unix.NFNL_SUBSYS_CTNETLINK_EXP, expDelete, netlink.Acknowledge, unix.AF_UNSPEC, func(ae *netlink.AttributeEncoder) {
		ae.String(ctaExpectHelpName, helper)
	})
}

// dump asks for all expectations of the network namespace.
func dump() (netlink.Message, error) {
	return message(unix.NFNL_SUBSYS_CTNETLINK_EXP, expGet, netlink.Dump, unix.AF_UNSPEC, func(*netlink.AttributeEncoder) {})
}

// read reads an answer to dump, or an event; ok is false if it is not TCP's.
func read(m netlink.Message) (e Expectation, ok bool, err error) {
	err = nfnetlink.Attributes(m, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case ctaExpectHelpName:
			e.Helper = ad.String()
		case ctaExpectMaster:
			e.Control = nfnetlink.ReadTuple(ad)
		case ctaExpectTuple:
			e.Tuple = nfnetlink.ReadTuple(ad)
		case ctaExpectTimeout:
			e.Timeout = ad.Uint32()
		case ctaExpectID:
			e.ID = ad.Uint32()
		}
	})
	return e, e.Tuple != rules.Tuple{}, err
}

// known asks for the connection of which control is the original direction.
// ENOENT: conntrack has none.
func known(control rules.Tuple) (netlink.Message, error) {
	return message(unix.NFNL_SUBSYS_CTNETLINK, ctGet, netlink.Acknowledge, family(control.Src.Addr()), func(ae *netlink.AttributeEncoder) {
		nfnetlink.PutTuple(ae, ctaTupleOrig, control)
	})
}
