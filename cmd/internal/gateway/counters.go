package gateway

import (
	"maps"
	"sync"
	"sync/atomic"

	"ftpinhole/cmd/internal/metrics"
	"ftpinhole/conntrack"

	"github.com/prometheus/client_golang/prometheus"
)

// counters count what happened since the start.
type counters struct {
	packets, panics       atomic.Uint64
	opened, used, refused atomic.Uint64
	overruns, dumps       atomic.Uint64

	closes, refusals byReason
	// acknowledged is how long the kernel took with pinholes.
	acknowledged prometheus.Histogram
}

func newCounters() *counters { return &counters{acknowledged: metrics.NewAcknowledgements()} }

func (c *counters) count(r *conntrack.Record) {
	switch r.Action {
	case conntrack.Open:
		c.opened.Add(1)
	case conntrack.Use:
		c.used.Add(1)
	case conntrack.Close:
		c.closes.add(r.Reason, 1)
	case conntrack.Deny:
		n := uint64(max(r.Count, 1))
		c.refused.Add(n)
		c.refusals.add(r.Reason, n)
	}
}

// byReason are counts of each reason.
type byReason struct {
	mu     sync.Mutex
	counts map[string]uint64
}

func (b *byReason) add(why conntrack.Reason, n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.counts == nil {
		b.counts = make(map[string]uint64)
	}
	b.counts[string(why)] += n
}

// all are the reasons that there were.
func (b *byReason) all() map[string]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.counts)
}
