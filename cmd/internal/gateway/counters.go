package gateway

import (
	"maps"
	"sync"
	"sync/atomic"

	"ftpinhole/conntrack"
)

// counters count what happened since the start.
type counters struct {
	packets, panics, unseen                atomic.Uint64
	opened, used, refused, closed, blocked atomic.Uint64
	overruns                               atomic.Uint64

	mu      sync.Mutex
	reasons map[string]uint64 // refusals
}

func (c *counters) count(r *conntrack.Record) {
	switch r.Action {
	case conntrack.Open:
		c.opened.Add(1)
	case conntrack.Use:
		c.used.Add(1)
	case conntrack.Close:
		c.closed.Add(1)
		if r.Reason == conntrack.Blocked {
			c.blocked.Add(1)
		}
	case conntrack.Deny:
		n := uint64(max(r.Count, 1))
		c.refused.Add(n)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.reasons == nil {
			c.reasons = make(map[string]uint64)
		}
		c.reasons[string(r.Reason)] += n
	}
}

// refusals counts them by reason.
func (c *counters) refusals() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.reasons)
}
