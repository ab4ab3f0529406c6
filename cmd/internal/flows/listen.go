package flows

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The multicast groups (include/uapi/linux/netfilter/nfnetlink.h).
const (
	groupNew     = 1 // NFNLGRP_CONNTRACK_NEW
	groupUpdate  = 2 // NFNLGRP_CONNTRACK_UPDATE
	groupDestroy = 3 // NFNLGRP_CONNTRACK_DESTROY
)

const (
	defaultReadBuffer = 4 << 20
	queueLength       = 4096                   // events that wait for the reader
	retryAfter        = 100 * time.Millisecond // after a failure to read
)

// Config says what to listen to.
type Config struct {
	Mask       uint32 // only flows with one of these bits in their mark
	NetNS      int    // file descriptor of a network namespace; 0 is the caller's
	ReadBuffer int    // the socket's, in bytes; 0 means 4 MiB
}

// Listener receives events until its context ends.
type Listener struct {
	conn   *netlink.Conn
	raw    syscall.RawConn
	events chan Event
	done   chan struct{}

	overruns  atomic.Uint64
	undecoded atomic.Uint64
}

// Listen joins the kernel's event groups. When it returns, changes of every
// flow that the kernel makes from now on will be seen; flows that exist already
// may never send an event, so take a dump next. The error is EPERM without
// CAP_NET_ADMIN, and ENOENT where the kernel has no ctnetlink.
func Listen(ctx context.Context, cfg Config) (*Listener, error) {
	l, err := open(cfg)
	if err != nil {
		return nil, fmt.Errorf("listen for conntrack events: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = l.conn.Close() })
	go func() {
		defer close(l.done)
		defer close(l.events)
		defer l.conn.Close()
		defer stop()
		l.run(ctx)
	}()
	return l, nil
}

func open(cfg Config) (_ *Listener, err error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: cfg.NetNS})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	size := cfg.ReadBuffer
	if size == 0 {
		size = defaultReadBuffer
	}
	if err := conn.SetReadBuffer(size); err != nil {
		return nil, err
	}
	filter, err := markFilter(cfg.Mask)
	if err != nil {
		return nil, err
	}
	// Before the groups: no unmarked flow's event must slip in.
	if err := conn.SetBPF(filter); err != nil {
		return nil, err
	}
	for _, g := range []uint32{groupNew, groupUpdate, groupDestroy} {
		if err := conn.JoinGroup(g); err != nil {
			return nil, err
		}
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Listener{
		conn: conn, raw: raw,
		events: make(chan Event, queueLength+1),
		done:   make(chan struct{}),
	}, nil
}

// Events are to be read until the channel is closed, which the end of the
// context brings about.
func (l *Listener) Events() <-chan Event { return l.events }

// Overruns counts how often events were lost.
func (l *Listener) Overruns() uint64 { return l.overruns.Load() }

// Undecoded counts messages that made no sense.
func (l *Listener) Undecoded() uint64 { return l.undecoded.Load() }

// Wait returns when the listener has stopped and its socket is closed.
func (l *Listener) Wait() { <-l.done }

// run reads until the context ends. No error of the socket ends it: events are
// our only news of how data connections end.
func (l *Listener) run(ctx context.Context) {
	buf := make([]byte, maxDatagram)
	for {
		n, err := receive(l.raw, buf)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			l.read(buf[:n])
			continue
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrClosed):
			return
		}
		l.overrun()
		if errors.Is(err, unix.ENOBUFS) {
			continue // the buffer was full; the kernel has told us, that is all
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryAfter):
		}
	}
}

func (l *Listener) read(b []byte) {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		l.undecoded.Add(1)
		return
	}
	for _, m := range msgs {
		kind, f, err := decode(netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(m.Header.Type), Flags: netlink.HeaderFlags(m.Header.Flags)},
			Data:   m.Data,
		})
		switch {
		case errors.Is(err, errNotTCP):
		case err != nil:
			l.undecoded.Add(1)
		default:
			// The kernel itself is 0.
			l.deliver(Event{Kind: kind, Flow: f, Brought: kind == New && m.Header.Pid != 0})
		}
	}
}

// deliver never waits. The channel's last place is kept for an Overrun: when it
// is taken, what is lost now happened before that Overrun is read, and the dump
// that follows it will show it.
func (l *Listener) deliver(ev Event) {
	if len(l.events) < queueLength {
		l.events <- ev // we are the only sender
		return
	}
	l.overrun()
}

func (l *Listener) overrun() {
	l.overruns.Add(1)
	select {
	case l.events <- Event{Kind: Overrun}:
	default:
	}
}
