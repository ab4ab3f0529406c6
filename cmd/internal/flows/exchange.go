package flows

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// timeout is how long the kernel may take for an answer, or in a dump for the
// next part of it.
const timeout = 2 * time.Second

// maxDatagram is more than the kernel puts into one datagram of a dump.
const maxDatagram = 64 << 10

// refusal is the kernel's own no: the answer is complete.
type refusal struct{ errno unix.Errno }

func (r refusal) Error() string { return r.errno.Error() }
func (r refusal) Unwrap() error { return r.errno }

// exchange sends one request and reads to the end of the answer: a DONE for a
// dump, an acknowledgement otherwise. It reads by itself, since ctnetlink marks
// the answer to a get NLM_F_MULTI but ends it with an acknowledgement, and
// netlink.Conn would go on waiting for a DONE.
func exchange(conn *netlink.Conn, req netlink.Message, each func(Flow)) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	req, err = conn.Send(req)
	if err != nil {
		return err
	}
	for buf := make([]byte, maxDatagram); ; {
		n, err := receive(raw, buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("the kernel did not answer in time: %w", err)
		}
		if err != nil {
			return err
		}
		if done, err := answer(buf[:n], req.Header.Sequence, each); done || err != nil {
			return err
		}
		if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
	}
}

// answer takes one datagram apart; done says that the answer ended in it.
func answer(b []byte, seq uint32, each func(Flow)) (done bool, err error) {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return false, fmt.Errorf("netlink message: %w", err)
	}
	for _, m := range msgs {
		if m.Header.Seq != seq {
			continue
		}
		switch m.Header.Type {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if len(m.Data) < 4 { // a DONE of an old kernel carries no number
				return true, nil
			}
			if errno := int32(binary.NativeEndian.Uint32(m.Data)); errno < 0 {
				return true, refusal{unix.Errno(-errno)}
			}
			return true, nil
		}
		_, f, err := decode(netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(m.Header.Type), Flags: netlink.HeaderFlags(m.Header.Flags)},
			Data:   m.Data,
		})
		switch {
		case errors.Is(err, errNotTCP):
		case err != nil:
			return false, err
		default:
			each(f)
		}
	}
	return false, nil
}

var (
	errNotTCP  = errors.New("not a TCP flow")
	errNoTuple = errors.New("conntrack message without a whole original tuple")
)

// decode makes an event of a message; a dump's entries are updates in form.
func decode(m netlink.Message) (Kind, Flow, error) {
	var ev conntrack.Event
	if err := ev.Unmarshal(m); err != nil {
		return 0, Flow{}, fmt.Errorf("decode conntrack message: %w", err)
	}
	f, ok := newFlow(ev.Flow)
	if !ok {
		return 0, Flow{}, errNotTCP
	}
	if !f.Client.IsValid() || !f.Server.IsValid() {
		return 0, Flow{}, errNoTuple
	}
	switch ev.Type {
	case conntrack.EventNew:
		return New, f, nil
	case conntrack.EventDestroy:
		return Destroy, f, nil
	}
	return Update, f, nil
}

// receive reads one datagram into buf, waiting no longer than the deadline.
func receive(raw syscall.RawConn, buf []byte) (n int, err error) {
	var flags int
	rerr := raw.Read(func(fd uintptr) bool {
		for {
			n, _, flags, _, err = unix.Recvmsg(int(fd), buf, nil, unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	switch {
	case rerr != nil:
		return 0, rerr
	case err != nil:
		return 0, fmt.Errorf("recvmsg: %w", err)
	case flags&unix.MSG_TRUNC != 0:
		return 0, fmt.Errorf("netlink datagram of over %d bytes: %w", len(buf), io.ErrShortBuffer)
	}
	return n, nil
}
