package nfnetlink

import (
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules"
)

// The attributes of a tuple (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	ctaTupleIP      = 1 // CTA_TUPLE_IP
	CTATupleProto   = 2 // CTA_TUPLE_PROTO
	ctaIPv4Src      = 1 // CTA_IP_V4_SRC
	ctaIPv4Dst      = 2 // CTA_IP_V4_DST
	ctaIPv6Src      = 3 // CTA_IP_V6_SRC
	ctaIPv6Dst      = 4 // CTA_IP_V6_DST
	CTAProtoNum     = 1 // CTA_PROTO_NUM
	CTAProtoSrcPort = 2 // CTA_PROTO_SRC_PORT
	ctaProtoDstPort = 3 // CTA_PROTO_DST_PORT
)

// PutTuple writes one direction of a TCP connection.
func PutTuple(ae *netlink.AttributeEncoder, kind uint16, t rules.Tuple) {
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
		ae.Nested(CTATupleProto, func(ae *netlink.AttributeEncoder) error {
			ae.Uint8(CTAProtoNum, unix.IPPROTO_TCP)
			ae.Uint16(CTAProtoSrcPort, t.Src.Port())
			ae.Uint16(ctaProtoDstPort, t.Dst.Port())
			return nil
		})
		return nil
	})
}

// ReadTuple reads what PutTuple writes. The zero value: it is not TCP's, or its
// addresses make no sense.
func ReadTuple(ad *netlink.AttributeDecoder) rules.Tuple {
	var src, dst netip.Addr
	var srcPort, dstPort uint16
	var proto uint8
	Nested(ad, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case ctaTupleIP:
			Nested(ad, func(ad *netlink.AttributeDecoder) {
				switch ad.Type() {
				case ctaIPv4Src, ctaIPv6Src:
					src, _ = netip.AddrFromSlice(ad.Bytes())
				case ctaIPv4Dst, ctaIPv6Dst:
					dst, _ = netip.AddrFromSlice(ad.Bytes())
				}
			})
		case CTATupleProto:
			Nested(ad, func(ad *netlink.AttributeDecoder) {
				switch ad.Type() {
				case CTAProtoNum:
					proto = ad.Uint8()
				case CTAProtoSrcPort:
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
