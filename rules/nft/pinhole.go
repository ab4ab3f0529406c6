package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/netlink"

	"ftpinhole/rules"
)

// maxID is the longest comment of an element that nft reads.
const maxID = 127

// Add opens p for its Timeout from now on, with the translation that it names,
// and returns when the kernel has it. If a pinhole of the same key is open, p
// takes its place: its time starts anew, and it waits for a connection of its
// own. If one is translated from the same Outside, only p is from then on.
// ErrFull: no room in a set. After an error what was there before is still
// there.
func (t *Table) Add(p rules.Pinhole, now time.Time) error {
	p = normal(p)
	if err := t.check(p); err != nil {
		return err
	}
	t.changes.Lock()
	defer t.changes.Unlock()
	if _, err := t.apply(t.changesFor(p, now)); err != nil {
		return explain("open pinhole "+p.ID, err)
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byID) >= t.sweepAt {
		t.sweep(now)
	}
	for _, old := range t.former(p) {
		t.forget(old)
	}
	h := &hole{Pinhole: p, deadline: now.Add(p.Timeout)}
	t.byID[p.ID] = h
	for _, e := range elements(p) {
		t.owners[e.slot] = h
	}
	return nil
}

// changesFor returns what has to be changed in the kernel to open p. What stays
// when its time is over is not there any more.
func (t *Table) changesFor(p rules.Pinhole, now time.Time) []change {
	t.mu.Lock()
	defer t.mu.Unlock()
	wanted := elements(p)
	var changes []change
	for _, old := range t.former(p) {
		for _, e := range t.owned(old) {
			again := slices.ContainsFunc(wanted, func(w element) bool { return w.slot == e.slot })
			if !again && now.Before(old.deadline) {
				changes = append(changes, change{element: e, remove: true})
			}
		}
	}
	for _, e := range wanted {
		old := t.owners[e.slot]
		changes = append(changes, change{
			element: e, remove: old != nil && now.Before(old.deadline), add: true, timeout: p.Timeout,
		})
	}
	return changes
}

// former returns those whose place p takes. t.mu is held.
func (t *Table) former(p rules.Pinhole) []*hole {
	var out []*hole
	for _, old := range []*hole{t.owners[elements(p)[0].slot], t.byID[p.ID]} {
		if old != nil && !slices.Contains(out, old) {
			out = append(out, old)
		}
	}
	return out
}

// owned returns the elements of h that no newer one has taken over. t.mu is
// held.
func (t *Table) owned(h *hole) []element {
	return slices.DeleteFunc(elements(h.Pinhole), func(e element) bool { return t.owners[e.slot] != h })
}

// check says what of p the kernel could not hold.
func (t *Table) check(p rules.Pinhole) error {
	switch {
	case !p.Src.IsValid() || !p.Dst.Addr().IsValid() || p.Src.Is4() != p.Dst.Addr().Is4():
		return fmt.Errorf("nft: pinhole %q: from %v to %v: needs two addresses of one family", p.ID, p.Src, p.Dst)
	case p.SrcPort != 0 && !t.config.Load().SourcePorts:
		return fmt.Errorf("nft: pinhole %q: source port %d, but the table has no sets for source ports: set Config.SourcePorts", p.ID, p.SrcPort)
	case p.Outside.IsValid() && p.Outside.Addr().Is4() != p.Src.Is4() || p.SeenAs.IsValid() && p.SeenAs.Is4() != p.Src.Is4():
		return fmt.Errorf("nft: pinhole %q: from %v to %v, outside %v, seen as %v: needs addresses of one family", p.ID, p.Src, p.Dst, p.Outside, p.SeenAs)
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
	var changes []change
	if h != nil {
		for _, e := range t.owned(h) {
			changes = append(changes, change{element: e, remove: true})
		}
	}
	t.mu.Unlock()
	if h == nil {
		return false, nil
	}
	removed, err := t.apply(changes)
	came, unread := came(removed, id)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(h) // lest Install make it again, even if it is there until its time is over
	return came || h.arrived, explain("close pinhole "+id, errors.Join(err, unread))
}

// came tells whether a SYN came through the pinhole, one of those elements that
// were removed. To ask before would miss one that comes while the removal waits for
// another program.
func came(removed []netlink.Message, id string) (bool, error) {
	for _, m := range removed {
		ids, err := arrivals(m)
		if err != nil || slices.Contains(ids, id) {
			return err == nil, err
		}
	}
	return false, nil
}

// forget takes h out of the maps. t.mu is held.
func (t *Table) forget(h *hole) {
	for _, e := range t.owned(h) {
		delete(t.owners, e.slot)
	}
	delete(t.byID, h.ID)
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

// normal returns p with its addresses unmapped.
func normal(p rules.Pinhole) rules.Pinhole {
	p.Src, p.SeenAs = p.Src.Unmap(), p.SeenAs.Unmap()
	p.Dst, p.Outside = unmapped(p.Dst), unmapped(p.Outside)
	return p
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
