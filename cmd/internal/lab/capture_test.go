package lab_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/lab"
)

// frame is an Ethernet frame as a packet socket sees it (packet(7)).
type frame struct {
	data []byte
	sent bool // by the namespace itself
	// unfinished is set where TCP's checksum is left to the network card: it is
	// not right yet (TP_STATUS_CSUMNOTREADY).
	unfinished bool
}

// capture is a packet socket on a namespace's uplink.
type capture struct{ fd int }

// captureBytes holds what is captured until frames is called.
const captureBytes = 32 << 20

// newCapture begins to keep the frames of the client's or the server's uplink,
// until the test ends.
func newCapture(t *testing.T, l *lab.Lab, where lab.Where) *capture {
	t.Helper()
	c := &capture{-1}
	t.Cleanup(func() {
		if c.fd >= 0 {
			unix.Close(c.fd)
		}
	})
	if err := l.Do(where, c.open); err != nil {
		t.Fatalf("capture in the %s namespace: %v", where, err)
	}
	return c
}

func (c *capture) open() (err error) {
	uplink, err := net.InterfaceByName("uplink")
	if err != nil {
		return err
	}
	// It captures nothing before it is bound.
	if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return os.NewSyscallError("socket", err)
	}
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	return errors.Join(
		unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBytes),
		unix.SetsockoptInt(c.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		os.NewSyscallError("bind", unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: uplink.Index})),
	)
}

// frames returns what was captured since it was called last, in order.
func (c *capture) frames() ([]frame, error) {
	var frames []frame
	data, control := make([]byte, 1<<17), make([]byte, 256)
	for {
		n, m, _, from, err := unix.Recvmsg(c.fd, data, control, 0)
		if err == unix.EAGAIN {
			break
		}
		if err != nil {
			return nil, os.NewSyscallError("recvmsg", err)
		}
		f := frame{data: append([]byte(nil), data[:n]...)}
		if sender, ok := from.(*unix.SockaddrLinklayer); ok {
			f.sent = sender.Pkttype == unix.PACKET_OUTGOING
		}
		messages, err := unix.ParseSocketControlMessage(control[:m])
		if err != nil {
			return nil, err
		}
		for _, message := range messages {
			if message.Header.Level == unix.SOL_PACKET && message.Header.Type == unix.PACKET_AUXDATA {
				// struct tpacket_auxdata begins with tp_status.
				f.unfinished = binary.NativeEndian.Uint32(message.Data)&unix.TP_STATUS_CSUMNOTREADY != 0
			}
		}
		frames = append(frames, f)
	}
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err == nil && stats.Drops > 0 {
		err = fmt.Errorf("%d frames were not captured", stats.Drops)
	}
	return frames, err
}

// finishChecksums has the gateway's kernel write the checksum of every packet
// that it sends, instead of leaving it to the network card: what veth has none
// of.
func finishChecksums(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, device := range []string{"client", "server"} {
		if err := l.Do(lab.Gateway, func() error { return noTxChecksum(device) }); err != nil {
			t.Fatalf("switch the checksums of %s off: %v", device, err)
		}
	}
}

// noTxChecksum is "ethtool -K DEVICE tx off" (include/uapi/linux/ethtool.h).
func noTxChecksum(device string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	value := [2]uint32{unix.ETHTOOL_STXCSUM, 0}
	var request struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		rest [16]byte
	}
	copy(request.name[:], device)
	request.data = unsafe.Pointer(&value)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}
