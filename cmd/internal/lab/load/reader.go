package load

import (
	"encoding/binary"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// From linux/netfilter/nfnetlink_queue.h.
const (
	subsystem     = unix.NFNL_SUBSYS_QUEUE << 8
	msgPacket     = subsystem + 0
	msgVerdict    = subsystem + 1
	msgConfig     = subsystem + 2
	attrCommand   = 1 // of msgConfig
	attrParams    = 2
	attrMask      = 4
	attrFlags     = 5
	attrPacket    = 1 // of msgPacket
	attrHeader    = 2 // of msgVerdict
	bind          = 1
	copyPacket    = 2
	failOpenAndGS = 1 | 4
)

// Accept reads a queue and accepts every packet, with as little work as can be: no
// reader of all control packets is faster. It ends with an error.
func Accept(queue uint16) error {
	runtime.LockOSThread() // which only reads and writes
	defer runtime.UnlockOSThread()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) // without it some packets pass unseen
	for _, attrs := range [][]byte{
		attribute(attrCommand, []byte{bind, 0, 0, 0}),
		attribute(attrParams, []byte{0, 0, 0xff, 0xff, copyPacket}),
		append(attribute(attrFlags, []byte{0, 0, 0, failOpenAndGS}), attribute(attrMask, []byte{0, 0, 0, failOpenAndGS})...),
	} {
		if err := configure(fd, queue, attrs); err != nil {
			return err
		}
	}
	return accept(fd, queue)
}

// message is a netlink message of nfnetlink.
func message(kind uint16, flags uint16, queue uint16, attrs []byte) []byte {
	m := make([]byte, 20, 20+len(attrs))
	binary.NativeEndian.PutUint32(m, uint32(20+len(attrs)))
	binary.NativeEndian.PutUint16(m[4:], kind)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|flags)
	binary.BigEndian.PutUint16(m[18:], queue)
	return append(m, attrs...)
}

// attribute pads its value to four bytes.
func attribute(kind uint16, value []byte) []byte {
	a := make([]byte, 4+(len(value)+3)/4*4)
	binary.NativeEndian.PutUint16(a, uint16(4+len(value)))
	binary.NativeEndian.PutUint16(a[2:], kind)
	copy(a[4:], value)
	return a
}

// configure waits for the kernel's answer.
func configure(fd int, queue uint16, attrs []byte) error {
	if _, err := unix.Write(fd, message(msgConfig, unix.NLM_F_ACK, queue, attrs)); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, err := unix.Read(fd, answer)
	if err != nil {
		return err
	}
	if n < 20 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("queue %d: unexpected answer of %d bytes", queue, n)
	}
	if code := int32(binary.NativeEndian.Uint32(answer[16:])); code != 0 {
		return fmt.Errorf("queue %d: %w", queue, unix.Errno(-code))
	}
	return nil
}

// accept answers each packet as it comes.
func accept(fd int, queue uint16) error {
	verdict := message(msgVerdict, 0, queue, attribute(attrHeader, []byte{0, 0, 0, 1, 0, 0, 0, 0}))
	packet := make([]byte, 128<<10)
	for {
		n, err := unix.Read(fd, packet)
		if err == unix.EINTR || err == unix.ENOBUFS {
			continue
		}
		if err != nil {
			return err
		}
		// The header of the packet, with its id, is the first attribute.
		if n < 28 || binary.NativeEndian.Uint16(packet[4:]) != msgPacket || binary.NativeEndian.Uint16(packet[22:]) != attrPacket {
			continue
		}
		copy(verdict[28:32], packet[24:28])
		if _, err := unix.Write(fd, verdict); err != nil && err != unix.ENOENT {
			return err
		}
	}
}
