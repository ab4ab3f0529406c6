package conntrack

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// channel is a data channel that both sides agreed on, from the request to
// the kernel to the end of the one connection that used it.
type channel struct {
	hole    Pinhole
	session *session // nil once data flows
	record  Record   // what all records of this pinhole say alike
	named   named
	ahead   struct{ Transfer, Path string } // of the transfer, if sent before
	state   channelState
	asked   bool // the kernel was asked to close it
	gone    bool // and has
	// former had the same key: a connection that shows now may still be its.
	former *channel
	// closing is why it is to end, while the kernel's answer is awaited.
	closing Reason
	opened  time.Time
	used    time.Time
	age     age
	port    lease // of the outside address
	// arrived is when a SYN was seen to have come since it was armed; zero if
	// none was. lost is how many came before and made no connection.
	arrived time.Time
	lost    int
	seeking bool // conntrack is asked for its connection, or the kernel to arm it again
}

type channelState uint8

const (
	opening     channelState = iota // the kernel has not acknowledged it
	open                            // waits for its connection
	usedState                       // the SYN came, nothing was answered yet
	established                     // data flows; only its end is of interest
)

// holeKey is the key that the kernel knows a pinhole by.
type holeKey struct {
	src netip.Addr
	dst netip.AddrPort
}

type flowKey struct{ src, dst netip.AddrPort }

func (c *channel) key() holeKey { return holeKey{c.hole.Src, c.hole.Dst} }

// flow is the data connection; it is known once the channel is used.
func (c *channel) flow() flowKey {
	return flowKey{netip.AddrPortFrom(c.hole.Src, c.hole.SrcPort), c.hole.Dst}
}

// affords takes a pinhole of the quota, if one that is opened now can be recorded,
// or else records why not.
func (t *Tracker) affords(now time.Time, s *session, p *promise) bool {
	why := AuditUnavailable
	if t.keeps == nil || t.keeps() {
		why = t.quota.take(s.client.Addr(), 0, 1)
	}
	if why != "" {
		p.port.give()
		t.deny(now, s, p.record, why)
	}
	return why == ""
}

// openChannel asks for the pinhole that was agreed on and afforded, beside those
// that the session has.
func (t *Tracker) openChannel(now time.Time, s *session, p *promise) *channel {
	r := p.record
	r.Pinhole.ID = s.holeID()
	r.Pinhole.Timeout = t.timeout
	r.Observed = t.observe
	c := &channel{
		hole: r.Pinhole, session: s, record: r,
		opened: now, age: newAge(now, t.timeout, t.timeoutMax),
		port: p.port,
	}
	p.port = lease{} // it is the channel's now
	c.ahead.Transfer, c.ahead.Path = r.Transfer, r.Path
	if old := t.holes[c.key()]; old != nil {
		t.shut(now, old, Replaced) // another session of these two had the same port
		c.former = old
	}
	t.channels[c.hole.ID] = c
	t.holes[c.key()] = c
	s.channels = append(s.channels, c)
	s.current = c
	r.Time, r.Action = now, Open
	t.do(DoOpen, r)
	t.effects[len(t.effects)-1].Translation = s.translation
	if p.rewrite != nil {
		t.rewrite(c, p.rewrite)
	}
	return c
}

// rewrite makes the edit that goes with the DoOpen asked for last.
func (t *Tracker) rewrite(c *channel, r *rewrite) {
	r.apply()
	r.nat.opening++
	t.rewrites[c.hole.ID] = r
	if r.keep {
		t.effects[len(t.effects)-1].Kept = r.nat.keep()
	}
}

// shut ends a channel that is not established: the pinhole goes, and so does
// a connection that nobody has answered.
func (t *Tracker) shut(now time.Time, c *channel, why Reason) {
	if c.state == established || c.closing != "" {
		return
	}
	if c.state == open && c.lost > 0 {
		why = Blocked // whatever happened then
	}
	c.closing = why
	c.session.release(c)
	if c.state == usedState {
		t.ask(DoKill, c)
		return
	}
	c.asked = false
	t.askClose(c)
}

func (t *Tracker) askClose(c *channel) {
	if c.asked {
		return
	}
	c.asked = true
	t.ask(DoClose, c)
}

// finish records the end of a channel and forgets it.
func (t *Tracker) finish(now time.Time, c *channel, why Reason) {
	t.tell(now, c, Close, why)
	t.forget(c)
}

func (t *Tracker) tell(now time.Time, c *channel, what Action, why Reason) {
	r := c.record
	r.Time, r.Action, r.Reason, r.Pinhole = now, what, why, c.hole
	switch {
	case what == Open: // whenever the kernel answers, it was agreed on without
		r.Transfer, r.Path = c.ahead.Transfer, c.ahead.Path
	case what == Use && c.named == unnamed: // the one that it goes by was refused
		r.Transfer, r.Path = "", ""
	}
	if what == Close {
		since := c.opened
		if !c.used.IsZero() {
			since = c.used
		}
		r.Duration = now.Sub(since)
	}
	t.do(DoRecord, r)
}

func (t *Tracker) forget(c *channel) {
	t.unhole(c)
	t.quota.give(c.record.Client.Addr(), 0, 1)
	c.port.give()
	delete(t.channels, c.hole.ID)
	if c.hole.SrcPort != 0 && t.flows[c.flow()] == c {
		delete(t.flows, c.flow())
	}
	if c.session != nil {
		c.session.release(c)
	}
}

// unhole says that no connection is awaited for c any more. One may still be
// for the others of its key.
func (t *Tracker) unhole(c *channel) {
	last := t.holes[c.key()]
	switch {
	case last == c && c.former != nil:
		t.holes[c.key()] = c.former
	case last == c:
		delete(t.holes, c.key())
	default:
		for ; last != nil; last = last.former {
			if last.former == c {
				last.former = c.former
			}
		}
	}
	c.former = nil
}

// oldestFirst lists the channels in the order in which they were agreed on.
func (t *Tracker) oldestFirst() []*channel {
	t.order = t.order[:0]
	for _, c := range t.channels {
		t.order = append(t.order, c)
	}
	slices.SortFunc(t.order, func(a, b *channel) int {
		return cmp.Or(a.opened.Compare(b.opened), cmp.Compare(a.hole.ID, b.hole.ID))
	})
	return t.order
}

// tickChannels lets go what has had its time.
func (t *Tracker) tickChannels(now time.Time) {
	for _, c := range t.oldestFirst() {
		switch {
		case c.state == established || c.state == opening:
		case c.state == open && c.gone: // a SYN came before
			t.seek(now, c)
		case c.closing == "":
			t.grow(now, c)
		}
	}
}
