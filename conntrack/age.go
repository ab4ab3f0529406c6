package conntrack

import (
	"slices"
	"time"
)

const (
	// earlyExpiry is how much before the kernel the tracker lets a pinhole go, so
	// that the kernel can still be asked whether a SYN came.
	earlyExpiry = 100 * time.Millisecond
	// lengthenEarly is how much before its end a pinhole is lengthened, and no more
	// than a quarter of its time: a change in the kernel waits for every other
	// program's, which takes over a second where one loads large sets.
	lengthenEarly = 2 * time.Second
	// lengthenAgain is how long after a failure that is tried again.
	lengthenAgain = 250 * time.Millisecond
)

// age is how long a pinhole may wait. What the kernel holds never has more than
// step left, so that a pinhole ends soon after a daemon that dies (law 6): a
// pinhole that waits longer is lengthened again and again.
type age struct {
	step   time.Duration
	usual  time.Time // it ends then, unless its transfer waits
	latest time.Time // it ends then, whatever waits
	end    time.Time // what the kernel holds ends then
	asked  time.Time // what end is to be, while the kernel is asked; else zero
	next   time.Time // the kernel is not asked before
}

// newAge returns the age of a pinhole that opens now. All of its times are
// earlyExpiry before the kernel's.
func newAge(now time.Time, timeout, timeoutMax time.Duration) age {
	end := now.Add(timeout - earlyExpiry)
	return age{
		step: timeout, usual: end, end: end,
		latest: now.Add(max(timeout, timeoutMax) - earlyExpiry),
	}
}

// begins is when the pinhole is to be lengthened.
func (a *age) begins() time.Time { return a.end.Add(-min(lengthenEarly, a.step/4)) }

// transferWaits reports whether the transfer command that goes with the channel
// has no final reply yet.
func (c *channel) transferWaits() bool {
	return c.session != nil && slices.ContainsFunc(c.session.outstanding, func(o command) bool {
		return o.verb.Transfer() && o.channel == c
	})
}

// expires is when the kernel lets the pinhole go, or the tracker, as things stand.
func (c *channel) expires() time.Time {
	end := c.age.usual
	if c.transferWaits() {
		end = c.age.end
	}
	return end.Add(earlyExpiry)
}

// grow lets a channel that is not established have its time.
func (t *Tracker) grow(now time.Time, c *channel) {
	a := &c.age
	waits := c.transferWaits() && now.Before(a.latest)
	switch {
	case waits && c.state == usedState:
		// Its SYN may be answered late, too.
	case waits && a.end.Before(a.latest) && !now.Before(a.begins()) && now.Before(a.end):
		t.lengthen(now, c)
	case !a.asked.IsZero():
		// The kernel may have given it more time already.
	case !now.Before(a.end), !waits && !now.Before(a.usual):
		t.shut(now, c, Expired)
	}
}

// lengthen asks for more of a pinhole's time, unless a SYN came: whether that made
// a connection is being asked for then.
func (t *Tracker) lengthen(now time.Time, c *channel) {
	a := &c.age
	if !a.asked.IsZero() || !c.arrived.IsZero() || c.seeking || now.Before(a.next) {
		return
	}
	left := min(a.step, a.latest.Sub(now)+earlyExpiry)
	a.asked = now.Add(left - earlyExpiry)
	r := c.record
	r.Pinhole = c.hole
	r.Pinhole.Timeout = left
	t.do(DoLengthen, r)
}

// Lengthened is the answer to DoLengthen. It is not done if a SYN came, or if the
// kernel had let the pinhole go.
func (t *Tracker) Lengthened(now time.Time, id string, done bool) {
	c := t.channels[id]
	if c == nil {
		return
	}
	a := &c.age
	if done {
		a.end = a.asked
	}
	a.asked, a.next = time.Time{}, now.Add(lengthenAgain)
}
