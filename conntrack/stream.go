package conntrack

import (
	"bytes"
	"slices"
)

// Bounds on what is kept of one direction of a session.
const (
	maxHeld       = 16 << 10 // bytes that came before their turn
	maxHeldPieces = 32
	maxRecent     = 1 << 10 // forwarded bytes that nobody has acknowledged
)

// stream puts the bytes of one direction in order. The packets themselves are
// never held back: what counts is the copy that was forwarded first, whatever
// a later one says.
type stream struct {
	known bool   // next is valid
	next  uint32 // sequence number of the first byte not yet read
	acked uint32 // highest acknowledgement of the receiver, once any came
	heard bool   // acked is valid

	held      []piece // ahead of next, in order, not overlapping
	heldBytes int

	// recent are the bytes before next that were not acknowledged, to tell a
	// retransmit from a forgery.
	recent    []byte
	conflicts int

	fin    bool // FIN came
	finSeq uint32
}

// piece is a run of bytes that came before its turn.
type piece struct {
	seq  uint32
	data []byte
}

// start says where the stream begins.
func (s *stream) start(seq uint32) { s.known, s.next = true, seq }

// before reports whether sequence number a comes before b (RFC 9293 3.4).
func before(a, b uint32) bool { return int32(a-b) < 0 }

// ends reports whether it is known where the direction ends. A FIN that bytes
// have been read beyond of was forged.
func (s *stream) ends() bool { return s.fin && !before(s.finSeq, s.next) }

// closed reports whether the direction has ended, and was read to its end or
// heard to it by the receiver.
func (s *stream) closed() bool {
	return s.ends() && (s.next == s.finSeq || s.heard && s.acked == s.finSeq+1)
}

// atEnd reports whether seq is the one at which a RST counts (RFC 5961 3.2).
func (s *stream) atEnd(seq uint32) bool {
	return s.known && seq == s.next || s.fin && seq == s.finSeq+1
}

// push takes a segment's payload and returns what of it comes next in order.
// Nothing comes back for what is old or ahead of its turn; overflow says that
// it is too far ahead to be kept.
func (s *stream) push(seq uint32, data []byte) (inOrder []byte, overflow bool) {
	if len(data) == 0 {
		return nil, false
	}
	if before(seq, s.next) {
		seen := s.next - seq
		if seen >= uint32(len(data)) {
			s.compare(seq, data)
			return nil, false
		}
		s.compare(seq, data[:seen])
		data, seq = data[seen:], s.next
	}
	if seq != s.next {
		return nil, !s.hold(seq, data)
	}
	return s.advance(s.beforeHeld(data)), false
}

// pop returns the next held bytes whose turn has come, or nil.
func (s *stream) pop() []byte {
	if len(s.held) == 0 || s.held[0].seq != s.next {
		return nil
	}
	data := s.held[0].data
	s.heldBytes -= len(data)
	s.held = s.held[1:]
	if len(s.held) == 0 {
		s.held = nil
	}
	return s.advance(data)
}

// beforeHeld cuts data, which stands at next, where held bytes begin: those
// were forwarded earlier. What lies beyond them is held too.
func (s *stream) beforeHeld(data []byte) []byte {
	if len(s.held) == 0 {
		return data
	}
	room := s.held[0].seq - s.next
	if uint32(len(data)) <= room {
		return data
	}
	s.hold(s.held[0].seq, data[room:]) // no place for it: it is sent again, or a gap
	return data[:room]
}

// advance reads data, which stands at next.
func (s *stream) advance(data []byte) []byte {
	s.next += uint32(len(data))
	if n := len(data); n >= maxRecent {
		s.recent = append(s.recent[:0], data[n-maxRecent:]...)
		return data
	}
	if over := len(s.recent) + len(data) - maxRecent; over > 0 {
		s.recent = append(s.recent[:0], s.recent[over:]...)
	}
	s.recent = append(s.recent, data...)
	return data
}

// compare looks for other bytes in a retransmit than were forwarded at first.
// Acknowledged bytes cannot be replaced any more and are not looked at.
func (s *stream) compare(seq uint32, data []byte) {
	from := s.next - uint32(len(s.recent))
	if before(seq, from) {
		skip := from - seq
		if skip >= uint32(len(data)) {
			return
		}
		data, seq = data[skip:], from
	}
	was := s.recent[seq-from:]
	data = data[:min(len(data), len(was))]
	if !bytes.Equal(data, was[:len(data)]) {
		s.conflicts++
	}
}

// hold keeps bytes that came before their turn, the first copy of each. It
// reports false when there is no room.
func (s *stream) hold(seq uint32, data []byte) bool {
	if seq-s.next > maxHeld || s.heldBytes+len(data) > maxHeld {
		return false
	}
	at := 0
	for len(data) > 0 {
		for at < len(s.held) && !before(seq, s.held[at].end()) {
			at++
		}
		if at == len(s.held) {
			return s.insert(at, seq, data)
		}
		h := s.held[at]
		if before(seq, h.seq) { // what stands before the held piece is new
			n := min(h.seq-seq, uint32(len(data)))
			if !s.insert(at, seq, data[:n]) {
				return false
			}
			data, seq, at = data[n:], seq+n, 0 // pieces may have become one
			continue
		}
		overlap := min(h.end()-seq, uint32(len(data)))
		if !bytes.Equal(data[:overlap], h.data[seq-h.seq:seq-h.seq+overlap]) {
			s.conflicts++
		}
		data, seq = data[overlap:], seq+overlap
	}
	return true
}

func (p piece) end() uint32 { return p.seq + uint32(len(p.data)) }

// insert puts new bytes before the piece at, and joins what touches: a burst
// of tiny segments is one piece.
func (s *stream) insert(at int, seq uint32, data []byte) bool {
	switch {
	case at > 0 && s.held[at-1].end() == seq:
		at--
		s.held[at].data = append(s.held[at].data, data...)
	case len(s.held) < maxHeldPieces:
		s.held = slices.Insert(s.held, at, piece{seq, bytes.Clone(data)})
	default:
		return false
	}
	s.heldBytes += len(data)
	if next := at + 1; next < len(s.held) && s.held[at].end() == s.held[next].seq {
		s.held[at].data = append(s.held[at].data, s.held[next].data...)
		s.held = slices.Delete(s.held, next, next+1)
	}
	return true
}

// ack takes an acknowledgement of the receiver.
func (s *stream) ack(n uint32) {
	if s.heard && !before(s.acked, n) {
		return
	}
	s.heard, s.acked = true, n
	if unacked := int32(s.next - n); unacked <= 0 {
		s.recent = s.recent[:0]
	} else if int(unacked) < len(s.recent) {
		s.recent = append(s.recent[:0], s.recent[len(s.recent)-int(unacked):]...)
	}
}

// missed reports whether the receiver has bytes that never came by here, so
// that waiting for them is in vain.
func (s *stream) missed() bool {
	return s.known && s.heard && before(s.next, s.acked) && !(s.fin && s.acked == s.finSeq+1 && s.next == s.finSeq)
}

// skip gives the bytes before seq up.
func (s *stream) skip(seq uint32) {
	s.next = seq
	s.recent = s.recent[:0]
	for len(s.held) > 0 && before(s.held[0].seq, seq) {
		h := &s.held[0]
		if cut := seq - h.seq; cut < uint32(len(h.data)) {
			s.heldBytes -= int(cut)
			h.data, h.seq = h.data[cut:], seq
			break
		}
		s.heldBytes -= len(h.data)
		s.held = s.held[1:]
	}
}
