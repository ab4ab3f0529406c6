package conntrack

import (
	"errors"
	"net/netip"
	"slices"
	"time"
)

// errUnanswered: the session went on before it was known how it is translated.
var errUnanswered = errors.New("DoAsk was not answered before the next packet")

// translated is what a translated session has beside others.
type translated struct {
	Translation
	key      sessionKey
	up, down sequence // client to server, server to client

	kept     bool       // all packets come by, and a next daemon will know of it
	stale    bool       // what was kept is not what came of it
	keeps    bool       // the packet in hand has to wait for DoKeep
	opening  int        // edits that wait for the answer to DoOpen
	keeping  int        // DoKeep without answer
	promises []*promise // that wait for the server's 2xx
	over     bool       // it is forgotten
	until    time.Time  // when it will be, once the session has ended
}

// of returns how one direction is changed.
func (n *translated) of(toServer bool) *sequence {
	if toServer {
		return &n.up
	}
	return &n.down
}

// sequence returns how a direction is changed, or nil.
func (s *session) sequence(d *direction) *sequence {
	if s.nat == nil {
		return nil
	}
	return s.nat.of(d == &s.up)
}

// Translated is the answer to DoAsk. With an error the session goes on as one
// that is not translated.
func (t *Tracker) Translated(now time.Time, client, server netip.AddrPort, tr Translation, err error) []Effect {
	t.effects = t.effects[:0]
	if s := t.sessions[sessionKey{client, server}]; s != nil && s.asking {
		t.learn(now, s, tr, err)
	}
	return t.effects
}

// learn lets a session know of its translation, and takes the packet that has
// waited for that.
func (t *Tracker) learn(now time.Time, s *session, tr Translation, err error) {
	s.asking = false
	if s.translation.Client.IsValid() {
		t.prove(now, s, tr, err)
	} else if err == nil {
		s.translate(tr)
	}
	if p := s.first; p != nil {
		s.first = nil
		if t.sessions[sessionKey{s.client, s.server}] != s {
			t.stray(now, p)
			return
		}
		t.segment(now, s, p.Src == s.client, p)
	}
}

// translate makes s a translated session, if it is one.
func (s *session) translate(tr Translation) {
	s.translation = tr
	nat := &translated{Translation: tr, key: sessionKey{s.client, s.server}}
	nat.up.active = tr.Client.Addr() != s.client.Addr()
	nat.down.active = tr.Server.Addr() != s.server.Addr() || s.terms.PasvPeer
	if !nat.up.active && !nat.down.active {
		return
	}
	s.nat = nat
	for _, d := range []*direction{&s.up, &s.down} {
		q := s.sequence(d)
		q.unsure = s.joined
		if d.known {
			q.passed(d.next)
		}
	}
}

// guarded reports whether the direction may still name an endpoint that has to
// be rewritten. Nothing of it may leave unread then.
func (s *session) guarded(d *direction) bool {
	q := s.sequence(d)
	return q != nil && q.active && d.known && !d.blind && !s.notFTP && !s.headless && !s.over
}

// proves makes sure of what comes next, if a segment proves it: the receiver has
// asked for just this since we are here. What passed unseen before must not be
// rewritten when it is sent again.
func (q *sequence) proves(d *direction, seq uint32) {
	if q.unsure && seq == d.next && d.heard && d.acked == seq {
		q.unsure = false
	}
}

// ahead reports whether a segment has to come again: in its turn, or when it is
// sure what comes next.
func (s *session) ahead(d *direction, seq uint32) bool {
	return s.guarded(d) && (before(d.next, seq) || seq == d.next && s.sequence(d).unsure)
}

// promised takes note of what PORT or EPRT is to open when the server agrees:
// the line is rewritten before.
func (s *session) promised(p *promise) {
	if s.nat == nil {
		return
	}
	s.nat.promises = append(s.nat.promises, p)
	if r := p.rewrite; r != nil {
		r.apply()
		s.nat.keeps = s.nat.keeps || r.keep
		if !r.keep {
			p.rewrite = nil
		}
	}
}

// withdraw forgets what PORT or EPRT was to open.
func (s *session) withdraw(p *promise) {
	for i := range s.outstanding {
		if s.outstanding[i].waiting == p {
			s.outstanding[i].waiting = nil
		}
	}
}

// passed ends a packet's way through a translated session.
func (t *Tracker) passed(s *session, d, peer *direction, p *Packet) {
	q := s.sequence(d)
	if !s.ahead(d, p.Seq) && p.end() != p.Seq {
		if p.Flags&FIN != 0 {
			q.yield() // nothing comes any more that could end a line
		}
		q.passed(p.end())
	}
	if peer.heard {
		s.sequence(peer).acked(peer.acked)
	}
	s.nat.promises = slices.DeleteFunc(s.nat.promises, func(p *promise) bool {
		answered := !slices.ContainsFunc(s.outstanding, func(c command) bool { return c.waiting == p })
		if answered {
			p.port.give()
		}
		return answered
	})
	if s.nat.keeps {
		s.nat.keeps = false
		t.doKeep(s.nat)
	}
}

// start says where a direction begins, for us.
func (s *session) start(d *direction, seq uint32) {
	if q := s.sequence(d); q != nil {
		if q.begun && before(seq, q.left) {
			seq = q.left // what a former daemon has read already
		}
		q.passed(seq)
	}
	d.start(seq)
}
