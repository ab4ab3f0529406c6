package conntrack

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// A client's refusals are recorded one by one up to refusalBurst in
// refusalWindow; what comes on top becomes one record a reason, with its
// count, when the window ends.
const (
	refusalBurst   = 10
	refusalWindow  = 10 * time.Second
	refusalClients = 1024 // clients followed at once; the others share one count
)

// refusals keeps a flood of refusals from becoming a flood of records.
type refusals struct {
	clients map[netip.Addr]*refused
}

type refused struct {
	since   time.Time
	n       int
	pending []Record // the latest of each reason, Count refusals
}

func newRefusals() refusals { return refusals{clients: make(map[netip.Addr]*refused)} }

// add reports whether the refusal is to be recorded now; otherwise it counts.
func (rs refusals) add(now time.Time, r *Record) bool {
	key := clientKey(r.Client.Addr())
	c := rs.clients[key]
	if c == nil && len(rs.clients) >= refusalClients {
		key = netip.Addr{}
		c = rs.clients[key]
	}
	if c == nil {
		c = &refused{since: now}
		rs.clients[key] = c
	}
	if c.n < refusalBurst {
		c.n++
		return true
	}
	for i := range c.pending {
		if p := &c.pending[i]; p.Reason == r.Reason {
			count := p.Count + 1
			*p = *r
			p.Count = count
			return false
		}
	}
	r.Count = 1
	c.pending = append(c.pending, *r)
	return false
}

// flush records what was counted in windows that have ended.
func (t *Tracker) flushRefusals(now time.Time, all bool) {
	var due []Record
	for key, c := range t.refusals.clients {
		if all || now.Sub(c.since) >= refusalWindow {
			due = append(due, c.pending...)
			delete(t.refusals.clients, key)
		}
	}
	slices.SortFunc(due, func(a, b Record) int {
		return cmp.Or(a.Time.Compare(b.Time), a.Client.Compare(b.Client), cmp.Compare(a.Reason, b.Reason))
	})
	for _, r := range due {
		t.do(DoRecord, r)
	}
}
