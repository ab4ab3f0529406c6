package capture

import (
	"bytes"
	"encoding/binary"
	"io"
	"time"

	"ftpinhole/cmd/internal/decode"
)

// packet is a captured frame: an IPv4 TCP segment from 10.0.2.2:21 with this
// payload, as it is on a raw link.
func packet(payload string) []byte {
	b := []byte{0x45, 0, 0, byte(40 + len(payload)), 1, 2, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 2, 10, 0, 1, 2,
		0, 21, 0x9c, 0x40, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0}
	return append(b, payload...)
}

// classic is a pcap file.
func classic(order binary.AppendByteOrder, magic uint32, snaplen, link uint32, frames ...stamped) []byte {
	b := order.AppendUint32(nil, magic)
	b = order.AppendUint16(b, 2)
	b = order.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = order.AppendUint32(b, snaplen)
	b = order.AppendUint32(b, link)
	for _, f := range frames {
		b = order.AppendUint32(b, f.seconds)
		b = order.AppendUint32(b, f.fraction)
		b = order.AppendUint32(b, uint32(len(f.data)))
		b = order.AppendUint32(b, uint32(len(f.data)))
		b = append(b, f.data...)
	}
	return b
}

type stamped struct {
	seconds, fraction uint32
	data              []byte
}

// ng builds a pcapng file block by block.
type ng struct {
	binary.AppendByteOrder
	b []byte
}

func (n *ng) block(typ uint32, body ...byte) *ng {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	n.b = n.AppendUint32(n.b, typ)
	n.b = n.AppendUint32(n.b, uint32(12+len(body)))
	n.b = append(n.b, body...)
	n.b = n.AppendUint32(n.b, uint32(12+len(body)))
	return n
}

func (n *ng) section() *ng {
	body := n.AppendUint32(nil, byteOrderMagic)
	body = n.AppendUint16(body, 1)
	body = n.AppendUint16(body, 0)
	return n.block(blockSection, append(body, bytes.Repeat([]byte{0xff}, 8)...)...)
}

func (n *ng) iface(link decode.LinkType, snaplen uint32, options ...byte) *ng {
	body := n.AppendUint16(nil, uint16(link))
	body = n.AppendUint16(body, 0)
	body = n.AppendUint32(body, snaplen)
	return n.block(blockInterface, append(body, options...)...)
}

// option is an interface option.
func (n *ng) option(code uint16, value ...byte) []byte {
	b := n.AppendUint16(nil, code)
	b = n.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (n *ng) enhanced(iface uint32, stamp uint64, data []byte) *ng {
	body := n.AppendUint32(nil, iface)
	body = n.AppendUint32(body, uint32(stamp>>32))
	body = n.AppendUint32(body, uint32(stamp))
	body = n.AppendUint32(body, uint32(len(data)))
	body = n.AppendUint32(body, uint32(len(data)))
	return n.block(blockEnhancedPacket, append(body, data...)...)
}

// read is all that a capture holds: each packet's payload ("-" for what
// cannot be decoded) and time, and the error at the end (nil for io.EOF).
func read(b []byte) (payloads []string, times []time.Time, err error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, nil, err
	}
	for {
		t, pkt, ok, err := r.Next()
		if err == io.EOF {
			return payloads, times, nil
		}
		if err != nil {
			return payloads, times, err
		}
		s := "-"
		if ok {
			s = string(pkt.Payload)
		}
		payloads, times = append(payloads, s), append(times, t)
	}
}
