package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Do calls f on a thread that is in a namespace of the lab. Sockets that f
// opens stay there; f must not start goroutines that open more.
func (l *Lab) Do(where Where, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + l.Name + "-" + string(where))
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter namespace %s: %w", where, err)
	}
	result := f()
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		// The thread stays locked, and so ends with its goroutine.
		return fmt.Errorf("leave namespace %s: %w", where, err)
	}
	runtime.UnlockOSThread()
	return result
}

// Dial connects from a namespace. A zero from lets the kernel choose.
func (l *Lab) Dial(where Where, from netip.Addr, to netip.AddrPort, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return l.DialContext(ctx, where, from, to)
}

// DialContext is Dial until ctx is done.
func (l *Lab) DialContext(ctx context.Context, where Where, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	var dialer net.Dialer
	if from.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	var conn net.Conn
	err := l.Do(where, func() (err error) {
		conn, err = dialer.DialContext(ctx, "tcp", to.String())
		return err
	})
	return conn, err
}

// Listen listens in a namespace; port 0 takes a free one.
func (l *Lab) Listen(where Where, at netip.AddrPort) (net.Listener, error) {
	var listener net.Listener
	err := l.Do(where, func() (err error) {
		listener, err = net.Listen("tcp", at.String())
		return err
	})
	return listener, err
}
