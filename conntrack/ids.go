package conntrack

// ids gives flow ids out: numbers of 53 bits, which any JSON reader keeps
// exactly, that do not repeat within a daemon and hardly between daemons.
type ids uint64

func (i *ids) next() uint64 {
	for {
		// splitmix64 (Steele, Lea, Flood 2014): a permutation of a counter.
		*i += 0x9e3779b97f4a7c15
		z := uint64(*i)
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		if id := (z ^ z>>31) >> 11; id != 0 {
			return id
		}
	}
}

// maxGraves is how many ended sessions are remembered.
const maxGraves = 4096

// graves remembers the sessions that ended last, lest a late retransmit be
// taken for a session to join.
type graves struct {
	have  map[sessionKey]uint64 // their flow ids
	queue []sessionKey
}

func (g *graves) add(k sessionKey, flowID uint64) {
	if g.have == nil {
		g.have = make(map[sessionKey]uint64)
	}
	if g.has(k) {
		g.have[k] = flowID
		return
	}
	g.have[k] = flowID
	g.queue = append(g.queue, k)
	if len(g.queue) > maxGraves {
		delete(g.have, g.queue[0])
		g.queue = g.queue[1:]
	}
}

func (g *graves) has(k sessionKey) bool {
	_, ok := g.have[k]
	return ok
}

// drop forgets one of them. Its place in the queue stays until its turn.
func (g *graves) drop(k sessionKey) { delete(g.have, k) }
