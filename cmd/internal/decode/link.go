package decode

import (
	"encoding/binary"

	"ftpinhole/conntrack"
)

// LinkType says what a captured packet starts with (pcap-linktype(7)).
// gopacket's own type has eight bits, in which 257 is Ethernet and SLL2 does
// not fit.
type LinkType uint32

// The link types whose packets can be decoded.
const (
	Null        LinkType = 0 // BSD loopback, address family in the host's byte order
	Ethernet    LinkType = 1
	PPP         LinkType = 9
	RawBSD      LinkType = 12
	RawOpenBSD  LinkType = 14
	PPPHDLC     LinkType = 50
	PPPEthernet LinkType = 51 // PPPoE without its Ethernet header
	Raw         LinkType = 101
	Loop        LinkType = 108 // OpenBSD loopback, address family in network byte order
	LinuxSLL    LinkType = 113
	IPv4        LinkType = 228
	IPv6        LinkType = 229
	LinuxSLL2   LinkType = 276
)

// Supported reports whether Link can decode packets of this link type.
func (lt LinkType) Supported() bool {
	switch lt {
	case Null, Ethernet, PPP, RawBSD, RawOpenBSD, PPPHDLC, PPPEthernet, Raw, Loop, LinuxSLL, IPv4, IPv6, LinuxSLL2:
		return true
	}
	return false
}

// Link is IP for a packet that starts with a link-layer header. It reports
// false for every packet of a link type that is not supported.
func (d *Decoder) Link(lt LinkType, raw []byte, pkt *conntrack.Packet) bool {
	switch lt {
	case Raw, RawBSD, RawOpenBSD, IPv4, IPv6:
	case Null, Loop:
		// The IP version says what the address family does, whose number
		// for IPv6 differs from one system to the next.
		raw = skip(raw, 4)
	case Ethernet:
		raw = ethernet(skip(raw, 12))
	case LinuxSLL:
		raw = ethernet(skip(raw, 14))
	case LinuxSLL2:
		if len(raw) < 20 {
			return false
		}
		raw = protocol(binary.BigEndian.Uint16(raw), raw[20:])
	case PPP, PPPHDLC:
		raw = ppp(raw)
	case PPPEthernet:
		raw = pppoe(raw)
	default:
		return false
	}
	return d.IP(raw, pkt)
}

// skip returns b without its first n bytes, or nil if it is shorter.
func skip(b []byte, n int) []byte {
	if len(b) < n {
		return nil
	}
	return b[n:]
}

// ethernet returns the IP packet behind an EtherType (IEEE 802.3 3.2.6), nil
// if there is none.
func ethernet(b []byte) []byte {
	if len(b) < 2 {
		return nil
	}
	return protocol(binary.BigEndian.Uint16(b), b[2:])
}

// protocol returns the IP packet in b, which is what the EtherType says.
func protocol(etherType uint16, b []byte) []byte {
	for {
		switch etherType {
		case 0x0800, 0x86dd:
			return b
		case 0x8100, 0x88a8, 0x9100: // VLAN tags, IEEE 802.1Q and 802.1ad
			if len(b) < 4 {
				return nil
			}
			etherType, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		case 0x8864:
			return pppoe(b)
		default:
			return nil
		}
	}
}

// pppoe returns the IP packet behind a PPPoE session header (RFC 2516 4).
func pppoe(b []byte) []byte {
	if len(b) < 6 || b[0] != 0x11 || b[1] != 0 {
		return nil
	}
	return ppp(b[6:])
}

// ppp returns the IP packet behind a PPP header, with or without address and
// control field (RFC 1662 3.1), its protocol field compressed or not.
func ppp(b []byte) []byte {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 0x03 {
		b = b[2:]
	}
	if len(b) >= 1 && (b[0] == 0x21 || b[0] == 0x57) {
		return b[1:]
	}
	if len(b) >= 2 && b[0] == 0 && (b[1] == 0x21 || b[1] == 0x57) {
		return b[2:]
	}
	return nil
}
