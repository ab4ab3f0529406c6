package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"ftpinhole/cmd/internal/decode"
	"ftpinhole/conntrack"
)

// maxPacket is the longest packet that is read, which is also tcpdump's limit
// (MAXIMUM_SNAPLEN). What a file claims about lengths is never believed further.
const maxPacket = 262144

var (
	// ErrFormat means that the input is not a capture file, or is damaged.
	ErrFormat = errors.New("not a valid pcap or pcapng capture")
	// ErrTruncated means that the file ends within a packet, as it does when
	// the capturing program was killed. All packets before it have been read.
	ErrTruncated = errors.New("the capture ends within a packet")
	// ErrLinkType means that packets of this kind of link cannot be decoded.
	ErrLinkType = errors.New("link type is not supported")
)

// A frame is one packet as it was captured. Its data is valid until the next
// one is read.
type frame struct {
	time time.Time
	link decode.LinkType
	data []byte
}

// framer is a file format: *pcap or *pcapng.
type framer interface {
	// next returns io.EOF only where a packet could have begun.
	next() (frame, error)
}

// A Reader reads one capture. It is not safe for concurrent use.
type Reader struct {
	frames  framer
	decoder *decode.Decoder
	close   func() error
	err     error // sticks

	packets, undecodable int
}

// Open opens a capture file. The caller closes it.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the capture: %w; name a pcap or pcapng file", err)
	}
	r, err := NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.close = f.Close
	return r, nil
}

// NewReader reads a capture from r, whose format it finds out by the first
// bytes. The error is ErrFormat or ErrLinkType, or r's own.
func NewReader(r io.Reader) (*Reader, error) {
	br := bufio.NewReaderSize(r, 1<<16)
	magic, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the capture: %w", err)
	}
	if len(magic) < 4 {
		return nil, fmt.Errorf("%w: it has only %d bytes", ErrFormat, len(magic))
	}
	c := &Reader{decoder: decode.New()}
	switch m := binary.BigEndian.Uint32(magic); {
	case m == blockSection:
		c.frames = &pcapng{r: br}
	case m>>16 == 0x1f8b: // gzip, RFC 1952 2.3.1
		return nil, fmt.Errorf("%w: it is compressed: unpack it first (zcat FILE | …)", ErrFormat)
	default:
		if c.frames, err = newPcap(br); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Next returns the next packet of the capture and its time. ok is false if it
// is not a TCP segment that can be decoded (pkt is then empty). pkt's payload
// is valid until the next call.
//
// At the end the error is io.EOF. A damaged or cut file gives all packets up
// to there, then ErrFormat or ErrTruncated; a pcapng file whose packets come
// from an interface that cannot be decoded gives ErrLinkType. The error stays.
func (r *Reader) Next() (t time.Time, pkt conntrack.Packet, ok bool, err error) {
	if r.err != nil {
		return time.Time{}, conntrack.Packet{}, false, r.err
	}
	f, err := r.frames.next()
	if err == nil && !f.link.Supported() {
		err = linkTypeError(f.link)
	}
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = fmt.Errorf("packet %d: %w", r.packets+1, err)
		}
		r.err = err
		return time.Time{}, conntrack.Packet{}, false, err
	}
	r.packets++
	if ok = r.decoder.Link(f.link, f.data, &pkt); !ok {
		r.undecodable++
	}
	return f.time, pkt, ok, nil
}

// Packets returns how many packets were read so far, and how many of them
// could not be decoded (other protocols, fragments, cut headers).
func (r *Reader) Packets() (read, undecodable int) { return r.packets, r.undecodable }

// Close closes the file that Open opened.
func (r *Reader) Close() error {
	if r.close == nil {
		return nil
	}
	return r.close()
}

func linkTypeError(lt decode.LinkType) error {
	return fmt.Errorf("%w: %d (of https://www.tcpdump.org/linktypes.html); capture on an Ethernet, PPP or loopback interface, or on \"any\"", ErrLinkType, lt)
}
