package conntrack

import (
	"net/netip"
	"sync"
)

// Outside gives out ports of addresses that the gateway translates. It is
// shared by all shards and never blocks for long.
type Outside struct {
	mu              sync.Mutex
	lowest, highest uint16
	taken           map[outsideKey]*holder
}

// outsideKey is what tells connections to outside ports apart: where they come
// from and where they go.
type outsideKey struct {
	from netip.Addr
	to   netip.AddrPort
}

// holder is the inside endpoint that a port leads to. All who announce the
// same one share it.
type holder struct {
	inside netip.AddrPort
	n      int
}

// NewOutside returns an allocator that takes ports from lowest to highest when
// the inside port is not free on the outside address.
func NewOutside(lowest, highest uint16) *Outside {
	return &Outside{lowest: lowest, highest: highest, taken: make(map[outsideKey]*holder)}
}

// SetRange changes the range. What is taken already stays.
func (o *Outside) SetRange(lowest, highest uint16) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lowest, o.highest = lowest, highest
}

// bounds returns the range.
func (o *Outside) bounds() (lowest, highest uint16) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lowest, o.highest
}

// take takes a port for inside, and reports whether it was free.
func (o *Outside) take(k outsideKey, inside netip.AddrPort) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.taken[k]
	if h == nil {
		h = &holder{inside: inside}
		o.taken[k] = h
	}
	if h.inside != inside {
		return false
	}
	h.n++
	return true
}

// give returns what take took.
func (o *Outside) give(k outsideKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if h := o.taken[k]; h != nil {
		if h.n--; h.n == 0 {
			delete(o.taken, k)
		}
	}
}

// lease is a port that was taken; the zero value is none.
type lease struct {
	outside *Outside
	key     outsideKey
}

// give returns the port, once.
func (l *lease) give() {
	if l.outside != nil {
		l.outside.give(l.key)
		l.outside = nil
	}
}

// outsideTries is how often another port is tried.
const outsideTries = 128

// outsidePort takes a port of the address outer for the endpoint: its own port
// if that is free, else another that the policy would allow, if possible one
// that is written with as many bytes. Of a line that stays as it is, no other
// port will do. Without any the lease is none.
func (t *Tracker) outsidePort(s *session, r Record, outer netip.Addr, n naming) lease {
	inside := r.Pinhole.Dst
	take := func(port uint16) lease {
		l := lease{t.outside, outsideKey{r.Pinhole.Src, netip.AddrPortFrom(outer, port)}}
		if !t.outside.take(l.key, inside) {
			return lease{}
		}
		return l
	}
	var best lease
	if netip.AddrPortFrom(outer, inside.Port()) != s.nat.Server {
		best = take(inside.Port())
	}
	if best.outside != nil || n.stays(outer) {
		return best
	}
	lowest, highest := t.outside.bounds()
	for range outsideTries {
		port := lowest + uint16(t.random.UintN(uint(highest-lowest)+1))
		r.Pinhole.Dst = netip.AddrPortFrom(inside.Addr(), port)
		// The choice is ours: no port of another service is taken (inferred).
		if t.decide(s, r, true) != "" || netip.AddrPortFrom(outer, port) == s.nat.Server {
			continue
		}
		fits := len(n.write(nil, netip.AddrPortFrom(outer, port))) == n.to-n.from
		if !fits && best.outside != nil {
			continue
		}
		l := take(port)
		if l.outside == nil {
			continue
		}
		best.give()
		if best = l; fits {
			break
		}
	}
	return best
}
