package conntrack

import "bytes"

// A segment may leave longer than it came up to what every path takes: the
// smallest MSS that a host has to accept (RFC 9293 3.7.1, RFC 8200 5).
const (
	leastMSS4 = 536
	leastMSS6 = 1220
)

// Outgoing says how a packet that Packet has taken is to leave, when its turn
// has come: false if as it is.
func (t *Tracker) Outgoing(p *Packet) (Segment, bool) {
	if p.Flags&SYN != 0 {
		return Segment{}, false
	}
	s, toServer := t.find(p)
	if s == nil {
		if nat, toServer := t.departed.find(p); nat != nil {
			q := nat.of(toServer)
			q.passed(p.end())
			return q.leave(p, t.scratch(p))
		}
		return Segment{}, false
	}
	d := &s.down
	if toServer {
		d = &s.up
	}
	q := s.sequence(d)
	if q == nil {
		return Segment{}, false
	}
	// Of a lapsed session nothing is read, and so nothing waits for its turn.
	if p.Flags&RST == 0 && s.lapsed == nil && s.ahead(d, p.Seq) {
		return q.leaveAhead(p, d.next, t.scratch(p)), true
	}
	return q.leave(p, t.scratch(p))
}

// scratch is for the payload that the packet leaves with.
func (t *Tracker) scratch(p *Packet) []byte {
	if n := room(p); cap(t.buf) < n {
		t.buf = make([]byte, 0, n)
	}
	return t.buf
}

// leaving is a segment under construction.
type leaving struct {
	Segment
	room int
	any  bool // something stands in Payload, and so Seq is fixed
	full bool // what comes is cut off
}

// begin says which number the first byte has, if none stands there yet.
func (l *leaving) begin(seq uint32) {
	if !l.any {
		l.Seq, l.any = seq, true
	}
}

// add appends bytes that stand at seq; those that may not be divided are left
// out when there is no room for all of them.
func (l *leaving) add(seq uint32, b []byte, whole bool) {
	if l.full || len(b) == 0 {
		return
	}
	l.begin(seq)
	if over := len(l.Payload) + len(b) - l.room; over > 0 {
		l.full = true
		if !whole {
			b = b[:len(b)-over]
		} else if len(l.Payload) > 0 {
			return
		}
	}
	l.Payload = append(l.Payload, b...)
}

// run appends what a segment from at to end has of an edit that it reaches, and
// says where it is then.
func (l *leaving) run(e *Edit, at, end, shift uint32) uint32 {
	to := e.end()
	switch {
	case e.inPlace():
		if before(end, to) {
			to = end
		}
		l.add(at+shift, e.Bytes[at-e.Seq:to-e.Seq], false)
		return to
	case before(end, to):
		l.begin(e.Seq + shift)
		return end
	}
	l.add(e.Seq+shift, e.Bytes, true)
	return to
}

// leave says how a segment is to leave: false if as it is. buf is for its
// payload.
//
// The packet that has an edit's last byte carries all that leaves instead of
// its run; packets that have other bytes of it carry nothing for those. Of what
// was handed over, the packet that goes on behind it may be the only one that
// ever comes.
func (q *sequence) leave(p *Packet, buf []byte) (Segment, bool) {
	switch {
	case q.Withheld == nil && len(q.Edits) == 0:
		return Segment{p.Seq + q.Shift, p.Flags, p.Urgent, p.Payload}, q.Shift != 0
	case len(p.Payload) == 0 && p.Flags&FIN == 0:
		return q.leaveEmpty(p, buf)
	}
	l := leaving{Segment: Segment{Flags: p.Flags, Urgent: p.Urgent, Payload: buf[:0]}, room: room(p)}
	at, end, shift := p.Seq, p.Seq+uint32(len(p.Payload)), q.Shift
	// pass appends the segment's own bytes from where it is.
	pass := func(to uint32) {
		l.add(at+shift, p.Payload[at-p.Seq:to-p.Seq], false)
		at = to
	}
	for i := range q.Edits {
		e := &q.Edits[i]
		if e.handed() && at == e.end() {
			l.add(e.Seq+shift, e.Bytes, true)
		} else if !before(e.Seq, end) {
			break
		} else if before(at, e.end()) {
			if before(at, e.Seq) {
				pass(e.Seq)
			}
			at = l.run(e, at, end, shift)
		}
		shift += e.growth()
	}
	if w := q.Withheld; w != nil && before(w.Seq, end) {
		if before(at, w.Seq) {
			pass(w.Seq)
		}
		l.begin(w.Seq + shift)
		at = end
	}
	pass(end)
	l.begin(at + shift)
	if len(l.Payload) == 0 && len(p.Payload) > 0 {
		return q.old(p, l.Seq, buf), true
	}
	if l.full {
		l.Flags &^= FIN
	}
	if l.Flags&URG != 0 {
		l.Urgent = uint16(min(q.arriving(p.Seq+uint32(p.Urgent))-l.Seq, 1<<16-1))
	}
	same := l.Seq == p.Seq && l.Flags == p.Flags && l.Urgent == p.Urgent && bytes.Equal(l.Payload, p.Payload)
	return l.Segment, !same
}

// leaveEmpty is leave for a segment without data.
func (q *sequence) leaveEmpty(p *Packet, buf []byte) (Segment, bool) {
	seq, shift := q.front(p.Seq), q.Shift
	for i := range q.Edits {
		e := &q.Edits[i]
		if e.Told > 0 && p.Seq-e.Seq < e.Length && p.Flags&RST == 0 {
			return q.old(p, e.Seq+shift, buf), true // the sender asks whether anybody is there
		}
		shift += e.growth()
	}
	if w := q.Withheld; w != nil && p.Seq-w.Seq < uint32(len(w.Bytes)) && p.Flags&RST == 0 {
		return q.old(p, seq, buf), true
	}
	return Segment{seq, p.Flags, p.Urgent, nil}, seq != p.Seq
}

// leaveAhead is leave for a segment whose turn has not come: its data is not let
// go unread, TCP sends it again. The receiver is made to say what it has.
func (q *sequence) leaveAhead(p *Packet, next uint32, buf []byte) Segment {
	seq := q.front(next)
	switch {
	case len(p.Payload) == 0 && p.Flags&FIN == 0:
		return Segment{seq, p.Flags &^ URG, 0, nil}
	case q.unsure: // the byte before is not known; a keep-alive probe has none
		return Segment{seq - 1, p.Flags &^ (FIN | URG), 0, nil}
	}
	return q.old(p, seq, buf)
}

// old makes a segment that says nothing new: the one byte before seq. The
// receiver acknowledges what it has at once (RFC 9293 3.10.7.4). Before anything
// was read it has that byte for sure, and any will do (RFC 1122 4.2.3.6).
func (q *sequence) old(p *Packet, seq uint32, buf []byte) Segment {
	last, shift := q.last, q.Shift
	for i := range q.Edits {
		e := &q.Edits[i]
		begin := e.Seq + shift
		shift += e.growth()
		switch seq {
		case begin:
			last = e.Last
		case e.end() + shift:
			last = e.Bytes[len(e.Bytes)-1]
		}
	}
	if w := q.Withheld; w != nil && seq == w.Seq+shift {
		last = w.Last
	}
	return Segment{seq - 1, p.Flags &^ (FIN | URG), 0, append(buf[:0], last)}
}

// room is how much data the segment may leave with.
func room(p *Packet) int {
	least := leastMSS4
	if p.Dst.Addr().Is6() {
		least = leastMSS6
	}
	return max(len(p.Payload), least)
}
