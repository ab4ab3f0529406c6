package nft

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules"
)

// maxID is the longest comment of an element that nft reads.
const maxID = 127

// Add opens p for its Timeout from now on, and returns when the kernel has it.
// If a pinhole of the same key is open, p takes its place: its time starts
// anew, and it waits for a connection of its own. ErrFull: no room in the set.
// After an error what was there before is still there.
func (t *Table) Add(p rules.Pinhole, now time.Time) error {
	p = normal(p)
	if err := t.check(p); err != nil {
		return err
	}
	t.changes.Lock()
	defer t.changes.Unlock()
	t.mu.Lock()
	old, known := t.byKey[p.Key()]
	known = known && now.Before(old.deadline)
	t.mu.Unlock()

	err := error(unix.EEXIST)
	if !known {
		b := &batch{}
		b.addElement(p, p.Timeout, netlink.Excl)
		err = t.writer.commit(b)
	}
	if errors.Is(err, unix.EEXIST) {
		err = t.replace(p)
		if errors.Is(err, unix.ENOENT) {
			// It went between the batch's first add and its delete.
			err = t.replace(p)
		}
	}
	if err != nil {
		return explain("open pinhole "+p.ID, err)
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byID) >= t.sweepAt {
		t.sweep(now)
	}
	for _, old := range []*hole{t.byKey[p.Key()], t.byID[p.ID]} {
		if old != nil {
			t.forget(old)
		}
	}
	h := &hole{Pinhole: p, deadline: now.Add(p.Timeout)}
	t.byID[p.ID], t.byKey[p.Key()] = h, h
	return nil
}

// replace makes the element of p anew whether there is one or not. Adding to
// one that exists would neither refresh its time (before Linux 6.12) nor its
// limit, and deleting one that is gone would fail.
func (t *Table) replace(p rules.Pinhole) error {
	b := &batch{}
	b.addElement(p, p.Timeout, 0)
	b.deleteElement(p.Key())
	b.addElement(p, p.Timeout, 0)
	return t.writer.commit(b)
}

// check says what of p the kernel could not hold.
func (t *Table) check(p rules.Pinhole) error {
	switch {
	case !p.Src.IsValid() || !p.Dst.Addr().IsValid() || p.Src.Is4() != p.Dst.Addr().Is4():
		return fmt.Errorf("nft: pinhole %q: from %v to %v: needs two addresses of one family", p.ID, p.Src, p.Dst)
	case p.SrcPort != 0 && !t.config.Load().SourcePorts:
		return fmt.Errorf("nft: pinhole %q: source port %d, but the table has no sets for source ports: set Config.SourcePorts", p.ID, p.SrcPort)
	case p.Timeout <= 0:
		return fmt.Errorf("nft: pinhole %q: timeout %v: needs more than 0", p.ID, p.Timeout)
	case p.ID == "" || len(p.ID) > maxID:
		return fmt.Errorf("nft: pinhole id of %d bytes: needs 1 to %d", len(p.ID), maxID)
	}
	return nil
}

// Remove closes the pinhole, and tells whether a SYN came through it before.
// It is no error if it is gone already, or if a newer one of the same key has
// taken its place: that one stays.
func (t *Table) Remove(id string) (arrived bool, err error) {
	t.changes.Lock()
	defer t.changes.Unlock()
	t.mu.Lock()
	h := t.byID[id]
	t.mu.Unlock()
	if h == nil {
		return false, nil
	}
	came, err := t.came(h)
	b := &batch{}
	b.deleteElement(h.Key())
	if gone := t.writer.commit(b); !errors.Is(gone, unix.ENOENT) {
		err = errors.Join(err, gone)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(h) // lest Install make it again, even if it is there until its time is over
	if err != nil {
		err = explain("close pinhole "+id, err)
	}
	return came || h.arrived, err
}

// came asks the kernel whether a SYN came through h.
func (t *Table) came(h *hole) (bool, error) {
	s := setOf(h.Key())
	messages, err := t.reader.get(unix.NFT_MSG_GETSETELEM, 0, func(ae *netlink.AttributeEncoder) {
		encodeElement(ae, s, h.Key(), func(*netlink.AttributeEncoder) {})
	})
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, m := range messages {
		ids, err := arrivals(m)
		if err != nil || slices.Contains(ids, h.ID) {
			return err == nil, err
		}
	}
	return false, nil
}

// forget takes h out of the maps. t.mu is held.
func (t *Table) forget(h *hole) {
	delete(t.byID, h.ID)
	delete(t.byKey, h.Key())
}

// firstSweep is how many pinholes are held before the first sweep.
const firstSweep = 1024

// sweep forgets what has expired and nobody removed. The next sweep comes when
// there are twice as many as this one leaves. t.mu is held.
func (t *Table) sweep(now time.Time) {
	for _, h := range t.byID {
		if !now.Before(h.deadline) {
			t.forget(h)
		}
	}
	t.sweepAt = max(firstSweep, 2*len(t.byID))
}
