package gateway

import (
	"sync"
	"time"

	"ftpinhole/cmd/internal/flows"
)

// dumps are the looks at all of conntrack that make up for events that were lost.
// On a busy gateway one takes up to a second, so it runs beside the reading of
// events: were they to wait, they would overflow, and ask for the next dump.
// Everything here belongs to the goroutine of connections.run.
type dumps struct {
	done    chan dump      // the result of the one that runs
	running sync.WaitGroup // at most one

	// What the next one is for.
	seeks     []seek
	reconcile bool

	// heard are the data connections that events told of while a dump runs, and
	// whether they are gone: its answer may be older than that. It is nil while
	// none runs.
	heard map[uint32]bool
}

// dump is the result of one look.
type dump struct {
	asked     time.Time
	seeks     []seek
	reconcile bool
	// The connections with our marks; false where conntrack could not be read.
	data, sessions     []flows.Flow
	dataOK, sessionsOK bool
}

func (d *dumps) hear(id uint32, gone bool) {
	if d.heard != nil {
		d.heard[id] = gone
	}
}

// beginDump starts the dump that is wanted, unless one runs: then the next one
// begins at its end, since the one that runs may be past what is asked for.
func (c *connections) beginDump() {
	wanted := len(c.dumps.seeks) > 0 || c.dumps.reconcile
	if !wanted || c.dumps.heard != nil {
		return
	}
	d := dump{asked: c.clock(), seeks: c.dumps.seeks, reconcile: c.dumps.reconcile}
	c.dumps.seeks, c.dumps.reconcile = nil, false
	c.dumps.heard = make(map[uint32]bool)
	c.counters.dumps.Add(1)

	c.dumps.running.Go(func() {
		d.data, d.dataOK = c.dump(c.dataMark)
		if d.reconcile && d.dataOK {
			d.sessions, d.sessionsOK = c.dump(c.control)
		}
		c.dumps.done <- d
	})
}

// endDump tells what the dump shows and no event said.
func (c *connections) endDump(d dump) {
	// Events tell uses in their order, a dump in that of a hash. So those that
	// wait are told first.
	for waiting := len(c.events); waiting > 0; waiting-- {
		c.event(<-c.events)
	}
	heard := c.dumps.heard
	c.dumps.heard = nil

	if d.dataOK {
		c.tellDump(d, heard)
	}
	if d.reconcile && d.dataOK && d.sessionsOK {
		c.reconcile(d)
	}
	for _, k := range d.seeks {
		s := k.shard
		s.calls.put(func() { s.carryOut(s.tracker.Sought(s.clock(), k.id, d.dataOK), connection{}, nil) })
	}
	c.beginDump()
}

// tellDump tells of data connections whose events were lost; to reconcile, also
// what became of those that are known.
func (c *connections) tellDump(d dump, heard map[uint32]bool) {
	known := make(map[uint32]*knownFlow, len(d.data))
	for _, f := range d.data {
		was := c.known[f.ID]
		gone, newer := heard[f.ID]
		switch {
		case gone: // its events have told all
			continue
		case was == nil:
			was = newKnownFlow(f)
			c.data(f, true, f.State.Over(), true)
		case newer:
		case was.reopens(f):
			c.data(f, true, was.over(f), true)
		case d.reconcile && was.over(f):
			c.data(was.ended(f), false, true, true)
		case d.reconcile:
			c.data(f, false, false, true)
		}
		known[f.ID] = was
	}

	// What came since the dump passed its place in the hash is known too.
	for id, gone := range heard {
		if was := c.known[id]; was != nil && !gone {
			known[id] = was
		}
	}
	c.known = known
}

// reconcile ends what conntrack no longer holds.
func (c *connections) reconcile(d dump) {
	alive := make(map[connection]bool, len(d.data)+len(d.sessions))
	for _, f := range d.data {
		src, dst := f.Ends()
		alive[connection{src, dst}] = true
	}
	c.twice.replace(d.sessions)
	for _, f := range d.sessions {
		client, server := f.Ends()
		alive[connection{client, server}] = !f.State.Over()
	}
	c.tell(func(s *shard, now time.Time) { s.reconcile(alive, d.asked, now) })
}
