package decode

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ftpinhole/conntrack"
)

// The layers from IP upward are our own, since gopacket's
//   - refuse a TCP segment whose options are malformed, which the receiving
//     host accepts (tcp_parse_options stops quietly): the server would see
//     bytes that the tracker does not,
//   - lose bytes behind an IPv6 hop-by-hop header: its length counts twice,
//     and a frame's padding becomes payload,
//   - read a length of 0 wrongly in IPv6 and above 65,535 bytes in IPv4,
//   - allocate for each IPv6 option.

// errHeader is one value for all, so that an undecodable packet costs nothing.
var errHeader = errors.New("header is cut short or inconsistent")

// network holds what the two IP versions have in common.
type network struct {
	src, dst netip.Addr
}

// next is what lies behind a header.
type next struct {
	proto   layers.IPProtocol
	whole   bool // false: the rest is a fragment
	payload []byte
}

func (n *next) LayerPayload() []byte { return n.payload }

// ipv4 is the header of RFC 791 3.1.
type ipv4 struct {
	*network
	next
}

func (*ipv4) CanDecode() gopacket.LayerClass { return layers.LayerTypeIPv4 }

func (h *ipv4) NextLayerType() gopacket.LayerType {
	if h.proto == layers.IPProtocolTCP && h.whole {
		return layers.LayerTypeTCP
	}
	return gopacket.LayerTypeZero
}

func (h *ipv4) DecodeFromBytes(b []byte, _ gopacket.DecodeFeedback) error {
	if len(b) < 20 || b[0]>>4 != 4 {
		return errHeader
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 {
		total = len(b)
	}
	if header < 20 || header > len(b) || header > total {
		return errHeader
	}
	h.src, h.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	h.proto = layers.IPProtocol(b[9])
	h.whole = binary.BigEndian.Uint16(b[6:])&0x3fff == 0 // more fragments, fragment offset
	h.payload = b[header:min(total, len(b))]
	return nil
}

// ipv6 is the header of RFC 8200 3.
type ipv6 struct {
	*network
	next
}

func (*ipv6) CanDecode() gopacket.LayerClass { return layers.LayerTypeIPv6 }

func (h *ipv6) NextLayerType() gopacket.LayerType { return h.proto.LayerType() }

func (h *ipv6) DecodeFromBytes(b []byte, _ gopacket.DecodeFeedback) error {
	if len(b) < 40 || b[0]>>4 != 6 {
		return errHeader
	}
	h.src, h.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	h.proto = layers.IPProtocol(b[6])
	h.payload = b[40:]
	if n := int(binary.BigEndian.Uint16(b[4:])); n != 0 && n < len(h.payload) {
		h.payload = h.payload[:n]
	}
	return nil
}

// extension is an IPv6 extension header: those of RFC 8200 4 and the
// authentication header (RFC 4302 2), which are the ones that conntrack looks
// behind (ipv6_ext_hdr in net/ipv6/exthdrs_core.c).
type extension struct {
	typ gopacket.LayerType
	next
}

func (e *extension) CanDecode() gopacket.LayerClass { return e.typ }

func (e *extension) NextLayerType() gopacket.LayerType {
	if !e.whole {
		return gopacket.LayerTypeZero
	}
	return e.proto.LayerType()
}

func (e *extension) DecodeFromBytes(b []byte, _ gopacket.DecodeFeedback) error {
	if len(b) < 8 {
		return errHeader
	}
	header := int(b[1])*8 + 8
	e.whole = true
	switch e.typ {
	case layers.LayerTypeIPSecAH:
		header = int(b[1])*4 + 8
	case layers.LayerTypeIPv6Fragment:
		header = 8
		e.whole = binary.BigEndian.Uint16(b[2:])&0xfff9 == 0 // offset, more fragments
	}
	if header > len(b) {
		return errHeader
	}
	e.proto, e.payload = layers.IPProtocol(b[0]), b[header:]
	return nil
}

// segment is the header of RFC 9293 3.1. Its options are passed over.
type segment struct {
	src, dst uint16
	seq, ack uint32
	flags    conntrack.Flags
	urgent   uint16
	payload  []byte
}

func (*segment) CanDecode() gopacket.LayerClass { return layers.LayerTypeTCP }

func (*segment) NextLayerType() gopacket.LayerType { return gopacket.LayerTypeZero }

func (s *segment) LayerPayload() []byte { return s.payload }

func (s *segment) DecodeFromBytes(b []byte, _ gopacket.DecodeFeedback) error {
	if len(b) < 20 {
		return errHeader
	}
	header := int(b[12]>>4) * 4
	if header < 20 || header > len(b) {
		return errHeader
	}
	s.src, s.dst = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	s.seq, s.ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	s.flags = conntrack.Flags(b[13])
	s.urgent = binary.BigEndian.Uint16(b[18:])
	s.payload = b[header:]
	return nil
}
