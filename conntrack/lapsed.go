package conntrack

import (
	"container/list"
	"net/netip"
	"slices"
	"time"
)

const (
	// lapsedFor is how long a session is kept that conntrack has forgotten: longer
	// than servers let an idle client wait, and it may come back after a night.
	lapsedFor = 24 * time.Hour
	// lapseTold is how late the news may be that a session was forgotten: what was
	// agreed on since then was agreed on after that.
	lapseTold = time.Second
)

// lapse is a session that conntrack has forgotten (a flush, its timeout, another
// gateway that took over). Its ends know nothing of that, and go on.
type lapse struct {
	session *session
	since   time.Time
}

// vanished takes the news that conntrack does not hold the session any more, and
// keeps what is known of it for its next segments. What was open goes: its ends may
// be gone as well.
func (t *Tracker) vanished(now time.Time, s *session) {
	if s.lapsed != nil {
		return
	}
	if !s.up.known || !s.down.known || s.over || s.asking {
		t.end(now, s, Vanished) // there is nothing to know it again by
		return
	}
	for _, c := range slices.Clone(s.channels) {
		if now.Sub(c.opened) >= lapseTold {
			t.shut(now, c, SessionEnd)
		}
	}
	s.lapsed = t.lapsed.PushBack(lapse{s, now})
	t.quota.lapse(s.client.Addr(), 1)
}

// resume ends a lapse. It must be called once.
func (t *Tracker) resume(s *session) {
	t.lapsed.Remove(s.lapsed)
	s.lapsed = nil
	t.quota.lapse(s.client.Addr(), -1)
}

// resumes reports whether a packet goes on with a lapsed session, and ends its
// lapse then. conntrack takes whatever comes for the connection, forged numbers
// too: only who knows both numbers exactly is one of its ends.
func (t *Tracker) resumes(now time.Time, s *session, toServer bool, p *Packet) bool {
	d, peer := &s.down, &s.up
	if toServer {
		d, peer = &s.up, &s.down
	}
	if p.Flags&ACK == 0 || p.Seq != d.expected() || p.Ack != peer.expected() {
		if before(d.next, p.end()) {
			t.overlook(now, s, p, toServer)
		}
		return false
	}
	t.resume(s)
	s.pickedUp = s.translation.Client.IsValid()
	return true
}

// expected is the number of what comes next. A FIN has one as well.
func (s *stream) expected() uint32 {
	if s.fin && s.finSeq == s.next {
		return s.next + 1
	}
	return s.next
}

// PickedUp says that conntrack has forgotten a control connection and taken up
// its next packets already.
func (t *Tracker) PickedUp(client, server netip.AddrPort) {
	if s := t.sessions[sessionKey{client, server}]; s != nil && s.lapsed == nil && !s.asking {
		s.pickedUp = s.translation.Client.IsValid()
	}
}

// prove compares the translation that conntrack has chosen for a session that it
// picked up with the one that its ends know.
func (t *Tracker) prove(now time.Time, s *session, tr Translation, err error) {
	switch {
	case err != nil:
		s.pickedUp = true // the next packet asks again; until then nothing opens
		t.shutAll(now, s, SessionEnd)
		s.loseStep()
	case tr != s.translation:
		t.end(now, s, Vanished)
	}
}

// tickLapsed lets go of sessions that did not go on in their time, and of those
// whose places others have taken since.
func (t *Tracker) tickLapsed(now time.Time) {
	for e := t.lapsed.Front(); e != nil && now.Sub(e.Value.(lapse).since) >= lapsedFor; e = t.lapsed.Front() {
		t.end(now, e.Value.(lapse).session, Vanished)
	}
	if pressure := t.quota.pressed(); pressure != t.pressure {
		t.pressure = pressure
		t.makeRoom(now)
	}
}

// makeRoom ends the oldest of the lapsed sessions whose client, or all of them
// together, have more than their limit.
func (t *Tracker) makeRoom(now time.Time) {
	var next *list.Element
	for e := t.lapsed.Front(); e != nil; e = next {
		next = e.Next()
		if s := e.Value.(lapse).session; t.quota.crowded(s.client.Addr()) {
			t.end(now, s, Vanished)
		}
	}
}

// stray takes a packet of a connection that is not followed. One that ended in
// its own time only sends what it sent before.
func (t *Tracker) stray(now time.Time, p *Packet) {
	key, toServer := sessionKey{p.Src, p.Dst}, slices.Contains(t.ports, p.Dst.Port())
	if !toServer {
		key = sessionKey{p.Dst, p.Src}
	}
	if toServer || slices.Contains(t.ports, p.Src.Port()) {
		if t.strays.has(key) || !t.ended.has(key) {
			t.overlook(now, nil, p, toServer)
		}
	}
}
