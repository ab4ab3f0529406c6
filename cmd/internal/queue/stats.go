package queue

import "sync/atomic"

// Stats counts what happened since Open.
type Stats struct {
	Received  uint64 // packets handed over by the kernel
	Accepted  uint64 // verdicts sent
	Late      uint64 // verdicts for packets that the kernel no longer held (ENOENT)
	Overruns  uint64 // times that packets passed unseen, for the socket was full (ENOBUFS)
	Panics    uint64 // panics in the handler; the packet was accepted
	Bare      uint64 // packets without a payload, accepted unseen
	Malformed uint64 // messages without a packet id: no verdict is possible
	Errors    uint64 // other errors of the socket
}

// counters is Stats while it is counted.
type counters struct {
	received, accepted, late, overruns, panics, bare, malformed, errors atomic.Uint64
}

// Stats returns the counters as they are now.
func (q *Queue) Stats() Stats {
	c := &q.counters
	return Stats{
		Accepted:  c.accepted.Load(), // before Received: never more
		Received:  c.received.Load(),
		Late:      c.late.Load(),
		Overruns:  c.overruns.Load(),
		Panics:    c.panics.Load(),
		Bare:      c.bare.Load(),
		Malformed: c.malformed.Load(),
		Errors:    c.errors.Load(),
	}
}
