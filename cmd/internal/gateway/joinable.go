package gateway

import (
	"net/netip"
	"sync"
)

// joinable are the control connections that conntrack held when the daemon
// started, or that another gateway's conntrackd brought since: they may be joined
// in the middle (law 6). All shards ask it.
type joinable struct {
	mu   sync.Mutex
	have map[connection]struct{}
}

func (j *joinable) add(client, server netip.AddrPort) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.have == nil {
		j.have = make(map[connection]struct{})
	}
	j.have[connection{client, server}] = struct{}{}
}

// take reports whether the connection may be joined, once.
func (j *joinable) take(client, server netip.AddrPort) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	key := connection{client, server}
	_, ok := j.have[key]
	delete(j.have, key)
	return ok
}

func (j *joinable) forget(client, server netip.AddrPort) { j.take(client, server) }
