package conntrack

import "time"

// A pinhole takes one SYN. Where another rule drops that on its way (a rate
// limit, or because the accept line is missing), no connection follows, and the
// SYN's repetition, a second later, finds the pinhole used up. So it is armed
// again, once it is sure that there is no connection.
const (
	// seekAfter is when a SYN's connection should have shown. Together with how
	// often arrivals are asked for it stays below a second, when TCP sends a SYN
	// again (RFC 6298 2.1).
	seekAfter = 300 * time.Millisecond
	// rearms is how often that is done. A connection that is dropped once more
	// is blocked for good.
	rearms = 3
)

// Arrived says that a SYN was let through a pinhole. It is to be called again,
// a few times a second, for as long as the kernel says so.
func (t *Tracker) Arrived(now time.Time, id string) []Effect {
	t.effects = t.effects[:0]
	c := t.channels[id]
	if c == nil {
		return nil
	}
	if c.arrived.IsZero() {
		c.arrived = now
	}
	if c.closing == "" {
		t.seek(now, c)
	}
	return t.effects
}

// seek asks for the connection of a SYN that came a while ago.
func (t *Tracker) seek(now time.Time, c *channel) {
	if c.state == open && !c.seeking && now.Sub(c.arrived) >= seekAfter {
		c.seeking = true
		t.ask(DoSeek, c)
	}
}

// Sought is the answer to DoSeek: missing says that conntrack has no connection
// that it did not tell of by now. It is false if conntrack could not be asked.
func (t *Tracker) Sought(now time.Time, id string, missing bool) []Effect {
	t.effects = t.effects[:0]
	c := t.channels[id]
	if c == nil {
		return nil
	}
	c.seeking = false
	switch {
	case c.state != open:
	case c.gone && missing: // its SYN was the last
		t.finish(now, c, Blocked)
	case c.closing != "" || !missing:
	case c.lost == rearms:
		t.shut(now, c, Blocked)
	default:
		c.lost++
		c.seeking = true
		t.ask(DoRearm, c)
	}
	return t.effects
}

// Rearmed is the answer to DoRearm.
func (t *Tracker) Rearmed(id string) {
	if c := t.channels[id]; c != nil {
		c.seeking, c.arrived = false, time.Time{}
	}
}

// ask asks for something to be done with a channel's pinhole.
func (t *Tracker) ask(what Do, c *channel) {
	r := c.record
	r.Pinhole = c.hole
	t.do(what, r)
}
