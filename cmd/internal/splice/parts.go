package splice

import (
	"encoding/binary"
	"errors"
)

// Why a packet cannot be rewritten: there is nothing to do but drop it, or let
// it go on as it is.
var (
	// ErrNotTCP means what package decode does not take either: another
	// protocol, a fragment, headers that are cut short or inconsistent.
	ErrNotTCP = errors.New("the packet is not a whole TCP segment: it cannot be rewritten")
	// ErrSigned means an authentication header (RFC 4302), which covers all of
	// the packet.
	ErrSigned = errors.New("the packet has an authentication header: what is rewritten would not be accepted")
	// ErrRouted means an IPv6 routing header that is not used up (RFC 8200 4.4):
	// the checksum counts an address that is in there, at a place of its own for
	// each type.
	ErrRouted = errors.New("the packet is routed by its source: its checksum cannot be made")
	// ErrJumbo means a hop-by-hop header without a payload length: the length
	// is in an option (RFC 2675).
	ErrJumbo = errors.New("the packet is a jumbogram: its length cannot be rewritten")
	// ErrTooLong means a result of over 65,535 bytes.
	ErrTooLong = errors.New("the rewritten packet is over 65,535 bytes: send less of it at once")
)

// parts says where the parts of a packet are.
type parts struct {
	tcp, payload, end int
	// cut: there was more, which is not in our bytes. A packet that the kernel
	// holds can be longer than a queue's message.
	cut bool
}

// Numbers of protocols and IPv6 extension headers.
const (
	hopByHop    = 0
	tcp         = 6
	routing     = 43
	fragment    = 44
	authentic   = 51
	destination = 60
)

// read takes what package decode takes, and as that does: a length of 0 means
// all that is there.
func read(raw []byte) (p parts, err error) {
	switch {
	case len(raw) >= 20 && raw[0]>>4 == 4:
		err = p.ipv4(raw)
	case len(raw) >= 40 && raw[0]>>4 == 6:
		err = p.ipv6(raw)
	default:
		err = ErrNotTCP
	}
	if err != nil {
		return p, err
	}
	header := raw[p.tcp:p.end]
	if len(header) < 20 {
		return p, ErrNotTCP
	}
	p.payload = p.tcp + int(header[12]>>4)*4
	if p.payload < p.tcp+20 || p.payload > p.end {
		return p, ErrNotTCP
	}
	return p, nil
}

func (p *parts) ipv4(raw []byte) error {
	p.tcp, p.end = int(raw[0]&0xf)*4, int(binary.BigEndian.Uint16(raw[2:]))
	if p.end == 0 {
		p.end = len(raw)
	}
	whole := binary.BigEndian.Uint16(raw[6:])&0x3fff == 0 // more fragments, fragment offset
	if p.tcp < 20 || p.tcp > p.end || p.tcp > len(raw) || !whole || raw[9] != tcp {
		return ErrNotTCP
	}
	p.limit(len(raw))
	return nil
}

func (p *parts) ipv6(raw []byte) error {
	next, length := raw[6], int(binary.BigEndian.Uint16(raw[4:]))
	if length == 0 {
		if next == hopByHop {
			return ErrJumbo
		}
		length = len(raw) - 40
	}
	p.tcp, p.end = 40, 40+length
	p.limit(len(raw))
	for next != tcp {
		b := raw[p.tcp:p.end]
		if len(b) < 8 {
			return ErrNotTCP
		}
		header := int(b[1])*8 + 8
		switch next {
		case hopByHop, destination:
		case routing:
			if b[3] != 0 { // segments left
				return ErrRouted
			}
		case fragment:
			if binary.BigEndian.Uint16(b[2:])&0xfff9 != 0 { // offset, more fragments
				return ErrNotTCP
			}
			header = 8
		case authentic:
			return ErrSigned
		default:
			return ErrNotTCP
		}
		if header > len(b) {
			return ErrNotTCP
		}
		next, p.tcp = b[0], p.tcp+header
	}
	return nil
}

func (p *parts) limit(n int) {
	if p.end > n {
		p.end, p.cut = n, true
	}
}
