package expect

import (
	"context"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules"
	"ftpinhole/rules/nfnetlink"
)

// The multicast groups (include/uapi/linux/netfilter/nfnetlink.h).
const (
	groupNew     = 4 // NFNLGRP_CONNTRACK_EXP_NEW
	groupDestroy = 6 // NFNLGRP_CONNTRACK_EXP_DESTROY
)

// Kind says what happened to an expectation.
type Kind uint8

// The kinds of events. Gone: its connection came, its time is over, we removed
// it, or its control connection has ended. Deleted: another program removed it
// (conntrack -D expect). Overrun has no expectation: events were lost.
const (
	New Kind = iota + 1
	Gone
	Deleted
	Overrun
)

// Event is one thing that happened to one expectation.
type Event struct {
	Kind        Kind
	Expectation Expectation
	ID          string // Deleted: of the pinhole that it was, and is no more; "" if it was none of ours
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
			each(Event{Kind: New, Expectation: e})
		case unix.NFNL_SUBSYS_CTNETLINK_EXP<<8 | expDelete:
			// The kernel itself, when a connection came or time is over, is 0.
			if by := m.Header.PID; by != 0 && by != b.conn.nl.PID() {
				each(Event{Kind: Deleted, Expectation: e, ID: b.deleted(e.Tuple)})
				return
			}
			each(Event{Kind: Gone, Expectation: e})
		}
	}))
}

// deleted takes note that another program has removed the expectation of t, lest
// it is taken for one whose SYN came. The notice may be of one whose place a newer
// one has taken since: that one the kernel holds.
func (b *Backend) deleted(t rules.Tuple) (id string) {
	b.changes.Lock()
	defer b.changes.Unlock()
	h := b.byTuple[t]
	if h == nil {
		return ""
	}
	if held, err := b.holds(t); held || err != nil {
		return ""
	}
	b.forget(h)
	return h.ID
}
