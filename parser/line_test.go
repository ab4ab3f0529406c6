package parser

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// kept is a Line that outlives its reader.
type kept struct {
	Text     string
	Offset   uint64
	RawLen   int
	Overlong bool
	Plain    bool
}

// feed gives b to r and keeps the lines.
func feed(r *LineReader, b []byte) []kept {
	var lines []kept
	for l, rest, ok := r.Next(b); ok; l, rest, ok = r.Next(rest) {
		lines = append(lines, kept{string(l.Text), l.Offset, l.RawLen, l.Overlong, l.Plain})
	}
	return lines
}

func TestLineReader(t *testing.T) {
	sub := func(n int) string { return "\xff\xfa" + strings.Repeat("x", n) }
	for _, tt := range []struct {
		name string
		in   string
		want []kept
		mid  bool
	}{
		{"nothing", "", nil, false},
		{"CR LF", "PASV\r\n", []kept{{"PASV", 0, 6, false, true}}, false},
		{"bare LF", "PASV\n", []kept{{"PASV", 0, 5, false, true}}, false},
		{"two CR", "PASV\r\r\n", []kept{{"PASV", 0, 7, false, true}}, false},
		{"empty lines", "\r\n\n", []kept{{"", 0, 2, false, true}, {"", 2, 1, false, true}}, false},
		{"bare CR ends nothing", "PASV\rQUIT\r\n", []kept{{"PASV\rQUIT", 0, 11, false, true}}, false},
		{"no line end", "PASV\r", nil, true},
		{"several", "A\r\nB\nC", []kept{{"A", 0, 3, false, true}, {"B", 3, 2, false, true}}, true},
		{"NUL", "P\x00ASV\x00\r\n", []kept{{"PASV", 0, 8, false, false}}, false},
		{"CR NUL", "PA\r\x00SV\r\x00\r\n", []kept{{"PASV", 0, 10, false, false}}, false},
		{"CR NUL first", "\r\x00PASV\r\n", []kept{{"PASV", 0, 8, false, false}}, false},
		{"synch before ABOR", "\xff\xf4\xff\xf2ABOR\r\n", []kept{{"ABOR", 0, 10, false, false}}, false},
		{"erase character and line", "PAX\xff\xf7SV\xff\xf8\r\n", []kept{{"PAXSV", 0, 11, false, false}}, false},
		{"backspace stays", "PAX\bSV\r\n", []kept{{"PAX\bSV", 0, 8, false, true}}, false},
		{"options", "\xff\xfb\x01\xff\xfc\x02\xff\xfd\x03\xff\xfe\x04PASV\r\n", []kept{{"PASV", 0, 18, false, false}}, false},
		{"option that equals LF", "PA\xff\xfb\nSV\r\n", []kept{{"PASV", 0, 9, false, false}}, false},
		{"option that equals IAC", "PA\xff\xfb\xffSV\r\n", []kept{{"PASV", 0, 9, false, false}}, false},
		{"literal 255", "RETR \xff\xff\r\n", []kept{{"RETR \xff", 0, 9, false, false}}, false},
		{"255 not doubled", "RETR \xffa\r\n", []kept{{"RETR a", 0, 9, false, false}}, false},
		{"255 not doubled at the end", "RETR \xff\r\nB\n", []kept{{"RETR ", 0, 8, false, false}, {"B", 8, 2, false, true}}, false},
		{"255 before a bare LF", "RETR \xff\nB\n", []kept{{"RETR ", 0, 7, false, false}, {"B", 7, 2, false, true}}, false},
		{"subnegotiation", "PA\xff\xfa\x18\x00x\n\xff\xff\xff\xf0SV\r\n", []kept{{"PASV", 0, 16, false, false}}, false},
		{"subnegotiation with a command in it", "\xff\xfa\x18\xff\xf1\xf0\xff\xf0PASV\n", []kept{{"PASV", 0, 13, false, false}}, false},
		{"SE alone", "\xff\xf0PASV\r\n", []kept{{"PASV", 0, 8, false, false}}, false},
		{"longest subnegotiation", sub(1022) + "\xff\xf0A\n", []kept{{"A", 0, 1028, false, false}}, false},
		{"endless subnegotiation", sub(1024) + "A\nB\n", []kept{{"A", 0, 1028, false, false}, {"B", 1028, 2, false, true}}, false},
		{"open subnegotiation", sub(3), nil, true},
		{"line at the limit", strings.Repeat("x", 4096) + "\nB\n",
			[]kept{{strings.Repeat("x", 4096), 0, 4097, false, true}, {"B", 4097, 2, false, true}}, false},
		{"line over the limit", strings.Repeat("x", 4097) + "yy\r\nB\n",
			[]kept{{strings.Repeat("x", 4096), 0, 4097, true, true}, {"B", 4101, 2, false, true}}, false},
		{"line without end", strings.Repeat("x", 1<<16), []kept{{strings.Repeat("x", 4096), 0, 4097, true, true}}, true},
		{"NULs without end", strings.Repeat("\x00", 5000) + "A\nB\n",
			[]kept{{"", 0, 4097, true, false}, {"B", 5002, 2, false, true}}, false},
		{"option in the rest of an overlong line", strings.Repeat("x", 4097) + "\xff\xfb\nA\nB\n",
			[]kept{{strings.Repeat("x", 4096), 0, 4097, true, true}, {"B", 4102, 2, false, true}}, false},
		{"byte over the limit is stripped", strings.Repeat("x", 4096) + "\x00\n",
			[]kept{{strings.Repeat("x", 4096), 0, 4097, true, true}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r LineReader
			if diff := cmp.Diff(tt.want, feed(&r, []byte(tt.in))); diff != "" {
				t.Error(diff)
			}
			if r.MidLine() != tt.mid {
				t.Errorf("MidLine is %v", r.MidLine())
			}
		})
	}
}

func TestLineReaderLimit(t *testing.T) {
	r := NewLineReader(4)
	want := []kept{{"PASV", 0, 5, false, true}, {"PASV", 5, 5, true, true}, {"QUIT", 11, 5, false, true}}
	if diff := cmp.Diff(want, feed(r, []byte("PASV\nPASV\r\nQUIT\n"))); diff != "" {
		t.Error(diff)
	}
}

func TestLineReaderResync(t *testing.T) {
	r := NewLineReader(0)
	feed(r, []byte("PO"))
	r.Resync()
	if !r.MidLine() {
		t.Error("after Resync the next byte begins no line")
	}
	if !r.Resynced() {
		t.Error("something was fed after Resync")
	}
	// What comes may be the end of a lost line, however much it looks like one.
	line, rest, ok := r.Next([]byte("PORT 192,0,2,1,195,75 end \r\nPASV\r\n"))
	if !ok || !line.Cut || string(line.Text) != "PORT 192,0,2,1,195,75 end " || r.Resynced() {
		t.Errorf("after Resync %+v, %v", line, ok)
	}
	if line, rest, ok = r.Next(rest); !ok || line.Cut || string(line.Text) != "PASV" || len(rest) > 0 {
		t.Errorf("behind it %+v, %v", line, ok)
	}

	// A telnet command that the gap cut open does not eat the line end.
	feed(r, []byte("A\xff\xfb"))
	r.Resync()
	if diff := cmp.Diff([]kept{{"", 39, 1, false, true}, {"QUIT", 40, 5, false, true}}, feed(r, []byte("\nQUIT\n"))); diff != "" {
		t.Error(diff)
	}

	// A line that is cut is no beginning of one, and its rest may be overlong.
	r.Resync()
	if _, _, ok := r.Next([]byte("PORT 1")); ok {
		t.Error("half a line is a line")
	}
	if _, ok := r.Partial(); ok || !r.MidLine() || r.Resynced() {
		t.Error("half a cut line is taken for a beginning")
	}
	if line, _, ok := r.Next([]byte(strings.Repeat("x", MaxLine))); !ok || !line.Cut || !line.Overlong {
		t.Errorf("an overlong rest: cut %v, overlong %v", line.Cut, line.Overlong)
	}
	feed(r, []byte("y\n"))

	feed(r, []byte("half\xff"))
	r.Reset()
	if r.MidLine() {
		t.Error("after Reset there is a line")
	}
	if diff := cmp.Diff([]kept{{"NOOP", 0, 5, false, true}}, feed(r, []byte("NOOP\n"))); diff != "" {
		t.Error(diff)
	}
}

// Any cut of a stream gives the same lines.
func TestLineReaderAnyCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stream := rapid.SliceOf(rapid.OneOf(
			rapid.SampledFrom([]byte("A \r\n\n\x00\xff\xff\xf0\xfa\xfb\xfe\xf4")), rapid.Byte())).Draw(t, "stream")
		limit := rapid.IntRange(1, 40).Draw(t, "limit")
		whole := NewLineReader(limit)
		want := feed(whole, stream)

		cut := NewLineReader(limit)
		var got []kept
		for rest := stream; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			got = append(got, feed(cut, rest[:n])...)
			rest = rest[n:]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if whole.MidLine() != cut.MidLine() {
			t.Fatal("MidLine differs")
		}
	})
}

func FuzzLineReader(f *testing.F) {
	f.Add([]byte("USER a\r\nPASV\n\xff\xf4\xff\xf2ABOR\r\n"), uint8(3), uint8(9))
	f.Add([]byte("\xff\xfa\x01\n\xff\xf0A\r\x00\r\n"), uint8(1), uint8(200))
	f.Add([]byte("RETR \xff\xff\xff\nB\n"), uint8(7), uint8(0))
	f.Fuzz(func(t *testing.T, stream []byte, piece, limit uint8) {
		r := NewLineReader(int(limit))
		var got []kept
		for b := range slices.Chunk(stream, int(piece)+1) {
			got = append(got, feed(r, b)...)
		}
		if diff := cmp.Diff(feed(NewLineReader(int(limit)), stream), got); diff != "" {
			t.Fatal(diff)
		}
		most := int(limit)
		if most == 0 {
			most = MaxLine
		}
		var end uint64
		for _, l := range got {
			raw := stream[l.Offset:][:l.RawLen]
			switch {
			case l.Offset < end:
				t.Fatalf("%+v begins before %d", l, end)
			case l.Offset > 0 && stream[l.Offset-1] != '\n':
				t.Fatalf("%+v begins behind no line end", l)
			case len(l.Text) > most || l.RawLen > most+1:
				t.Fatalf("%+v is over the limit %d", l, most)
			case l.Overlong && l.RawLen != most+1:
				t.Fatalf("%+v is not too long for %d", l, most)
			case strings.ContainsAny(l.Text, "\x00\n"):
				t.Fatalf("%+v has a NUL or LF", l)
			case l.Overlong && l.Plain && string(raw[:most]) != l.Text:
				t.Fatalf("%+v is not %q", l, raw)
			case !l.Overlong && raw[len(raw)-1] != '\n':
				t.Fatalf("%+v ends without LF", l)
			case !l.Overlong && l.Plain && string(bytes.TrimRight(raw[:len(raw)-1], "\r")) != l.Text:
				t.Fatalf("%+v is not %q", l, raw)
			case !l.Plain && bytes.IndexByte(raw, 0) < 0 && bytes.IndexByte(raw, 255) < 0:
				t.Fatalf("%+v: nothing to strip in %q", l, raw)
			}
			end = l.Offset + uint64(l.RawLen)
		}
		// Without telnet and NUL it is but a split at LF.
		if bytes.ContainsAny(stream, "\x00") || bytes.IndexByte(stream, 255) >= 0 {
			return
		}
		lines := bytes.SplitAfter(stream, []byte("\n"))
		n := 0
		for _, l := range lines {
			if !bytes.HasSuffix(l, []byte("\n")) && len(l) <= most {
				continue
			}
			if n >= len(got) || got[n].Overlong != (len(bytes.TrimSuffix(l, []byte("\n"))) > most) {
				t.Fatalf("line %d of %q: %+v", n, stream, got)
			}
			n++
		}
		if n != len(got) {
			t.Fatalf("%d lines, want %d", len(got), n)
		}
	})
}

func TestPartial(t *testing.T) {
	for in, want := range map[string]struct {
		text  string
		raw   int
		plain bool
		ok    bool
	}{
		"":                 {},
		"NOOP\r\n":         {},
		"NOOP\r\nPO":       {"PO", 2, true, true},
		"PORT 1\r":         {"PORT 1\r", 7, true, true},
		"\xff\xf1PORT":     {"PORT", 6, false, true},
		"overlong line\nx": {"x", 1, true, true},
		"overlong line":    {}, // it is skipped
	} {
		r := NewLineReader(10)
		for line, rest, ok := r.Next([]byte(in)); ok; line, rest, ok = r.Next(rest) {
			_ = line
		}
		got, ok := r.Partial()
		if ok != want.ok || string(got.Text) != want.text || got.RawLen != want.raw || got.Plain != want.plain {
			t.Errorf("%q: %+v, %v", in, got, ok)
		}
	}
}
