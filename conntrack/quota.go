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
	pinholes int
	clients  map[netip.Addr]holding
}

type holding struct{ sessions, pinholes int }

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
// forbids it.
func (q *Quota) take(client netip.Addr, sessions, pinholes int) Reason {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := clientKey(client)
	h := q.clients[key]
	h.sessions += sessions
	h.pinholes += pinholes
	switch {
	case h.sessions > q.limits.SessionsPerClient && sessions > 0,
		h.pinholes > q.limits.PinholesPerClient && pinholes > 0:
		return LimitClient
	case q.sessions+sessions > q.limits.Sessions && sessions > 0,
		q.pinholes+pinholes > q.limits.Pinholes && pinholes > 0:
		return LimitTotal
	}
	q.sessions += sessions
	q.pinholes += pinholes
	q.clients[key] = h
	return ""
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
