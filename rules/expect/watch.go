package expect

import (
	"context"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules/nfnetlink"
)

// The multicast groups (include/uapi/linux/netfilter/nfnetlink.h).
const (
	groupNew     = 4 // NFNLGRP_CONNTRACK_EXP_NEW
	groupDestroy = 6 // NFNLGRP_CONNTRACK_EXP_DESTROY
)

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
	groups := uint32(1<<(groupNew-1) | 1<<(groupDestroy-1))
	lost := func() { each(Event{Kind: Overrun}) }
	return explain("watch expectations", nfnetlink.Watch(ctx, groups, ready, lost, func(m netlink.Message) {
		e, ok, err := read(m)
		if err != nil || !ok || e.Helper != b.config.Helper {
			return
		}
		switch m.Header.Type {
		case unix.NFNL_SUBSYS_CTNETLINK_EXP<<8 | expNew:
			each(Event{New, e})
		case unix.NFNL_SUBSYS_CTNETLINK_EXP<<8 | expDelete:
			each(Event{Gone, e})
		}
	}))
}
