package conntrack

import (
	"container/list"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"ftpinhole/parser"
)

// sessionKey names a control connection, client first.
type sessionKey struct{ client, server netip.AddrPort }

// session is one control connection.
type session struct {
	client, server netip.AddrPort
	flowID         uint64
	isn            uint32 // the client's; 0 if the session was joined
	local          bool   // the client is the gateway itself
	terms          Terms
	started, last  time.Time

	up, down direction // client to server, server to client
	replies  parser.ReplyReader

	agreement

	// channels that are agreed on and not established.
	channels []*channel
	current  *channel // the latest, for the transfer that uses it
	holes    int      // pinhole ids given out

	opened, denied int
	encrypted      bool

	translation Translation // the zero value while it is not known

	nat      *translated // nil if no address is translated
	asking   bool        // how it is translated is not known yet
	restored bool        // and no packet came since
	pickedUp bool        // conntrack picked it up, perhaps with another translation

	lapsed *list.Element // of Tracker.lapsed; nil while conntrack holds the session

	first *Packet // waits for that answer

	remembered   Known // what was written down last, if anything was
	isRemembered bool
}

// direction is one half of the connection.
type direction struct {
	stream
	lines   parser.LineReader
	blind   bool // TLS is spoken
	records records
	bytes   uint64
}

// step says whether commands and replies can be told to belong together.
type step uint8

const (
	inStep      step = iota
	needCommand      // bytes were missed: a command sent in a quiet moment is awaited
	needReply        // and now its reply
)

func (s *session) holeID() string {
	s.holes++
	return strconv.FormatUint(s.flowID, 16) + "-" + strconv.Itoa(s.holes)
}

// record is what all records of the session say alike.
func (s *session) record() Record {
	return Record{FlowID: s.flowID, Client: s.client, Server: s.server, User: s.user}
}

// release forgets a channel that has ended or can stand alone.
func (s *session) release(c *channel) {
	for i, have := range s.channels {
		if have == c {
			s.channels = append(s.channels[:i], s.channels[i+1:]...)
			return
		}
	}
}

// shutAll ends the session's channels that are not established.
func (t *Tracker) shutAll(now time.Time, s *session, why Reason) {
	for len(s.channels) > 0 {
		c := s.channels[0]
		t.shut(now, c, why)
		s.release(c)
	}
}

// shutBut is shutAll without the one given, and without those of PORT and EPRT
// that the server has not come to yet.
func (t *Tracker) shutBut(now time.Time, s *session, keep *channel, why Reason) {
	for _, c := range slices.Clone(s.channels) {
		if c != keep && !s.unanswered(c) {
			t.shut(now, c, why)
			s.release(c)
		}
	}
}

// deny records that a negotiation was refused.
func (t *Tracker) deny(now time.Time, s *session, r Record, why Reason) {
	r.Reason = why
	t.refuse(now, s, r)
}

func (t *Tracker) refuse(now time.Time, s *session, r Record) {
	if s != nil {
		s.denied++
		s.current = nil // a transfer that follows is not the former channel's
	}
	r.Time, r.Action = now, Deny
	if t.refusals.add(now, &r) {
		t.do(DoRecord, r)
	}
}

// segment takes one packet of the session.
func (t *Tracker) segment(now time.Time, s *session, toServer bool, p *Packet) {
	s.last = now
	d, peer := &s.down, &s.up
	if toServer {
		d, peer = &s.up, &s.down
	}
	// Of a session that was joined, a keep-alive probe says nothing: it stands
	// one before what comes next.
	if !d.known && (len(p.Payload) > 0 || p.Flags&FIN != 0) {
		s.start(d, p.Seq)
	}
	if p.Flags&ACK != 0 {
		if !peer.known {
			s.start(peer, p.Ack)
		}
		peer.ack(p.Ack)
		// An acknowledgement may overtake what it acknowledges in a capture;
		// data sent after it may not.
		if len(p.Payload) > 0 || len(peer.held) > 0 {
			t.giveUp(now, s, peer)
		}
	}
	if q := s.sequence(d); q != nil {
		if q.proves(d, p.Seq); s.ahead(d, p.Seq) && d.missed() {
			t.gap(now, s, d, d.acked)
			q.proves(d, p.Seq)
		}
	}
	if len(p.Payload) > 0 {
		t.payload(now, s, d, p)
	}
	if p.Flags&FIN != 0 && !d.ends() {
		d.fin, d.finSeq = true, p.Seq+uint32(len(p.Payload))
	}
	if s.nat != nil {
		t.passed(s, d, peer, p)
	}
	t.remember(s)
	switch {
	case p.Flags&RST != 0 && d.atEnd(p.Seq):
		// Any other RST in the window is answered by a challenge (RFC 5961
		// 3.2); if it counts nevertheless, conntrack will say so.
		t.end(now, s, Reset)
	case d.closed() && peer.closed():
		t.end(now, s, Finish)
	}
}

func (t *Tracker) payload(now time.Time, s *session, d *direction, p *Packet) {
	q := s.sequence(d)
	if s.ahead(d, p.Seq) {
		return // it does not leave, and comes again
	}
	data, overflow := d.push(p.Seq, p.Payload)
	if overflow {
		t.gap(now, s, d, p.Seq)
		data, _ = d.push(p.Seq, p.Payload)
	}
	if data != nil {
		t.read(now, s, d, data)
		t.readHeld(now, s, d)
	} else if len(d.held) > 0 {
		t.giveUp(now, s, d)
	}
	if q != nil && p.Flags&FIN == 0 {
		s.withhold(d, q)
	}
}

func (t *Tracker) readHeld(now time.Time, s *session, d *direction) {
	for data := d.pop(); data != nil; data = d.pop() {
		t.read(now, s, d, data)
	}
}

// giveUp gives up the bytes of one direction that the receiver has and that never
// came by here. Those between them that did come are read.
func (t *Tracker) giveUp(now time.Time, s *session, d *direction) {
	for d.missed() {
		to := d.acked
		if len(d.held) > 0 && before(d.held[0].seq, to) {
			to = d.held[0].seq
		}
		t.gap(now, s, d, to)
	}
}

// gap gives up the bytes of one direction before seq: they passed unseen.
// What was outstanding is forgotten, and nothing opens until both directions
// are in step again (law 3).
func (t *Tracker) gap(now time.Time, s *session, d *direction, seq uint32) {
	d.skip(seq)
	if q := s.sequence(d); q != nil {
		q.lineOver()
		q.passed(seq)
		q.unsure = true
	}
	d.lines.Resync()
	d.records.lost = true
	if d == &s.down {
		s.replies.Reset()
	} else {
		s.doubtTransfer()
		s.headless = s.headless || !s.spoken && !s.joined
	}
	s.loseStep()
	t.readHeld(now, s, d)
}

// read takes bytes of one direction in order.
func (t *Tracker) read(now time.Time, s *session, d *direction, b []byte) {
	d.bytes += uint64(len(b))
	q := s.sequence(d)
	if q != nil {
		q.take(b)
	}
	for len(b) > 0 {
		if d.blind {
			if b = d.records.skip(b); b == nil {
				return
			}
			d.blind = false
			d.lines.Reset()
			if d == &s.up {
				s.rejoin()
			}
		}
		line, rest, ok := d.lines.Next(b)
		if !ok {
			return
		}
		b = rest
		if q != nil {
			q.line, q.lineEnd = line, d.next-uint32(len(rest))
		}
		switch {
		case line.Cut:
			t.cutLine(now, s, d, line, len(rest) == 0)
		case d == &s.up:
			t.clientLine(now, s, line)
		default:
			t.serverLine(now, s, line)
		}
		if q != nil {
			q.lineOver()
		}
	}
}

// goBlind follows AUTH's 234: what comes now is TLS.
func (t *Tracker) goBlind(now time.Time, s *session) {
	t.shutAll(now, s, Encrypted)
	s.encrypted = true
	for _, d := range []*direction{&s.up, &s.down} {
		d.blind, d.records = true, records{}
	}
	s.outstanding = s.outstanding[:0]
	s.replies.Reset()
}
