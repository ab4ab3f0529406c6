package expect

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules"
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

	ctGet        = 1 // IPCTNL_MSG_CT_GET
	ctaTupleOrig = 1 // CTA_TUPLE_ORIG

	ctaTupleIP      = 1 // CTA_TUPLE_IP
	ctaTupleProto   = 2 // CTA_TUPLE_PROTO
	ctaIPv4Src      = 1 // CTA_IP_V4_SRC
	ctaIPv4Dst      = 2 // CTA_IP_V4_DST
	ctaIPv6Src      = 3 // CTA_IP_V6_SRC
	ctaIPv6Dst      = 4 // CTA_IP_V6_DST
	ctaProtoNum     = 1 // CTA_PROTO_NUM
	ctaProtoSrcPort = 2 // CTA_PROTO_SRC_PORT
	ctaProtoDstPort = 3 // CTA_PROTO_DST_PORT
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

// attributes reads the attributes of m one by one.
func attributes(m netlink.Message, each func(*netlink.AttributeDecoder)) error {
	if len(m.Data) < 4 {
		return fmt.Errorf("netlink message of %d bytes: too short for nfgenmsg", len(m.Data))
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		each(ad)
	}
	return ad.Err()
}

// nested reads the attributes in the one that ad is at.
func nested(ad *netlink.AttributeDecoder, each func(*netlink.AttributeDecoder)) {
	ad.Nested(func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			each(ad)
		}
		return ad.Err()
	})
}

// family of an address: AF_INET or AF_INET6.
func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// putTuple writes one direction of a TCP connection.
func putTuple(ae *netlink.AttributeEncoder, kind uint16, t rules.Tuple) {
	ae.Nested(kind, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(ctaTupleIP, func(ae *netlink.AttributeEncoder) error {
			src, dst := uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
			if t.Src.Addr().Is6() {
				src, dst = ctaIPv6Src, ctaIPv6Dst
			}
			ae.Bytes(src, t.Src.Addr().AsSlice())
			ae.Bytes(dst, t.Dst.Addr().AsSlice())
			return nil
		})
		ae.Nested(ctaTupleProto, func(ae *netlink.AttributeEncoder) error {
			ae.Uint8(ctaProtoNum, unix.IPPROTO_TCP)
			ae.Uint16(ctaProtoSrcPort, t.Src.Port())
			ae.Uint16(ctaProtoDstPort, t.Dst.Port())
			return nil
		})
		return nil
	})
}

// tuple reads what putTuple writes. The zero value: it is not TCP's, or its
// addresses make no sense.
func tuple(ad *netlink.AttributeDecoder) rules.Tuple {
	var src, dst netip.Addr
	var srcPort, dstPort uint16
	var proto uint8
	nested(ad, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case ctaTupleIP:
			nested(ad, func(ad *netlink.AttributeDecoder) {
				switch ad.Type() {
				case ctaIPv4Src, ctaIPv6Src:
					src, _ = netip.AddrFromSlice(ad.Bytes())
				case ctaIPv4Dst, ctaIPv6Dst:
					dst, _ = netip.AddrFromSlice(ad.Bytes())
				}
			})
		case ctaTupleProto:
			nested(ad, func(ad *netlink.AttributeDecoder) {
				switch ad.Type() {
				case ctaProtoNum:
					proto = ad.Uint8()
				case ctaProtoSrcPort:
					srcPort = ad.Uint16()
				case ctaProtoDstPort:
					dstPort = ad.Uint16()
				}
			})
		}
	})
	if proto != unix.IPPROTO_TCP || !src.IsValid() || !dst.IsValid() {
		return rules.Tuple{}
	}
	return rules.Tuple{Src: netip.AddrPortFrom(src, srcPort), Dst: netip.AddrPortFrom(dst, dstPort)}
}
