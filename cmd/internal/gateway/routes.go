package gateway

import (
	"sync"

	"ftpinhole/conntrack"
	"ftpinhole/rules"
)

// routes say which shard has a rewritten session. The packets of those come
// through queues of their own, which the kernel does not sort by session: in raw
// prerouting both directions of a translated connection look like strangers.
type routes struct {
	mu sync.RWMutex
	to map[rules.Tuple]*shard
}

func (r *routes) add(tuples []rules.Tuple, s *shard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.to == nil {
		r.to = make(map[rules.Tuple]*shard)
	}
	for _, t := range tuples {
		r.to[t] = s
	}
}

func (r *routes) remove(tuples []rules.Tuple) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range tuples {
		delete(r.to, t)
	}
}

// find returns the shard of a packet, nil if no session that is rewritten has
// it.
func (r *routes) find(p *conntrack.Packet) *shard {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.to[rules.Tuple{Src: p.Src, Dst: p.Dst}]
}

// tuples are the four ways in which packets of a session look: on the wire as
// they come in from either side, and between DNAT and SNAT.
func tuples(k *conntrack.Kept) []rules.Tuple {
	return []rules.Tuple{
		{Src: k.Client, Dst: k.Translation.Server},
		{Src: k.Server, Dst: k.Translation.Client},
		{Src: k.Client, Dst: k.Server},
		{Src: k.Server, Dst: k.Client},
	}
}
