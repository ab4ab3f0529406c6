package decode

import (
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"ftpinhole/conntrack"
)

// A Decoder reads one packet after the other without allocating. It is not
// safe for concurrent use.
type Decoder struct {
	v4, v6  *gopacket.DecodingLayerParser
	ip      network
	tcp     segment
	decoded []gopacket.LayerType
}

// New returns a Decoder.
func New() *Decoder {
	d := &Decoder{decoded: make([]gopacket.LayerType, 0, 8)}
	d.v4 = parser(layers.LayerTypeIPv4, &ipv4{network: &d.ip}, &d.tcp)
	d.v6 = parser(layers.LayerTypeIPv6, &ipv6{network: &d.ip},
		&extension{typ: layers.LayerTypeIPv6HopByHop},
		&extension{typ: layers.LayerTypeIPv6Routing},
		&extension{typ: layers.LayerTypeIPv6Destination},
		&extension{typ: layers.LayerTypeIPv6Fragment},
		&extension{typ: layers.LayerTypeIPSecAH},
		&d.tcp)
	return d
}

// parser makes a parser of the given layers. A panic inside ends as an error,
// as gopacket does it by default.
func parser(first gopacket.LayerType, ls ...gopacket.DecodingLayer) *gopacket.DecodingLayerParser {
	p := gopacket.NewDecodingLayerParser(first)
	var c gopacket.DecodingLayerContainer = gopacket.DecodingLayerArray(nil) // a few types: faster than a map
	for _, l := range ls {
		c = c.Put(l)
	}
	p.SetDecodingLayerContainer(c)
	p.IgnoreUnsupported = true // no error value for each packet that is not TCP
	return p
}

// IP decodes a packet that starts at its IP header and reports whether it is
// a TCP segment with all of its headers there. If it is not (another
// protocol, a fragment, a header that is cut short or inconsistent), pkt is
// left as it was.
//
// The payload lies in raw. It ends where the IP header says, or where raw
// ends if that is earlier: what a capture has cut off looks like a segment
// that was never seen. A length of 0, as the kernel and captures have it for
// segments that are yet to be cut by the network card, means all of raw.
// No checksum is judged; Hook is left alone.
func (d *Decoder) IP(raw []byte, pkt *conntrack.Packet) bool {
	if len(raw) == 0 {
		return false
	}
	p := d.v4
	switch raw[0] >> 4 {
	case 4:
	case 6:
		p = d.v6
	default:
		return false
	}
	err := p.DecodeLayers(raw, &d.decoded)
	// The layers are reused: d.tcp is this packet's only if the list ends with it.
	if n := len(d.decoded); err != nil || n == 0 || d.decoded[n-1] != layers.LayerTypeTCP {
		return false
	}
	pkt.Src = netip.AddrPortFrom(d.ip.src, d.tcp.src)
	pkt.Dst = netip.AddrPortFrom(d.ip.dst, d.tcp.dst)
	pkt.Seq, pkt.Ack = d.tcp.seq, d.tcp.ack
	pkt.Flags, pkt.Urgent = d.tcp.flags, d.tcp.urgent
	pkt.Payload = d.tcp.payload
	return true
}
