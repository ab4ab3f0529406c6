package expect

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// answerTimeout is how long an answer of the kernel, or the next part of it, may
// take. It answers before the call that sends returns, so that waiting means the
// answer was lost.
const answerTimeout = time.Second

// maxDatagram is more than the kernel puts into one datagram of a dump.
const maxDatagram = 64 << 10

// conn is a netlink socket with one user at a time.
type conn struct {
	mu  sync.Mutex // held from a request to the last of its answers
	nl  *netlink.Conn
	raw syscall.RawConn
	buf []byte
}

func dial() (*conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, explain("open netlink socket", err)
	}
	raw, err := nl.SyscallConn()
	if err != nil {
		nl.Close()
		return nil, explain("open netlink socket", err)
	}
	return &conn{nl: nl, raw: raw, buf: make([]byte, maxDatagram)}, nil
}

// ask sends a request and returns its answers, to the DONE of a dump or the
// acknowledgement of anything else. The kernel's refusal is a unix.Errno. It
// reads by itself, since ctnetlink marks the answer to a get as one of many but
// ends it with an acknowledgement, and netlink.Conn would wait for a DONE.
func (c *conn) ask(request netlink.Message, err error) ([]netlink.Message, error) {
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sent, err := c.nl.Send(request)
	if err != nil {
		return nil, err
	}
	var answers []netlink.Message
	for {
		if err := c.nl.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
			return nil, err
		}
		n, err := receive(c.raw, c.buf)
		if err != nil {
			return nil, fmt.Errorf("the kernel's answer was lost: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(c.buf[:n])
		if err != nil {
			return nil, fmt.Errorf("netlink message: %w", err)
		}
		for _, m := range messages {
			switch {
			case m.Header.Seq != sent.Header.Sequence:
				// Left over from a request whose answer was not waited for.
			case m.Header.Type == unix.NLMSG_DONE, m.Header.Type == unix.NLMSG_ERROR:
				return answers, refusal(m.Data)
			default:
				answers = append(answers, netlink.Message{Data: append([]byte(nil), m.Data...)})
			}
		}
	}
}

// refusal reads the number at the end of an answer: nil, or a unix.Errno.
func refusal(data []byte) error {
	if len(data) < 4 { // a DONE of an old kernel carries none
		return nil
	}
	if errno := int32(binary.NativeEndian.Uint32(data)); errno < 0 {
		return unix.Errno(-errno)
	}
	return nil
}

// receive reads one datagram into buf, waiting no longer than the deadline.
func receive(raw syscall.RawConn, buf []byte) (n int, err error) {
	var flags int
	waited := raw.Read(func(fd uintptr) bool {
		for {
			n, _, flags, _, err = unix.Recvmsg(int(fd), buf, nil, unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	switch {
	case waited != nil:
		return 0, waited
	case err != nil:
		return 0, fmt.Errorf("recvmsg: %w", err)
	case flags&unix.MSG_TRUNC != 0:
		return 0, fmt.Errorf("netlink datagram of over %d bytes: %w", len(buf), io.ErrShortBuffer)
	}
	return n, nil
}
