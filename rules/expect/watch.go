package expect

import (
	"context"
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The multicast groups (include/uapi/linux/netfilter/nfnetlink.h).
const (
	groupNew     = 4 // NFNLGRP_CONNTRACK_EXP_NEW
	groupDestroy = 6 // NFNLGRP_CONNTRACK_EXP_DESTROY
)

// watchBuffer is the socket's room for what happens to expectations.
const watchBuffer = 1 << 20

// Kind says what happened to an expectation.
type Kind uint8

// The kinds of events. Gone: its connection came, its time is over, somebody
// removed it, or its control connection has ended. Overrun has no expectation:
// events were lost.
const (
	New Kind = iota + 1
	Gone
	Overrun
)

// Event is one thing that happened to one expectation.
type Event struct {
	Kind        Kind
	Expectation Expectation
}

// Watch calls each after every change of an expectation of a connection that has
// our helper, until ctx is done: then it returns nil. It has to be called in the
// network namespace of the expectations; ready is called when changes are being
// seen.
func (b *Backend) Watch(ctx context.Context, ready func(), each func(Event)) error {
	seeing := ready
	for {
		nl, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1<<(groupNew-1) | 1<<(groupDestroy-1)})
		if err != nil {
			return explain("watch expectations", err)
		}
		seeing()
		err = b.follow(ctx, nl, each)
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, unix.ENOBUFS):
			return explain("watch expectations", err)
		}
		// Until its last message is read a socket that overflowed drops all
		// that comes, without another word. A new one sees all from now on.
		seeing = func() { each(Event{Kind: Overrun}) }
	}
}

// follow reads nl until that fails or ctx is done, and closes it.
func (b *Backend) follow(ctx context.Context, nl *netlink.Conn, each func(Event)) error {
	stop := context.AfterFunc(ctx, func() { nl.Close() })
	defer func() {
		if stop() {
			nl.Close()
		}
	}()
	if err := nl.SetReadBuffer(watchBuffer); err != nil {
		return err
	}
	for {
		messages, err := nl.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			e, ok, err := read(m)
			if err != nil || !ok || e.Helper != b.config.Helper {
				continue
			}
			switch m.Header.Type {
			case unix.NFNL_SUBSYS_CTNETLINK_EXP<<8 | expNew:
				each(Event{New, e})
			case unix.NFNL_SUBSYS_CTNETLINK_EXP<<8 | expDelete:
				each(Event{Gone, e})
			}
		}
	}
}
