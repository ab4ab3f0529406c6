package expect

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Of include/uapi/linux/netfilter/nfnetlink_conntrack.h.
const (
	expNew    = 0 // IPCTNL_MSG_EXP_NEW
	expGet    = 1 // IPCTNL_MSG_EXP_GET
	expDelete = 2 // IPCTNL_MSG_EXP_DELETE

	ctaExpectMaster   = 1  // CTA_EXPECT_MASTER
	ctaExpectTuple    = 2  // CTA_EXPECT_TUPLE
	ctaExpectMask     = 3  // CTA_EXPECT_MASK
	ctaExpectTimeout  = 4  // CTA_EXPECT_TIMEOUT
	ctaExpectID       = 5  // CTA_EXPECT_ID
	ctaExpectHelpName = 6  // CTA_EXPECT_HELP_NAME
	ctaExpectNAT      = 10 // CTA_EXPECT_NAT
	ctaExpectFn       = 11 // CTA_EXPECT_FN

	ctaExpectNATDir   = 1 // CTA_EXPECT_NAT_DIR
	ctaExpectNATTuple = 2 // CTA_EXPECT_NAT_TUPLE

	ctNew    = 0 // IPCTNL_MSG_CT_NEW
	ctGet    = 1 // IPCTNL_MSG_CT_GET
	ctDelete = 2 // IPCTNL_MSG_CT_DELETE

	ctaTupleOrig  = 1 // CTA_TUPLE_ORIG
	ctaTupleReply = 2 // CTA_TUPLE_REPLY
	ctaHelp       = 5 // CTA_HELP
	ctaTimeout    = 7 // CTA_TIMEOUT

	ctaHelpName = 1 // CTA_HELP_NAME
)

// message is a request to a subsystem of nfnetlink: struct nfgenmsg
// (include/uapi/linux/netfilter/nfnetlink.h), then the attributes that put
// writes, in network byte order.
func message(subsystem, kind uint16, flags netlink.HeaderFlags, family uint8, put func(*netlink.AttributeEncoder)) (netlink.Message, error) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	put(ae)
	data, err := ae.Encode()
	if err != nil {
		return netlink.Message{}, err
	}
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(subsystem<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, data...),
	}, nil
}

// family of an address: AF_INET or AF_INET6.
func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
