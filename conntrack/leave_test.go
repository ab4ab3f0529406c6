package conntrack

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// rewritten is a session whose client has said NOOP and a PORT that leaves four
// bytes longer, and where these stand.
func rewritten(tb reporter) (st *stage, noop, line uint32) {
	tb.Helper()
	st = loggedIn(tb, behindNAT, nil)
	noop = st.c.next
	st.says("C", "NOOP\r\n", 0)
	line = st.c.next
	st.says("C", port+"\r\n", 0)
	return st, noop, line
}

func TestSegmentsLeave(t *testing.T) {
	const tuple = "198,51,100,7,195,80"
	st, begin, _ := rewritten(t)
	st.says("C", "LIST\r\n", 0)
	all := "NOOP\r\n" + port + "\r\nLIST\r\n"
	tupleEnd := len("NOOP\r\n") + len(port)
	for _, c := range []struct {
		name     string
		from, to int
		flags    Flags
		urgent   uint16
		want     string // where, what, flags and urgent pointer
	}{
		{"all of it", 0, 34, 0, 0, `0 "NOOP\r\nPORT 198,51,100,7,195,80\r\nLIST\r\n"`},
		{"what stands before", 0, 4, 0, 0, `0 "NOOP"`},
		{"the verb", 4, 11, 0, 0, `4 "\r\nPORT "`},
		{"the verb and half of the tuple", 6, 15, 0, 0, `6 "PORT "`},
		{"the tuple's inside", 13, 16, 0, 0, `10 " "`},
		{"the tuple's end", 20, tupleEnd, 0, 0, `11 "` + tuple + `"`},
		{"its last byte and what follows", tupleEnd - 1, 34, 0, 0, `11 "` + tuple + `\r\nLIST\r\n"`},
		{"what follows", tupleEnd, 34, 0, 0, `30 "\r\nLIST\r\n"`},
		{"FIN behind it", 34, 34, FIN, 0, `38 "" FIN`},
		{"RST behind it", 34, 34, RST, 0, `38 "" RST`},
		{"RST in it", 15, 15, RST, 0, `11 "" RST`},
		{"RST before it", 6, 6, RST, 0, `6 "" RST`},
		{"an acknowledgement", 34, 34, 0, 0, `38 ""`},
		{"urgent behind it", 6, 34, URG, 22, `6 "PORT ` + tuple + `\r\nLIST\r\n" URG 26`},
		{"urgent before it", 6, 34, URG, 3, `6 "PORT ` + tuple + `\r\nLIST\r\n" URG 3`},
	} {
		p := &Packet{
			Src: testClient, Dst: testServer, Seq: begin + uint32(c.from), Flags: ACK | c.flags,
			Urgent: c.urgent, Payload: []byte(all[c.from:c.to]),
		}
		seg := st.leaves(p)
		got := fmt.Sprintf("%d %q", seg.Seq-begin, seg.Payload)
		for flag, word := range map[Flags]string{FIN: " FIN", RST: " RST", URG: fmt.Sprint(" URG ", seg.Urgent)} {
			if seg.Flags&flag != 0 {
				got += word
			}
		}
		if want := c.want; got != want {
			t.Errorf("%s: left %s, want %s", c.name, got, want)
		}
	}
	st.stop()
}

// A line that no longer fits its segment is never divided in its tuple; what is
// cut off is sent again.
func TestSegmentsLeaveCut(t *testing.T) {
	for behind := leastMSS4 - 60; behind < leastMSS4+60; behind++ {
		st := loggedIn(t, behindNAT, nil)
		begin := st.c.next
		text := port + "\r\n" + strings.Repeat("x", behind)
		seg := st.says("C", text, FIN)
		want := "PORT 198,51,100,7,195,80\r\n" + strings.Repeat("x", behind)
		room := max(len(text), leastMSS4)
		if got := string(seg.Payload); len(got) > room || got != want[:min(len(want), room)] {
			t.Fatalf("%d bytes left of %d, %q", len(got), len(text), got[:30])
		}
		if whole := len(want) <= room; whole != (seg.Flags&FIN != 0) {
			t.Errorf("FIN left with %d of %d bytes: %v", len(seg.Payload), len(want), !whole)
		}
		if got := st.acks("S", begin+uint32(len(seg.Payload))); before(begin+uint32(len(text))+1, got) {
			t.Errorf("told of %d bytes", got-begin)
		}
		st.stop()
	}
	// A tuple at a segment's end goes whole or not at all.
	l := leaving{room: 10}
	l.add(0, []byte("12345"), false)
	l.add(5, []byte("123456"), true)
	l.add(11, []byte("z"), false)
	if string(l.Payload) != "12345" || !l.full {
		t.Errorf("%q", l.Payload)
	}
}

// What comes ahead of its turn does not leave unread in a direction that is
// translated, and leaves as it is in the other.
func TestLaw1AheadOfItsTurn(t *testing.T) {
	st := loggedIn(t, behindNAT, nil)
	begin := st.c.next
	st.c.next += 6 // NOOP is lost
	if seg := st.says("C", port+"\r\n", FIN); seg.Seq != begin-1 || string(seg.Payload) != "\n" || seg.Flags&FIN != 0 {
		t.Errorf("ahead of its turn %q left at %d", seg.Payload, int32(seg.Seq-begin))
	}
	if seg := st.says("C", "", 0); seg.Seq != begin || len(seg.Payload) > 0 {
		t.Errorf("an acknowledgement left at %d", int32(seg.Seq-begin))
	}
	if seg := st.says("C", "", RST); seg.Seq != st.c.next {
		t.Errorf("a reset left at %d", int32(seg.Seq-begin))
	}
	st.stop()

	st = loggedIn(t, behindNAT, nil)
	st.s.next += 6
	if seg := st.says("S", "200 x\r\n", 0); string(seg.Payload) != "200 x\r\n" {
		t.Errorf("%q left of a direction that is not translated", seg.Payload)
	}
	st.stop()
}

// Bytes that passed unseen are a gap, and do not keep the session waiting.
func TestLaw3GapInATranslatedSession(t *testing.T) {
	st := loggedIn(t, behindNAT, nil)
	st.c.next += 6 // passed unseen
	if seg := st.says("C", "TYPE I\r\n", 0); len(seg.Payload) > 1 {
		t.Errorf("%q left although it was ahead", seg.Payload)
	}
	st.c.next -= 8
	st.ack(&st.s, &st.c) // as the server has what passed
	if seg := st.says("C", "TYPE I\r\n", 0); string(seg.Payload) != "TYPE I\r\n" {
		t.Errorf("%q left", seg.Payload)
	}
	st.play("S: 200 x | 200 x\nC: NOOP\nS: 200 x\nC: NOOP\nS: 200 x")
	if seg := st.says("C", port+"\r\n", 0); string(seg.Payload) != "PORT 198,51,100,7,195,80\r\n" {
		t.Errorf("%q left when it was in step again", seg.Payload)
	}
	st.stop()
}

// Whatever a segment covers, the bytes that leave are those that the receiver
// is to have at their places.
func TestLaw3AnySegmentLeavesRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.SampledFrom([]uint32{100, 0xffffffff, 0xffffffc0, 0x7fffffe0}).Draw(t, "base")
		text := rapid.SliceOfN(rapid.ByteRange('a', 'z'), 40, 200).Draw(t, "text")
		q := &sequence{Sequence: Sequence{Shift: rapid.Uint32().Draw(t, "shift")}}
		var want []byte
		at := 0
		for at < len(text)-1 {
			from := rapid.IntRange(at+1, len(text)).Draw(t, "from")
			to := min(from+rapid.IntRange(1, 12).Draw(t, "length"), len(text))
			want = append(want, text[at:from]...)
			if at = to; from == to {
				break
			}
			b := rapid.SliceOfN(rapid.ByteRange('A', 'Z'), 1, 14).Draw(t, "bytes")
			e := Edit{Seq: base + uint32(from), Length: uint32(to - from), Bytes: b, Last: want[len(want)-1]}
			e.Told = uint32(rapid.IntRange(0, to-from).Draw(t, "told"))
			q.Edits = append(q.Edits, e)
			want = append(want, b...)
		}
		want = append(want, text[min(at, len(text)):]...)
		q.last = want[len(want)-1]
		for range 20 {
			from := rapid.IntRange(0, len(text)).Draw(t, "begin")
			to := rapid.IntRange(from, len(text)).Draw(t, "end")
			p := &Packet{Src: testClient, Dst: testServer, Seq: base + uint32(from), Flags: ACK, Payload: text[from:to]}
			seg, changed := q.leave(p, make([]byte, 0, 1024))
			if !changed {
				seg = Segment{Seq: p.Seq, Payload: p.Payload}
			}
			for i, b := range seg.Payload {
				place := int(int32(seg.Seq-base-q.Shift)) + i
				if place < 0 || place >= len(want) || want[place] != b {
					t.Fatalf("%d to %d: byte %d is %q in %q", from, to, place, b, want)
				}
			}
		}
	})
}
