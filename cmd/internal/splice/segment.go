package splice

import (
	"encoding/binary"

	"ftpinhole/conntrack"
)

// maxPacket is the longest packet that an IPv4 header can tell, in bytes.
const maxPacket = 0xffff

// Segment appends to dst the packet raw, which begins at its IP header, as it
// is to leave: with the sequence number, flags, urgent pointer and payload of
// s. It does not allocate if dst has room. dst must not overlap the others.
//
// A packet that is not there as a whole leaves without FIN: TCP sends its tail
// again. The errors are those of this package; dst is returned as it was.
func Segment(dst, raw []byte, s conntrack.Segment) ([]byte, error) {
	p, err := read(raw)
	if err != nil {
		return dst, err
	}
	if p.payload+len(s.Payload) > maxPacket {
		return dst, ErrTooLong
	}
	from := len(dst)
	dst = append(append(dst, raw[:p.payload]...), s.Payload...)
	header := dst[from+p.tcp:]
	binary.BigEndian.PutUint32(header[4:], s.Seq)
	header[13] = byte(s.Flags)
	if s.Flags&conntrack.URG != 0 {
		binary.BigEndian.PutUint16(header[18:], s.Urgent)
	}
	p.finish(dst[from:])
	return dst, nil
}

// finish makes lengths and checksums of a packet whose headers are where p
// says.
func (p *parts) finish(b []byte) {
	header := b[p.tcp:]
	if p.cut {
		header[13] &^= byte(conntrack.FIN)
	}
	var addresses []byte
	if b[0]>>4 == 4 {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[10:], 0)
		binary.BigEndian.PutUint16(b[10:], sum(0).add(b[:p.tcp]).fold())
		addresses = b[12:20]
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		addresses = b[8:40]
	}
	// The pseudo-header (RFC 9293 3.1, RFC 8200 8.1): addresses, protocol, length.
	binary.BigEndian.PutUint16(header[16:], 0)
	binary.BigEndian.PutUint16(header[16:], sum(tcp+len(header)).add(addresses).add(header).fold())
}

// sum is the Internet checksum (RFC 1071) while it is made: of words of any
// even number of bytes, since 2^16 is 1 in its arithmetic.
type sum uint64

// add takes bytes; only the last ones may be an odd number.
func (s sum) add(b []byte) sum {
	for ; len(b) >= 4; b = b[4:] {
		s += sum(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		s += sum(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += sum(b[0]) << 8
	}
	return s
}

func (s sum) fold() uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
