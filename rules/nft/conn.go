package nft

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ackTimeout is how long an answer of the kernel may take. It answers before
// the call that sends returns, so that waiting means the answer was lost.
const ackTimeout = time.Second

// conn is a netlink socket with one user at a time.
type conn struct {
	mu sync.Mutex // held from a request to the last of its answers
	nl *netlink.Conn
}

func dial() (*conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, explain("open netlink socket", err)
	}
	return &conn{nl: nl}, nil
}

// commit has the kernel make the changes of b, and returns when it has. A
// *messageError says that it made none.
func (c *conn) commit(b *batch) error {
	if b.err != nil {
		return b.err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.growWriteBuffer(b); err != nil {
		return err
	}
	sent, err := c.nl.SendMessages(b.framed())
	if err != nil {
		return err
	}
	if err := c.nl.SetReadDeadline(time.Now().Add(ackTimeout)); err != nil {
		return err
	}
	begin := sent[0].Header.Sequence
	last := sent[len(sent)-2].Header.Sequence
	var first error
	for {
		replies, err := c.nl.Receive()
		var op *netlink.OpError
		switch {
		case errors.As(err, &op) && op.Sequence != 0:
			// Sequence numbers wrap. What is not of this batch is left over
			// from one whose answers were not all waited for.
			n := op.Sequence - begin
			if n > last-begin {
				continue
			}
			if first == nil {
				first = b.failure(int(n)-1, op.Err)
			}
			if n == 0 || op.Sequence == last {
				return first
			}
		case err != nil:
			return errors.Join(first, fmt.Errorf("the kernel's answer was lost: %w", err))
		}
		for _, r := range replies {
			switch {
			case r.Header.Type == headerType(unix.NFT_MSG_DELSETELEM):
				b.removed = append(b.removed, r) // its sequence number may be 0
			case r.Header.Type == headerType(unix.NFT_MSG_NEWSETELEM):
				b.renewed = append(b.renewed, r)
			case r.Header.Type == netlink.Error && r.Header.Sequence == last:
				return first
			}
		}
	}
}

// failure is the kernel's answer err to message i, -1 being the batch.
func (b *batch) failure(i int, err error) error {
	if i < 0 {
		return &messageError{note: note{what: "batch"}, index: i, err: err}
	}
	return &messageError{note: b.notes[i], index: i, err: err}
}

// growWriteBuffer makes room for b, which has to go in one piece.
func (c *conn) growWriteBuffer(b *batch) error {
	size := 4096
	for _, m := range b.messages {
		size += len(m.Data) + unix.NLMSG_HDRLEN + unix.NLMSG_ALIGNTO
	}
	have, err := c.nl.WriteBuffer()
	if err != nil || have >= size {
		return err
	}
	return c.nl.SetWriteBuffer(size)
}

// get asks for something, or with netlink.Dump for all of a kind, and returns
// the answers.
func (c *conn) get(kind uint16, flags netlink.HeaderFlags, attributes func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	data, err := encode(attributes)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nl.Execute(netlink.Message{
		Header: netlink.Header{Type: headerType(kind), Flags: netlink.Request | flags},
		Data:   append(genHeader(unix.NFPROTO_INET, 0), data...),
	})
}
