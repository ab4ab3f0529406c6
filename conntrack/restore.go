package conntrack

import "time"

// Restore goes on with a session that a former daemon kept: it is joined in the
// middle (law 6). What cannot have been kept has no effect.
func (t *Tracker) Restore(now time.Time, k *Kept) []Effect {
	t.effects = t.effects[:0]
	key := sessionKey{k.Client, k.Server}
	if t.sessions[key] != nil || !k.Client.IsValid() || !k.Server.IsValid() || !k.Up.sound() || !k.Down.sound() {
		return nil
	}
	t.quota.hold(k.Client.Addr(), 1)
	s := t.newSession(now, k.Client, k.Server)
	s.rejoin()
	s.restored = true
	s.ftp = true // a line of it was rewritten: it had spoken FTP
	if t.knows != nil {
		if known, ok := t.knows(k.Client, k.Server); ok {
			s.resumeKnown(&known)
		}
	}
	s.translate(k.Translation)
	if s.nat == nil { // the policy has changed, the numbers have not
		s.nat = &translated{Translation: k.Translation, key: key}
	}
	s.nat.up.restore(&k.Up)
	s.nat.down.restore(&k.Down)
	t.confirm(s.nat)
	return t.effects
}

// restore takes up what a former daemon kept. What it withheld goes on with what
// the sender sends next.
func (q *sequence) restore(s *Sequence) {
	q.Sequence = s.clone()
	q.restored, q.unsure = true, true
	if w := q.Withheld; w != nil {
		n := uint32(len(w.Bytes))
		q.Withheld = nil
		q.Edits = append(q.Edits, Edit{Seq: w.Seq, Length: n, Bytes: w.Bytes, Told: n, Last: w.Last})
	}
	if n := len(q.Edits); n > 0 {
		q.passed(q.Edits[n-1].end())
	}
}

// sound reports whether a tracker can have kept this.
func (s *Sequence) sound() bool {
	if len(s.Edits) > maxEdits+maxUnacked {
		return false
	}
	for i := range s.Edits {
		e := &s.Edits[i]
		if e.Length == 0 || e.Length > maxBehind || len(e.Bytes) == 0 || len(e.Bytes) > leastMSS6 || e.Told > e.Length ||
			i > 0 && before(e.Seq, s.Edits[i-1].end()) {
			return false
		}
	}
	w := s.Withheld
	return w == nil || len(w.Bytes) > 0 && len(w.Bytes) <= maxWithheld &&
		(len(s.Edits) == 0 || !before(w.Seq, s.Edits[len(s.Edits)-1].end()))
}
