package queue

import (
	"sync/atomic"

	"github.com/florianl/go-nfqueue/v2"
)

// Stats counts what happened since Open.
type Stats struct {
	Received  uint64 // packets handed over by the kernel
	Accepted  uint64 // verdicts sent: the packet goes on
	Rewritten uint64 // of them, those with other bytes
	Dropped   uint64 // verdicts sent: the packet is dropped
	Late      uint64 // verdicts for packets that the kernel no longer held (ENOENT)
	Overruns  uint64 // times that packets passed unseen, or were dropped, for the socket was full (ENOBUFS)
	Panics    uint64 // panics in the handler
	Bare      uint64 // packets without a payload, which nobody could read
	Malformed uint64 // messages without a packet id: no verdict is possible
	Errors    uint64 // other errors of the socket
}

// counters is Stats while it is counted.
type counters struct {
	received, accepted, rewritten, dropped, late, overruns, panics, bare, malformed, errors atomic.Uint64
}

// judged counts a verdict that was sent.
func (c *counters) judged(verdict int, as []byte) {
	if verdict == nfqueue.NfDrop {
		c.dropped.Add(1)
		return
	}
	c.accepted.Add(1)
	if as != nil {
		c.rewritten.Add(1)
	}
}

// Stats returns the counters as they are now.
func (q *Queue) Stats() Stats {
	c := &q.counters
	return Stats{
		Rewritten: c.rewritten.Load(), // in an order in which none is more than
		Accepted:  c.accepted.Load(),  // what it is a part of
		Dropped:   c.dropped.Load(),
		Received:  c.received.Load(),
		Late:      c.late.Load(),
		Overruns:  c.overruns.Load(),
		Panics:    c.panics.Load(),
		Bare:      c.bare.Load(),
		Malformed: c.malformed.Load(),
		Errors:    c.errors.Load(),
	}
}
