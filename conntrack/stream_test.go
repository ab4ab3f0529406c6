package conntrack

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// model is a direction as a map of bytes: what came first stays.
type model struct {
	start uint32
	first map[uint32]byte // by offset
	out   []byte          // what stands in order
}

// push takes a segment and reports whether it says other than before.
func (m *model) push(seq uint32, data []byte) (conflict bool) {
	for i, b := range data {
		at := seq - m.start + uint32(i)
		if int32(at) < 0 {
			continue
		}
		if was, ok := m.first[at]; ok {
			conflict = conflict || was != b
			continue
		}
		m.first[at] = b
	}
	return conflict
}

// read is what stands in order.
func (m *model) read() []byte {
	for {
		b, ok := m.first[uint32(len(m.out))]
		if !ok {
			return m.out
		}
		m.out = append(m.out, b)
	}
}

// judgeStream pushes a segment into both and compares them. It reports false
// when the stream has no room, which the model always has.
func judgeStream(tb reporter, s *stream, m *model, read []byte, seq uint32, data []byte) ([]byte, bool) {
	tb.Helper()
	before := s.conflicts
	conflict := m.push(seq, data)
	got, overflow := s.push(seq, data)
	read = append(read, got...)
	for held := s.pop(); held != nil; held = s.pop() {
		read = append(read, held...)
	}
	checkBounds(tb, s)
	if overflow {
		if len(s.held) < maxHeldPieces && s.heldBytes+len(data) <= maxHeld && seq-s.next <= maxHeld {
			tb.Fatalf("no room for %d bytes at %d, with %d held in %d pieces", len(data), seq-s.next, s.heldBytes, len(s.held))
		}
		return read, false
	}
	if want := m.read(); !bytes.Equal(want, read) {
		tb.Fatalf("bytes in order (-want +got):\n%s", cmp.Diff(string(want), string(read)))
	}
	if len(m.first) <= maxRecent && conflict != (s.conflicts > before) {
		tb.Fatalf("conflict %v, counted %d", conflict, s.conflicts-before)
	}
	return read, true
}

func checkBounds(tb reporter, s *stream) {
	tb.Helper()
	sum := 0
	for i, p := range s.held {
		sum += len(p.data)
		if len(p.data) == 0 || !before(s.next, p.seq) || i > 0 && !before(s.held[i-1].end(), p.seq) {
			tb.Fatalf("held piece %d of %d out of order", i, len(s.held))
		}
	}
	if sum != s.heldBytes || sum > maxHeld || len(s.held) > maxHeldPieces || len(s.recent) > maxRecent {
		tb.Fatalf("holds %d bytes (counts %d) in %d pieces, %d recent", sum, s.heldBytes, len(s.held), len(s.recent))
	}
}

func TestStreamAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.SampledFrom([]uint32{0, 1 << 31, 0xffffffff, 0xffffff80, 12345}).Draw(t, "start")
		whole := rapid.SliceOfN(rapid.ByteRange('a', 'd'), 1, 600).Draw(t, "whole")
		s, m := &stream{}, &model{start: start, first: make(map[uint32]byte)}
		s.start(start)
		var read []byte
		for range rapid.IntRange(1, 60).Draw(t, "segments") {
			from := rapid.IntRange(0, len(whole)-1).Draw(t, "from")
			n := rapid.IntRange(1, min(40, len(whole)-from)).Draw(t, "n")
			data := bytes.Clone(whole[from : from+n])
			if rapid.IntRange(0, 9).Draw(t, "forge") == 0 {
				data[rapid.IntRange(0, n-1).Draw(t, "at")] ^= 1
			}
			var room bool
			if read, room = judgeStream(t, s, m, read, start+uint32(from), data); !room {
				return
			}
		}
	})
}

// FuzzStream: each three bytes are a segment's offset, length and content.
func FuzzStream(f *testing.F) {
	f.Add(uint32(0), []byte{0, 3, 'a', 3, 3, 'b'})
	f.Add(uint32(0xfffffffe), []byte{3, 3, 'b', 0, 3, 'a'})
	f.Add(uint32(7), []byte{2, 9, 'b', 0, 9, 'a', 4, 1, 'c'})
	f.Fuzz(func(t *testing.T, start uint32, ops []byte) {
		s, m := &stream{}, &model{start: start, first: make(map[uint32]byte)}
		s.start(start)
		var read []byte
		for ops = ops[:min(len(ops), 300)]; len(ops) >= 3; ops = ops[3:] {
			data := bytes.Repeat(ops[2:3], int(ops[1])*(1+int(ops[0])%3))
			for i := range data {
				data[i] += byte(i) % 3
			}
			var room bool
			if read, room = judgeStream(t, s, m, read, start+4*uint32(ops[0]), data); !room {
				return
			}
		}
	})
}

func TestStreamCases(t *testing.T) {
	type push struct {
		seq  uint32
		data string
	}
	for _, c := range []struct {
		name      string
		start     uint32
		pushes    []push
		want      string
		conflicts int
	}{
		{"in order", 5, []push{{5, "ab"}, {7, "cd"}}, "abcd", 0},
		{"swapped", 5, []push{{7, "cd"}, {5, "ab"}}, "abcd", 0},
		{"over the wrap", 0xfffffffe, []push{{0, "cd"}, {0xfffffffe, "ab"}, {2, "e"}}, "abcde", 0},
		{"first copy of what is held counts", 0, []push{{2, "cd"}, {0, "abXY"}}, "abcd", 1},
		{"longer copy of what is held", 0, []push{{2, "c"}, {0, "abcdef"}}, "abcdef", 0},
		{"held twice, the second longer at both ends", 0, []push{{3, "d"}, {2, "cde"}, {0, "ab"}}, "abcde", 0},
		{"old bytes with other content", 0, []push{{0, "abcd"}, {1, "bX"}}, "abcd", 1},
		{"old and new", 0, []push{{0, "abcd"}, {2, "cdef"}}, "abcdef", 0},
		{"keep-alive", 10, []push{{9, "\x00"}, {10, "ab"}}, "ab", 0},
		{"backwards, a byte each", 0, []push{{3, "d"}, {2, "c"}, {1, "b"}, {0, "a"}}, "abcd", 0},
		{"pieces joined while one is held", 0, []push{{1, "b"}, {3, "d"}, {0, "abcd"}}, "abcd", 0},
		{"a hole stays", 0, []push{{0, "a"}, {2, "c"}}, "a", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &stream{}
			s.start(c.start)
			var got []byte
			for _, p := range c.pushes {
				data, overflow := s.push(p.seq, []byte(p.data))
				if overflow {
					t.Fatal("overflow")
				}
				got = append(got, data...)
				for held := s.pop(); held != nil; held = s.pop() {
					got = append(got, held...)
				}
			}
			if string(got) != c.want || s.conflicts != c.conflicts {
				t.Errorf("read %q with %d conflicts, want %q with %d", got, s.conflicts, c.want, c.conflicts)
			}
		})
	}
}

// A burst of one-byte segments in the worst order is one piece in the end, and
// more holes than pieces are too many.
func TestStreamPieces(t *testing.T) {
	s := &stream{}
	s.start(0)
	for at := uint32(1000); at > 0; at-- {
		if _, overflow := s.push(at, []byte{'x'}); overflow {
			t.Fatalf("overflow at %d", at)
		}
	}
	if len(s.held) != 1 || s.heldBytes != 1000 {
		t.Errorf("held %d bytes in %d pieces", s.heldBytes, len(s.held))
	}
	for at := uint32(2000); ; at += 2 {
		if _, overflow := s.push(at, []byte{'x'}); overflow {
			break
		}
		checkBounds(t, s)
	}
	if len(s.held) != maxHeldPieces {
		t.Errorf("overflow at %d pieces", len(s.held))
	}
}

func TestStreamForgetsWhatWasAcknowledged(t *testing.T) {
	s := &stream{}
	s.start(0)
	s.push(0, []byte("abcdef"))
	s.ack(4)
	s.push(0, []byte("XXXX"))
	if s.conflicts != 0 {
		t.Error("acknowledged bytes were compared")
	}
	s.push(4, []byte("eX"))
	if s.conflicts != 1 {
		t.Error("bytes that can still be replaced were not compared")
	}
	s.ack(2) // an old one
	if len(s.recent) != 2 {
		t.Errorf("an old acknowledgement changed what is kept: %q", s.recent)
	}
}
