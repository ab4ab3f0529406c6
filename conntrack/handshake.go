package conntrack

import (
	"slices"
	"time"
)

// maxSYNData is how much data of a SYN (RFC 7413) is kept.
const maxSYNData = 512

// halfOpen is a handshake under way.
type halfOpen struct {
	key       sessionKey
	isn       uint32 // the client's
	serverISN uint32
	answered  bool // SYN and ACK came
	data      []byte
	local     bool
}

// handshakes is the small table of half-open connections: a flood of them
// pushes out its oldest, and no session.
type handshakes struct {
	byKey map[sessionKey]*halfOpen
	queue []*halfOpen // oldest first; dropped ones stay until their turn
	limit int
}

func newHandshakes(limit int) handshakes {
	return handshakes{byKey: make(map[sessionKey]*halfOpen), limit: limit}
}

func (hs *handshakes) add(h *halfOpen) {
	hs.byKey[h.key] = h
	hs.queue = append(hs.queue, h)
	for len(hs.queue) > hs.limit {
		hs.drop(hs.queue[0])
		hs.queue = hs.queue[1:]
	}
}

func (hs *handshakes) drop(h *halfOpen) {
	if hs.byKey[h.key] == h {
		delete(hs.byKey, h.key)
	}
}

func (hs *handshakes) find(p *Packet) (h *halfOpen, toServer bool) {
	if h = hs.byKey[sessionKey{p.Src, p.Dst}]; h != nil {
		return h, true
	}
	return hs.byKey[sessionKey{p.Dst, p.Src}], false
}

// handshake takes a SYN, with or without ACK.
func (t *Tracker) handshake(p *Packet) {
	if p.Flags&(RST|FIN) != 0 {
		return
	}
	if p.Flags&ACK == 0 {
		if slices.Contains(t.ports, p.Dst.Port()) {
			t.begun(p)
		}
		return
	}
	h := t.halfOpen.byKey[sessionKey{p.Dst, p.Src}]
	if h == nil || p.Ack-h.isn < 1 || p.Ack-h.isn > 1+uint32(len(h.data)) {
		return
	}
	h.answered, h.serverISN = true, p.Seq
	h.data = h.data[:p.Ack-h.isn-1] // the rest is sent again
}

// begun takes the client's SYN. A session with the same addresses and ports
// goes on until this one is answered: the SYN may be forged.
func (t *Tracker) begun(p *Packet) {
	key := sessionKey{p.Src, p.Dst}
	if h := t.halfOpen.byKey[key]; h != nil && h.isn == p.Seq {
		return // sent again
	}
	if s := t.sessions[key]; s != nil && s.isn == p.Seq {
		return // a late copy of its first packet
	}
	h := &halfOpen{key: key, isn: p.Seq, local: p.Hook == HookOutput}
	if len(p.Payload) <= maxSYNData {
		h.data = slices.Clone(p.Payload)
	}
	t.halfOpen.add(h)
}

// complete makes a session of a handshake when its third packet came, or the
// server has begun to speak, and reports whether it did or a limit forbade it.
// was is the session that had its place until now.
func (t *Tracker) complete(now time.Time, h *halfOpen, toServer bool, p *Packet, was *session) bool {
	if !h.answered {
		return false
	}
	ours := p.Flags&ACK != 0 && p.Flags&RST == 0
	if toServer {
		ours = ours && p.Ack-h.serverISN-1 <= maxHeld && p.Seq-h.isn-1 <= maxHeld
	} else {
		ours = ours && p.Seq-h.serverISN-1 <= maxHeld && p.Ack-h.isn-1 <= maxHeld
	}
	if !ours {
		return false
	}
	t.halfOpen.drop(h)
	if was != nil {
		t.end(now, was, Reused)
	}
	s := t.begin(now, h.key.client, h.key.server)
	if s == nil {
		return true
	}
	s.isn, s.local = h.isn, h.local
	s.up.start(h.isn + 1)
	s.down.start(h.serverISN + 1)
	if len(h.data) > 0 {
		data, _ := s.up.push(h.isn+1, h.data)
		t.read(now, s, &s.up, data)
	}
	return true
}
