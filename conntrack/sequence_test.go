package conntrack

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// edited is a direction with an edit that grows, one that shrinks, one of the
// same length, and one of which the sender was told.
func edited() *sequence {
	return &sequence{Sequence: Sequence{Edits: []Edit{
		{Seq: 10, Length: 4, Bytes: []byte("abcdef"), Last: 'x'},            // 10..14 to 10..16
		{Seq: 20, Length: 5, Bytes: []byte("ab"), Last: 'y'},                // 20..25 to 22..24
		{Seq: 30, Length: 3, Bytes: []byte("abc"), Last: 'z'},               // 30..33 to 29..32
		{Seq: 40, Length: 5, Told: 3, Bytes: []byte("abcdefgh"), Last: 'w'}, // 40..45 to 39..47
	}}}
}

func TestSequenceNumbers(t *testing.T) {
	for _, isn := range []uint32{0, 0xffffffff - 35, 0x7fffffff - 12} {
		q := edited()
		for i := range q.Edits {
			q.Edits[i].Seq += isn
		}
		for _, c := range [][2]uint32{
			{9, 9}, {10, 10}, {11, 10}, {13, 10}, {14, 16}, {20, 22}, {21, 22}, {24, 22}, {25, 24}, {30, 29}, {31, 30}, {33, 32},
			{40, 39}, {44, 39}, {45, 47}, {50, 52},
		} {
			if got := q.arriving(c[0]+isn) - isn; got != c[1] {
				t.Errorf("%d arrives as %d, want %d", c[0], got, c[1])
			}
		}
		for _, c := range [][2]uint32{
			{9, 9}, {10, 10}, {11, 10}, {15, 10}, {16, 14}, {22, 20}, {23, 20}, {24, 25}, {29, 30}, {30, 31}, {32, 33},
			{38, 39}, {39, 43}, {46, 43}, {47, 45}, {52, 50},
		} {
			if got := q.sent(c[0]+isn) - isn; got != c[1] {
				t.Errorf("the acknowledgement %d means %d, want %d", c[0], got, c[1])
			}
		}
		for _, c := range [][4]uint32{
			{9, 10, 9, 10}, {9, 11, 9, 10}, {9, 16, 9, 14}, {11, 16, 14, 14}, {11, 18, 14, 16}, {10, 16, 10, 14}, {12, 14, 14, 10},
			{17, 23, 15, 20}, {23, 26, 25, 27}, {29, 31, 30, 32}, {30, 32, 31, 33}, {38, 45, 39, 40}, {41, 50, 45, 48},
		} {
			l, r := q.sentBlock(c[0]+isn, c[1]+isn)
			if got := [4]uint32{c[0], c[1], l - isn, r - isn}; got != c {
				t.Errorf("the block %d, want %d", got, c)
			}
		}
	}
}

// What was handed over is carried by whatever comes next, so that nothing of
// that may count as arrived.
func TestSequenceHandedOver(t *testing.T) {
	q := &sequence{Sequence: Sequence{Edits: []Edit{{Seq: 10, Length: 4, Told: 4, Bytes: []byte("abcd"), Last: 'x'}}}}
	for _, c := range [][2]uint32{{9, 9}, {10, 14}, {12, 14}, {14, 14}, {15, 15}} {
		if got := q.sent(c[0]); got != c[1] {
			t.Errorf("the acknowledgement %d means %d, want %d", c[0], got, c[1])
		}
	}
	for _, c := range [][4]uint32{{14, 20, 15, 20}, {12, 20, 15, 20}, {15, 20, 15, 20}} {
		if l, r := q.sentBlock(c[0], c[1]); l != c[2] || r != c[3] {
			t.Errorf("the block %d to %d means %d to %d", c[0], c[1], l, r)
		}
	}
	probe := &Packet{Seq: 13, Flags: ACK}
	if seg, _ := q.leave(probe, nil); seg.Seq != 9 || string(seg.Payload) != "x" {
		t.Errorf("a keep-alive probe left at %d with %q", seg.Seq, seg.Payload)
	}
	probe.Flags |= RST
	if seg, _ := q.leave(probe, nil); seg.Seq != 10 || len(seg.Payload) > 0 {
		t.Errorf("a reset left at %d with %q", seg.Seq, seg.Payload)
	}
	if got := q.front(14); got != 10 {
		t.Errorf("the sender stands at %d, want 10", got)
	}
	q.hear(14)
	if got := q.front(14); got != 14 {
		t.Errorf("the sender stands at %d once all is acknowledged, want 14", got)
	}
}

// Edits are kept for packets that come late, and not for ever (law 8).
func TestLaw8EditsAreForgotten(t *testing.T) {
	q := &sequence{}
	for i := range uint32(40) {
		q.Edits = append(q.Edits, Edit{Seq: 10 * i, Length: 1, Bytes: []byte("ab"), Last: 'x'})
	}
	before := q.arriving(1000)
	q.acked(205) // behind the 21st
	if n := len(q.Edits); n != 19 {
		t.Errorf("%d edits are kept, want the 19 that nobody acknowledged", n)
	}
	q.acked(1000)
	if n := len(q.Edits); n != maxEdits {
		t.Errorf("%d edits are kept, want %d", n, maxEdits)
	}
	if got := q.arriving(1000); got != before {
		t.Errorf("1000 arrives as %d, and as %d before", got, before)
	}
	q.acked(1000 + maxBehind)
	if n := len(q.Edits); n != 0 {
		t.Errorf("%d edits are kept although they are long past", n)
	}
}

// At most so many lines of a session may wait for their acknowledgement.
func TestLaw8UnacknowledgedEdits(t *testing.T) {
	st := loggedIn(t, behindNAT, func(c *Config, _ *Terms) { c.Limits.Commands = 1000 })
	for range maxUnacked + 1 {
		st.says("C", port+"\r\n", 0)
	}
	if got := len(st.tracker.sessions[sessionKey{testClient, testServer}].nat.up.Edits); got != maxUnacked {
		t.Errorf("%d edits", got)
	}
	if r := st.records[len(st.records)-1]; r.Action != Deny || r.Reason != LimitSession {
		t.Errorf("told %q at last", short(r))
	}
	st.stop()
}

func TestPlausible(t *testing.T) {
	q := edited()
	if q.plausible(5) {
		t.Error("nothing was sent, 5 is plausible")
	}
	q.passed(50)
	for n, want := range map[int32]bool{52: true, 53: false, 9: true, 52 - maxBehind: true, 51 - maxBehind: false} {
		if got := q.plausible(uint32(n)); got != want {
			t.Errorf("%d is plausible: %v", n, got)
		}
	}
	q.restored = true
	if !q.plausible(52+maxBehind) || q.plausible(53+maxBehind) {
		t.Error("of a session that was restored more may have been sent, but not any")
	}
}

func TestSound(t *testing.T) {
	e := func(seq, length, toldOf uint32, n int) Edit {
		return Edit{Seq: seq, Length: length, Told: toldOf, Bytes: make([]byte, n)}
	}
	for name, c := range map[string]struct {
		s    Sequence
		want bool
	}{
		"empty":            {Sequence{}, true},
		"edits":            {Sequence{Edits: []Edit{e(1, 2, 2, 3), e(3, 1, 0, 1)}}, true},
		"no length":        {Sequence{Edits: []Edit{e(1, 0, 0, 3)}}, false},
		"no bytes":         {Sequence{Edits: []Edit{e(1, 2, 0, 0)}}, false},
		"many bytes":       {Sequence{Edits: []Edit{e(1, 2, 0, 9999)}}, false},
		"told too much":    {Sequence{Edits: []Edit{e(1, 2, 3, 3)}}, false},
		"overlap":          {Sequence{Edits: []Edit{e(1, 2, 0, 3), e(2, 1, 0, 1)}}, false},
		"too many":         {Sequence{Edits: make([]Edit, 1000)}, false},
		"withheld":         {Sequence{Withheld: &Withheld{Seq: 1, Bytes: []byte("x")}}, true},
		"withheld nothing": {Sequence{Withheld: &Withheld{Seq: 1}}, false},
		"withheld much":    {Sequence{Withheld: &Withheld{Seq: 1, Bytes: make([]byte, 1000)}}, false},
		"withheld before":  {Sequence{Edits: []Edit{e(1, 2, 0, 3)}, Withheld: &Withheld{Seq: 2, Bytes: []byte("x")}}, false},
	} {
		if got := c.s.sound(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if diff := cmp.Diff(edited().Sequence, edited().clone()); diff != "" {
		t.Errorf("a copy differs: %s", diff)
	}
}
