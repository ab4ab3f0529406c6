package conntrack

import (
	"net/netip"
	"sync"
)

// Limits bound the memory of all shards together; each must be above 0.
type Limits struct {
	LineBytes         int // bytes of one control line
	Commands          int // commands of a session that wait for their replies
	Pinholes          int // open pinholes in all
	PinholesPerClient int
	Sessions          int // completed handshakes in all
	SessionsPerClient int
	HalfOpen          int // handshakes under way, of one shard
}

// Quota counts what the shards hold, and refuses the newest at a limit. An
// IPv6 client is its /64: one host has as many addresses of it as it likes.
type Quota struct {
	mu       sync.Mutex
	limits   Limits
	sessions int
	lapsed   int // of them
	pinholes int
	pressure uint64 // how often there were too many only because of lapsed ones
	clients  map[netip.Addr]holding
}

type holding struct{ sessions, lapsed, pinholes int }

// NewQuota returns a quota that nothing has been taken from.
func NewQuota(l Limits) *Quota {
	return &Quota{limits: l, clients: make(map[netip.Addr]holding)}
}

// SetLimits changes the limits. What is held already stays.
func (q *Quota) SetLimits(l Limits) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limits = l
}

func clientKey(a netip.Addr) netip.Addr {
	if a.Is6() && !a.Is4In6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// take counts one more session or pinhole of the client, or says which limit
// forbids it. A lapsed session takes nobody's place: it goes itself (crowded).
func (q *Quota) take(client netip.Addr, sessions, pinholes int) Reason {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := clientKey(client)
	h := q.clients[key]
	h.sessions += sessions
	h.pinholes += pinholes
	switch {
	case h.sessions-h.lapsed > q.limits.SessionsPerClient && sessions > 0,
		h.pinholes > q.limits.PinholesPerClient && pinholes > 0:
		return LimitClient
	case q.sessions+sessions-q.lapsed > q.limits.Sessions && sessions > 0,
		q.pinholes+pinholes > q.limits.Pinholes && pinholes > 0:
		return LimitTotal
	}
	q.sessions += sessions
	q.pinholes += pinholes
	q.clients[key] = h
	if h.sessions > q.limits.SessionsPerClient || q.sessions > q.limits.Sessions {
		q.pressure++
	}
	return ""
}

// lapse counts sessions of the client, held already, that have lapsed, or have
// gone on if n is negative.
func (q *Quota) lapse(client netip.Addr, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := clientKey(client)
	h := q.clients[key]
	h.lapsed += n
	q.lapsed += n
	q.clients[key] = h
	if n < 0 && (h.sessions > q.limits.SessionsPerClient || q.sessions > q.limits.Sessions) {
		q.pressure++
	}
}

// crowded reports whether the client, or all together, have more sessions than
// their limit: then lapsed ones have to go.
func (q *Quota) crowded(client netip.Addr) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.clients[clientKey(client)].sessions > q.limits.SessionsPerClient || q.sessions > q.limits.Sessions
}

// pressed changes whenever lapsed sessions may have to go, of any shard.
func (q *Quota) pressed() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pressure
}

// hold counts sessions that are there already, whatever the limits say.
func (q *Quota) hold(client netip.Addr, sessions int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := clientKey(client)
	h := q.clients[key]
	h.sessions += sessions
	q.sessions += sessions
	q.clients[key] = h
}

// give returns what take took.
func (q *Quota) give(client netip.Addr, sessions, pinholes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := clientKey(client)
	h := q.clients[key]
	h.sessions -= sessions
	h.pinholes -= pinholes
	q.sessions -= sessions
	q.pinholes -= pinholes
	if h == (holding{}) {
		delete(q.clients, key)
		return
	}
	q.clients[key] = h
}
