package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"time"

	"ftpinhole/cmd/internal/decode"
)

// pcapng is the format of draft-ietf-opsawg-pcapng: sections of interfaces
// and packets. pcapgo's reader of it is not used: it allocates what a length
// field claims (up to 4 GiB), divides by zero on some time resolutions, keeps
// eight bits of the link type and cannot tell a cut file from a whole one.
type pcapng struct {
	r          *bufio.Reader
	order      binary.ByteOrder // of the section; nil before the first
	interfaces []iface
	block      []byte // reused
}

// iface is what an interface description block says.
type iface struct {
	link       decode.LinkType
	snaplen    uint32 // 0: no limit
	resolution byte   // if_tsresol
	offset     int64  // if_tsoffset, seconds
}

// Block types (section 11.1 of the draft).
const (
	blockSection        = 0x0a0d0d0a // the same in both byte orders
	blockInterface      = 1
	blockPacket         = 2 // obsolete
	blockSimplePacket   = 3
	blockEnhancedPacket = 6
)

const (
	byteOrderMagic = 0x1a2b3c4d
	maxBlock       = maxPacket + 1<<16 // a packet and its options
	maxInterfaces  = 4096              // in a section
)

func (p *pcapng) next() (frame, error) {
	for {
		typ, body, err := p.read()
		if err != nil {
			return frame{}, err
		}
		switch typ {
		case blockSection:
			p.interfaces = p.interfaces[:0]
		case blockInterface:
			if err := p.describe(body); err != nil {
				return frame{}, err
			}
		case blockEnhancedPacket, blockPacket:
			if len(body) < 20 {
				return frame{}, fmt.Errorf("%w: packet block of %d bytes", ErrFormat, len(body))
			}
			n := p.order.Uint32(body)
			if typ == blockPacket { // 16 bits of interface, 16 bits of drops
				n = uint32(p.order.Uint16(body))
			}
			stamp := uint64(p.order.Uint32(body[4:]))<<32 | uint64(p.order.Uint32(body[8:]))
			return p.packet(n, stamp, p.order.Uint32(body[12:]), body[20:])
		case blockSimplePacket:
			if len(body) < 4 {
				return frame{}, fmt.Errorf("%w: packet block of %d bytes", ErrFormat, len(body))
			}
			length := p.order.Uint32(body)
			if len(p.interfaces) > 0 && p.interfaces[0].snaplen != 0 {
				length = min(length, p.interfaces[0].snaplen)
			}
			return p.packet(0, 0, length, body[4:])
		}
	}
}

// packet returns the packet of n bytes that data begins with.
func (p *pcapng) packet(iface uint32, stamp uint64, n uint32, data []byte) (frame, error) {
	if uint64(iface) >= uint64(len(p.interfaces)) {
		return frame{}, fmt.Errorf("%w: packet of interface %d, which is not described", ErrFormat, iface)
	}
	if uint64(n) > uint64(len(data)) || n > maxPacket {
		return frame{}, fmt.Errorf("%w: packet of %d bytes in a block with room for %d", ErrFormat, n, min(len(data), maxPacket))
	}
	i := p.interfaces[iface]
	return frame{time: i.time(stamp), link: i.link, data: data[:n]}, nil
}

// read returns the next block's type and body. Of a block that is too long
// for us and holds no packet, the body is empty.
func (p *pcapng) read() (typ uint32, body []byte, err error) {
	var head [12]byte
	if n, err := io.ReadFull(p.r, head[:8]); err != nil {
		if n == 0 && errors.Is(err, io.EOF) {
			return 0, nil, io.EOF
		}
		return 0, nil, cut(err)
	}
	used := uint32(8)
	if binary.BigEndian.Uint32(head[:]) == blockSection {
		if _, err := io.ReadFull(p.r, head[8:]); err != nil {
			return 0, nil, cut(err)
		}
		used = 12
		switch {
		case binary.LittleEndian.Uint32(head[8:]) == byteOrderMagic:
			p.order = binary.LittleEndian
		case binary.BigEndian.Uint32(head[8:]) == byteOrderMagic:
			p.order = binary.BigEndian
		default:
			return 0, nil, fmt.Errorf("%w: section of no known byte order", ErrFormat)
		}
	}
	typ, length := p.order.Uint32(head[:]), p.order.Uint32(head[4:])
	if length < used+4 || length%4 != 0 {
		return 0, nil, fmt.Errorf("%w: block of %d bytes", ErrFormat, length)
	}
	rest := length - used
	if rest > maxBlock {
		if typ == blockInterface || typ == blockPacket || typ == blockSimplePacket || typ == blockEnhancedPacket {
			return 0, nil, fmt.Errorf("%w: block of %d bytes", ErrFormat, length)
		}
		if _, err := io.CopyN(io.Discard, p.r, int64(rest)); err != nil {
			return 0, nil, cut(err)
		}
		return typ, nil, nil
	}
	if uint32(cap(p.block)) < rest {
		p.block = make([]byte, rest)
	}
	p.block = p.block[:rest]
	if _, err := io.ReadFull(p.r, p.block); err != nil {
		return 0, nil, cut(err)
	}
	body = p.block[:rest-4]
	if again := p.order.Uint32(p.block[rest-4:]); again != length {
		return 0, nil, fmt.Errorf("%w: block of %d bytes says %d at its end", ErrFormat, length, again)
	}
	return typ, body, nil
}

// cut tells a file that ends too early from one that cannot be read.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return fmt.Errorf("reading the capture: %w", err)
}

// describe adds the interface of an interface description block.
func (p *pcapng) describe(body []byte) error {
	if len(body) < 8 {
		return fmt.Errorf("%w: interface block of %d bytes", ErrFormat, len(body))
	}
	if len(p.interfaces) == maxInterfaces {
		return fmt.Errorf("%w: more than %d interfaces", ErrFormat, maxInterfaces)
	}
	i := iface{
		link:       decode.LinkType(p.order.Uint16(body)),
		snaplen:    p.order.Uint32(body[4:]),
		resolution: 6, // microseconds
	}
	for options := body[8:]; len(options) >= 4; {
		code, n := p.order.Uint16(options), int(p.order.Uint16(options[2:]))
		options = options[4:]
		if code == 0 {
			break
		}
		if n > len(options) {
			return fmt.Errorf("%w: interface option of %d bytes", ErrFormat, n)
		}
		switch {
		case code == 9 && n == 1:
			i.resolution = options[0]
		case code == 14 && n == 8:
			i.offset = int64(p.order.Uint64(options))
		}
		options = options[min((n+3)&^3, len(options)):]
	}
	p.interfaces = append(p.interfaces, i)
	return nil
}

// time returns the moment that is stamp units after the epoch.
func (i iface) time(stamp uint64) time.Time {
	exponent := i.resolution & 0x7f
	if i.resolution&0x80 != 0 { // a power of two
		if exponent > 63 {
			return time.Unix(add(0, i.offset), 0).UTC() // all of stamp is less than a second
		}
		fraction := stamp & (1<<exponent - 1)
		hi, lo := bits.Mul64(fraction, uint64(time.Second))
		nanos, _ := bits.Div64(hi, lo, 1<<exponent)
		return time.Unix(add(stamp>>exponent, i.offset), int64(nanos)).UTC()
	}
	if exponent > 19 { // 10^20 is more than 64 bits hold
		return time.Unix(add(0, i.offset), 0).UTC()
	}
	unit := uint64(1)
	for range exponent {
		unit *= 10
	}
	hi, lo := bits.Mul64(stamp%unit, uint64(time.Second))
	nanos, _ := bits.Div64(hi, lo, unit)
	return time.Unix(add(stamp/unit, i.offset), int64(nanos)).UTC()
}

// add returns the seconds of a stamp and its offset, 0 if they are beyond
// what a capture's clock can mean.
func add(seconds uint64, offset int64) int64 {
	const most = math.MaxInt64 / 4
	if seconds > most || offset > most || offset < -most {
		return 0
	}
	return int64(seconds) + offset
}
