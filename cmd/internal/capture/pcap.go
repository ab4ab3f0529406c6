package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/google/gopacket/pcapgo"

	"ftpinhole/cmd/internal/decode"
)

// pcap is the classic format (draft-ietf-opsawg-pcap), in both byte orders
// and with microseconds or nanoseconds.
type pcap struct {
	r    *pcapgo.Reader
	link decode.LinkType
}

func newPcap(r *bufio.Reader) (*pcap, error) {
	header, err := r.Peek(24)
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: the file header is cut short", ErrFormat)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the capture: %w", err)
	}
	// pcapgo keeps eight bits of the link type. The upper ones are about
	// frame check sequences.
	var order binary.ByteOrder = binary.LittleEndian
	if header[0] == 0xa1 {
		order = binary.BigEndian
	}
	link := decode.LinkType(order.Uint32(header[20:]) & 0x03ffffff)

	pr, err := pcapgo.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if !link.Supported() {
		return nil, linkTypeError(link)
	}
	// The file's own limit is often too low, and a hostile one makes pcapgo
	// allocate as much.
	pr.SetSnaplen(maxPacket)
	return &pcap{r: pr, link: link}, nil
}

func (p *pcap) next() (frame, error) {
	data, info, err := p.r.ZeroCopyReadPacketData()
	switch {
	case err == nil:
		return frame{time: info.Timestamp, link: p.link, data: data}, nil
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF) && info.CaptureLength > 0:
		// The second is a file that ends right behind a packet's header.
		return frame{}, ErrTruncated
	case errors.Is(err, io.EOF):
		return frame{}, io.EOF
	case info.CaptureLength > maxPacket || info.CaptureLength > info.Length:
		return frame{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return frame{}, fmt.Errorf("reading the capture: %w", err)
}
