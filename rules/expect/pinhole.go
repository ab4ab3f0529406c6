package expect

import (
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules"
)

// Add opens p for its Timeout, counted in whole seconds, and returns when the
// kernel has it. If a pinhole of the same tuple is open, p takes its place and
// waits for a connection of its own. ErrNoHelper: p's control connection has no
// helper. ErrTranslation: the kernel would not translate it as p has it. ErrTaken:
// somebody else expects this connection. ErrFull: no room.
func (b *Backend) Add(p rules.Pinhole, now time.Time) error {
	if err := check(p); err != nil {
		return err
	}
	b.changes.Lock()
	defer b.changes.Unlock()
	expires := earliest(p.Timeout)
	err := b.put(p, p.Timeout)
	if errors.Is(err, unix.EEXIST) {
		// Ours, of this connection or of another one that has ended.
		if err := b.take(expected(p)); err != nil {
			return explainPinhole(p.ID, err)
		}
		expires = earliest(p.Timeout)
		err = b.put(p, p.Timeout)
	}
	if err != nil {
		return explainPinhole(p.ID, err)
	}
	if len(b.byID) >= b.sweepAt {
		b.sweep()
	}
	for _, old := range []*hole{b.byTuple[expected(p)], b.byID[p.ID]} {
		if old != nil {
			b.forget(old)
		}
	}
	h := &hole{Pinhole: p, deadline: now.Add(p.Timeout), expires: expires}
	b.byID[p.ID], b.byTuple[expected(p)] = h, h
	return nil
}

// earliest is when the kernel's timer of d, which is set after this call, can be
// over: it counts in ticks, of at most 10 ms, and begins with one that is not new.
func earliest(d time.Duration) time.Time { return time.Now().Add(d - 10*time.Millisecond) }

// put makes the expectation of p, for this time. EEXIST: there is one.
func (b *Backend) put(p rules.Pinhole, d time.Duration) error {
	if _, err := b.conn.ask(create(p, netlink.Create|netlink.Excl, seconds(d))); err != nil {
		return err
	}
	// It was made with the time of the helper's policy, which another network
	// namespace's daemon may have changed.
	_, err := b.conn.ask(create(p, 0, seconds(d)))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ETIME) {
		return nil // its connection came between the two
	}
	return err
}

// take removes the expectation of t if it is of our helper. EBUSY: it is not.
func (b *Backend) take(t rules.Tuple) error {
	e, err := b.lookup(t)
	if err == nil {
		if e.Helper != b.config.Helper {
			return unix.EBUSY
		}
		_, err = b.conn.ask(remove(e.Tuple, e.ID))
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// lookup finds the expectation of t. ENOENT: there is none.
func (b *Backend) lookup(t rules.Tuple) (Expectation, error) {
	messages, err := b.conn.ask(get(t))
	if err != nil {
		return Expectation{}, err
	}
	for _, m := range messages {
		if e, ok, err := read(m); ok || err != nil {
			return e, err
		}
	}
	return Expectation{}, unix.ENOENT
}

// holds tells whether the kernel has an expectation of t of our helper.
func (b *Backend) holds(t rules.Tuple) (bool, error) {
	e, err := b.lookup(t)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil && e.Helper == b.config.Helper, err
}

// check says what of p no expectation can be made from.
func check(p rules.Pinhole) error {
	family := p.Src.BitLen()
	switch {
	case !p.Src.IsValid() || p.Dst.Addr().BitLen() != family || p.Outside.IsValid() && p.Outside.Addr().BitLen() != family:
		return fmt.Errorf("expect: pinhole %q: from %v to %v, outside %v: needs addresses of one family", p.ID, p.Src, p.Dst, p.Outside)
	case p.Control.Src.Addr().BitLen() != family || p.Control.Dst.Addr().BitLen() != family:
		return fmt.Errorf("expect: pinhole %q: control connection from %v to %v: needs addresses of the data connection's family (%w)",
			p.ID, p.Control.Src, p.Control.Dst, ErrNoHelper)
	case (p.Outside.IsValid() || p.SeenAs.IsValid()) && !follows(p):
		return fmt.Errorf("expect: pinhole %q: from %v to %v, outside %v, seen as %v: %w", p.ID, p.Src, p.Dst, p.Outside, p.SeenAs, ErrTranslation)
	case p.Timeout <= 0:
		return fmt.Errorf("expect: pinhole %q: timeout %v: needs more than 0", p.ID, p.Timeout)
	case p.ID == "":
		return errors.New("expect: pinhole without an id")
	}
	return nil
}

// Remove closes the pinhole, and tells whether a SYN came through it before. It
// is no error if it is gone already, or if a newer one of the same tuple has
// taken its place: that one stays.
func (b *Backend) Remove(id string) (arrived bool, err error) {
	b.changes.Lock()
	defer b.changes.Unlock()
	h := b.byID[id]
	if h == nil {
		return false, nil
	}
	if err := b.look(h); err != nil {
		return h.arrived, explain("close pinhole "+id, err)
	}
	if !h.arrived {
		if err := b.take(expected(h.Pinhole)); err != nil && !errors.Is(err, unix.EBUSY) {
			return false, explain("close pinhole "+id, err)
		}
	}
	b.forget(h)
	return h.arrived, nil
}

// Arrived returns the ids of the pinholes, of those added and not removed, whose
// SYN came. What has expired takes what it knew with it, so this has to be asked
// before the end of a pinhole's time.
func (b *Backend) Arrived() ([]string, error) {
	b.changes.Lock()
	defer b.changes.Unlock()
	if len(b.byID) == 0 {
		return nil, nil
	}
	open, err := b.List()
	if err != nil {
		return nil, err
	}
	waiting := make(map[rules.Tuple]bool, len(open))
	for _, e := range open {
		waiting[e.Tuple] = true
	}
	var ids []string
	for id, h := range b.byID {
		if !h.arrived && !waiting[expected(h.Pinhole)] {
			// A dump that goes over several datagrams can miss one.
			if err := b.look(h); err != nil {
				return nil, explain("look for pinhole "+id, err)
			}
		}
		if h.arrived {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Left tells what is left of the time of each pinhole that the kernel still
// holds, by its id, in whole seconds: those that it does not are used or over.
func (b *Backend) Left() (map[string]time.Duration, error) {
	b.changes.Lock()
	defer b.changes.Unlock()
	if len(b.byID) == 0 {
		return nil, nil
	}
	held, err := b.List()
	if err != nil {
		return nil, err
	}
	left := make(map[string]time.Duration, len(held))
	for _, e := range held {
		if h := b.byTuple[e.Tuple]; h != nil {
			left[h.ID] = time.Duration(e.Timeout) * time.Second
		}
	}
	return left, nil
}

// look notes whether h's SYN came: its expectation is gone before its time, and
// its control connection is not, which would have taken it along. (So do
// `conntrack -F expect` and one pinhole more than Config.Max, and nobody could
// tell.) changes is held.
func (b *Backend) look(h *hole) error {
	if h.arrived || !time.Now().Before(h.expires) {
		return nil
	}
	if held, err := b.holds(expected(h.Pinhole)); held || err != nil {
		return err
	}
	// The time of the kernel's timer, not that of the question, counts.
	if !time.Now().Before(h.expires) {
		return nil
	}
	_, err := b.conn.ask(known(h.Control))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	h.arrived = err == nil
	return err
}

// Rearm lets a pinhole take another SYN in what is left of its time at now, and
// forgets the one that came. That is for whoever knows that no connection came of
// it: another would be a second one. It is no error if the pinhole is gone.
func (b *Backend) Rearm(id string, now time.Time) error {
	b.changes.Lock()
	defer b.changes.Unlock()
	h := b.byID[id]
	if h == nil || !now.Before(h.deadline) {
		return nil
	}
	left := h.deadline.Sub(now)
	expires := earliest(left)
	if err := b.put(h.Pinhole, left); err != nil && !errors.Is(err, unix.EEXIST) {
		return explainPinhole(id, err)
	}
	h.arrived, h.expires = false, expires
	return nil
}

// Lengthen lets a pinhole that waits do so for d from now on. It reports false, and
// leaves the pinhole as it is, if a SYN came through it or its time was over:
// without netlink.Create the kernel makes nothing that it does not have.
func (b *Backend) Lengthen(id string, d time.Duration, now time.Time) (bool, error) {
	b.changes.Lock()
	defer b.changes.Unlock()
	h := b.byID[id]
	if h == nil || h.arrived || b.byTuple[expected(h.Pinhole)] != h || !now.Before(h.deadline) {
		return false, nil
	}
	expires := earliest(d)
	_, err := b.conn.ask(create(h.Pinhole, 0, seconds(d)))
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ETIME):
		return false, explain("look for pinhole "+id, b.look(h))
	case err != nil:
		return false, explainPinhole(id, err)
	}
	h.deadline, h.expires = now.Add(d), expires
	return true, nil
}

// forget takes h out of the maps, where a newer one of its tuple stays.
func (b *Backend) forget(h *hole) {
	delete(b.byID, h.ID)
	if b.byTuple[expected(h.Pinhole)] == h {
		delete(b.byTuple, expected(h.Pinhole))
	}
}

// firstSweep is how many pinholes are held before the first sweep.
const firstSweep = 1024

// sweep forgets what has expired and nobody removed. The next sweep comes when
// there are twice as many as this one leaves.
func (b *Backend) sweep() {
	for _, h := range b.byID {
		if !time.Now().Before(h.expires) {
			b.forget(h)
		}
	}
	b.sweepAt = max(firstSweep, 2*len(b.byID))
}
