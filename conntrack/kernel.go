package conntrack

import (
	"cmp"
	"net/netip"
	"time"
)

// Opened is the kernel's answer to DoOpen: the backend by serves the pinhole. With
// an error nothing was opened.
func (t *Tracker) Opened(now time.Time, id, by string, err error) []Effect {
	t.effects = t.effects[:0]
	if c := t.channels[id]; c != nil && c.state == opening {
		c.hole.Backend = by
		t.opened(now, c, err)
	}
	t.rewritten(id, err)
	return t.effects
}

func (t *Tracker) opened(now time.Time, c *channel, err error) {
	if err != nil {
		c.record.Reason = KernelError
		t.forget(c)
		t.refuse(now, c.session, c.record)
		return
	}
	t.acknowledge(now, c)
	if c.gone {
		t.finish(now, c, c.closing)
	}
}

func (t *Tracker) acknowledge(now time.Time, c *channel) {
	c.state = open
	if c.session != nil {
		c.session.opened++
	}
	t.tell(now, c, Open, "")
}

// Used says that the one connection of a pinhole came: conntrack shows it.
func (t *Tracker) Used(now time.Time, src, dst netip.AddrPort) []Effect {
	t.effects = t.effects[:0]
	c := t.holes[holeKey{src.Addr(), dst}]
	if c == nil {
		return nil
	}
	if old := t.flows[flowKey{src, dst}]; old != nil { // nobody told of its end
		t.finish(now, old, cmp.Or(old.closing, Finished))
	}
	c = c.awaited()
	t.unhole(c)
	c.hole.SrcPort = src.Port()
	c.used = now
	if c.state == opening { // the answer to DoOpen is on its way
		t.acknowledge(now, c)
	}
	c.state = usedState
	t.flows[c.flow()] = c
	t.tell(now, c, Use, "")
	t.askClose(c)
	if c.closing != "" {
		t.ask(DoKill, c)
	}
	return t.effects
}

// awaited is the oldest channel of this key: the kernel has one pinhole at a
// time, and what it said of the one before was told before the next could be
// used.
func (c *channel) awaited() *channel {
	for c.former != nil {
		c = c.former
	}
	return c
}

// Established says that a data connection was answered, and is not taken down
// any more.
func (t *Tracker) Established(src, dst netip.AddrPort) {
	if c := t.flows[flowKey{src, dst}]; c != nil {
		c.state, c.closing = established, ""
		if c.session != nil {
			c.session.release(c)
			c.session = nil
		}
	}
}

// Ended says that a data connection is over; bytes are by direction, if
// counted.
func (t *Tracker) Ended(now time.Time, src, dst netip.AddrPort, counted bool, orig, reply uint64) []Effect {
	t.effects = t.effects[:0]
	c := t.flows[flowKey{src, dst}]
	if c == nil {
		return nil
	}
	c.record.Counted = counted
	c.record.BytesToServer, c.record.BytesToClient = orig, reply
	if c.record.Mode == Active { // the server opened it
		c.record.BytesToServer, c.record.BytesToClient = reply, orig
	}
	t.finish(now, c, cmp.Or(c.closing, Finished))
	return t.effects
}

// Closed is the kernel's answer to DoClose: the pinhole is gone. arrived says
// that a SYN was let through before.
func (t *Tracker) Closed(now time.Time, id string, arrived bool) []Effect {
	t.effects = t.effects[:0]
	c := t.channels[id]
	if c == nil || c.state >= usedState || c.closing == "" {
		return nil
	}
	c.gone = true
	if c.state == opening { // the answer to DoOpen was overtaken
		return nil
	}
	if arrived && c.arrived.IsZero() {
		c.arrived = now
	}
	if c.arrived.IsZero() {
		t.finish(now, c, c.closing)
	} // else its connection is about to show, or never will: see tickChannels
	return t.effects
}

// Killed says that the data connection was deleted before it was established.
func (t *Tracker) Killed(now time.Time, src, dst netip.AddrPort) []Effect {
	t.effects = t.effects[:0]
	c := t.flows[flowKey{src, dst}]
	if c == nil || c.closing == "" {
		return nil
	}
	t.finish(now, c, c.closing)
	return t.effects
}

// CloseByOperator shuts one pinhole; false if there is none of this id that
// is still open.
func (t *Tracker) CloseByOperator(now time.Time, id string) ([]Effect, bool) {
	t.effects = t.effects[:0]
	c := t.channels[id]
	if c == nil || c.state == established || c.closing != "" {
		return nil, false
	}
	t.shut(now, c, ClosedByOperator)
	return t.effects, true
}
