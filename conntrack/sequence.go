package conntrack

import "ftpinhole/parser"

// Bounds on what is kept of how one direction is changed.
const (
	// maxEdits is how many edits are kept after they were acknowledged: for
	// packets that come late.
	maxEdits = 16
	// maxUnacked is how many edits may wait for their acknowledgement.
	maxUnacked = 64
	// maxBehind is how far behind the latest a number can be and still count.
	maxBehind = 1 << 20
)

// sequence is how one direction is changed, and what has left of it. Of its
// two numberings, sent is the sender's and arriving the receiver's; before the
// first edit of a different length they are the same.
type sequence struct {
	Sequence

	// left is behind the last byte that went on, or that the sender knows to be
	// taken. What stands before it cannot be changed any more.
	left     uint32
	begun    bool   // left is valid
	restored bool   // more may have left than is known
	unsure   bool   // the receiver may have what comes next already
	last     byte   // the last byte read
	told     uint32 // how many withheld bytes the sender may be told to have arrived
	heard    uint32 // the receiver's highest acknowledgement, as it came
	hears    bool   // heard is valid
	tooLate  Reason // why the line in hand can no longer be changed
	active   bool   // this direction may name endpoints that are translated

	line    parser.Line // in hand
	lineEnd uint32
}

// end is where the bytes behind the edit begin.
func (e *Edit) end() uint32 { return e.Seq + e.Length }

// growth is what the edit adds to the numbers behind it.
func (e *Edit) growth() uint32 { return uint32(len(e.Bytes)) - e.Length }

// inPlace reports whether each byte leaves in the place of another, so that
// packets can carry any part of the edit.
func (e *Edit) inPlace() bool { return e.Told == 0 && int(e.Length) == len(e.Bytes) }

// handed reports whether the sender was told that all of it had arrived: it
// will not send it again.
func (e *Edit) handed() bool { return e.Told == e.Length }

// shifts reports whether the receiver's numbers can differ from the sender's.
func (q *sequence) shifts() bool {
	if q.Shift != 0 || q.Withheld != nil {
		return true
	}
	for i := range q.Edits {
		if !q.Edits[i].inPlace() {
			return true
		}
	}
	return false
}

// arriving translates a number of the sender into the receiver's. Within a
// run that leaves as another one it is that one's beginning.
func (q *sequence) arriving(n uint32) uint32 {
	shift := q.Shift
	for i := range q.Edits {
		e := &q.Edits[i]
		if before(n, e.end()) {
			if before(e.Seq, n) && !e.inPlace() {
				n = e.Seq
			}
			return n + shift
		}
		shift += e.growth()
	}
	if w := q.Withheld; w != nil && before(w.Seq, n) {
		n -= min(n-w.Seq, uint32(len(w.Bytes)))
	}
	return n + shift
}

// sent translates an acknowledgement of the receiver into the sender's numbers.
// What of an edit has arrived only in part has not arrived.
func (q *sequence) sent(n uint32) uint32 {
	shift := q.Shift
	for i := range q.Edits {
		e := &q.Edits[i]
		begin := e.Seq + shift
		if before(n, begin) {
			return n - shift
		}
		if before(n, begin+uint32(len(e.Bytes))) {
			if e.inPlace() {
				return n - shift
			}
			return e.Seq + e.Told
		}
		shift += e.growth()
	}
	n -= shift
	if w := q.Withheld; w != nil && !before(n, w.Seq) {
		n += q.told
	}
	return n
}

// sentBlock translates the edges of a block that the receiver has, so that it
// never covers what has not arrived whole.
func (q *sequence) sentBlock(left, right uint32) (l, r uint32) {
	l, r = q.sent(left), q.sent(right)
	shift := q.Shift
	for i := range q.Edits {
		e := &q.Edits[i]
		begin := e.Seq + shift
		shift += e.growth()
		if e.inPlace() {
			continue
		}
		end := e.end() + shift
		switch {
		case !before(begin, left) || before(end, left):
		case e.handed():
			l = e.end() + 1 // what carries the edit has to be sent again
		case left != end:
			l = e.end()
		}
		if !before(right, begin) && before(right, end) {
			r = e.Seq
		}
	}
	return l, r
}

// acked lets go of edits that the receiver has and that are not needed for late
// packets. n is the receiver's acknowledgement in the sender's numbers.
func (q *sequence) acked(n uint32) {
	if q.restored && q.begun && before(q.left, n) {
		q.left = n // of before the restart
	}
	for len(q.Edits) > 0 {
		e := &q.Edits[0]
		if !e.arrived(n) || len(q.Edits) <= maxEdits && n-e.end() <= maxBehind {
			return
		}
		q.Shift += e.growth()
		q.Edits = append(q.Edits[:0], q.Edits[1:]...)
	}
}

// arrived reports whether an acknowledgement says that the receiver has the
// edit: of one that was handed over, only what comes behind it says so.
func (e *Edit) arrived(n uint32) bool {
	return before(e.end(), n) || n == e.end() && !e.handed()
}

// waiting counts the edits that the receiver has not acknowledged.
func (q *sequence) waiting(s *stream) int {
	count := 0
	for i := range q.Edits {
		if !s.heard || !q.Edits[i].arrived(s.acked) {
			count++
		}
	}
	return count
}

// plausible reports whether an acknowledgement can be of this connection: its
// addresses and ports may be in use again.
func (q *sequence) plausible(n uint32) bool {
	if !q.begun {
		return q.restored
	}
	behind := int32(q.arriving(q.left) - n)
	return behind <= maxBehind && (behind >= 0 || q.restored && behind >= -maxBehind)
}

// hear takes an acknowledgement as it came.
func (q *sequence) hear(n uint32) {
	if !q.hears || before(q.heard, n) {
		q.heard, q.hears = n, true
	}
}

// front is arriving for a number that nothing was sent behind yet: what was
// handed over before it may still wait for whatever is sent next.
func (q *sequence) front(n uint32) uint32 {
	y := q.arriving(n)
	for i := range q.Edits {
		if e := &q.Edits[i]; e.handed() && e.end() == n && !q.hasHeard(y) {
			return y - uint32(len(e.Bytes))
		}
	}
	return y
}

// hasHeard reports whether the receiver has acknowledged all before n.
func (q *sequence) hasHeard(n uint32) bool { return q.hears && !before(q.heard, n) }

// passed takes note that the bytes up to end are not to be changed any more.
func (q *sequence) passed(end uint32) {
	if !q.begun || before(q.left, end) {
		q.left, q.begun = end, true
	}
}

// clone copies what a next daemon needs.
func (s *Sequence) clone() Sequence {
	c := Sequence{Shift: s.Shift}
	for _, e := range s.Edits {
		e.Bytes = append([]byte(nil), e.Bytes...)
		c.Edits = append(c.Edits, e)
	}
	if w := s.Withheld; w != nil {
		c.Withheld = &Withheld{Seq: w.Seq, Bytes: append([]byte(nil), w.Bytes...), Last: w.Last}
	}
	return c
}
