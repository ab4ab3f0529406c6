package parser

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// replies reads lines and writes down what each of them was.
func replies(r *ReplyReader, lines ...string) []string {
	var out []string
	for _, l := range lines {
		rep, done := r.Line([]byte(l))
		switch {
		case done && rep.MultiLine:
			out = append(out, fmt.Sprintf("%d (multi) %s", rep.Code, rep.Text))
		case done:
			out = append(out, fmt.Sprintf("%d %s", rep.Code, rep.Text))
		case r.Garbage():
			out = append(out, "garbage")
		case r.InBlock():
			out = append(out, "...")
		default:
			out = append(out, "nothing")
		}
	}
	return out
}

func TestReplyReader(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines string // divided by |
		want  string
	}{
		{"one line", "220 ready", "220 ready"},
		{"without text", "220 |220", "220 |220 "},
		{"several", "331 password|230 in", "331 password|230 in"},
		{"blanks are text", "220  a ", "220  a "},
		{"block", "230-Welcome|to us|230 in", "...|...|230 (multi) in"},
		{"block ended by the bare code", "230-Welcome|230|200 ok", "...|230 (multi) |200 ok"},
		{"RFC 959 4.2", "123-First line|Second line|  234 A line beginning with numbers|123 The last line",
			"...|...|...|123 (multi) The last line"},
		{"another code in a block", "211-Status|227 Entering Passive Mode (192,0,2,1,195,75)|211 End", "...|...|211 (multi) End"},
		{"another bare code in a block", "211-Status|227|211 End", "...|...|211 (multi) End"},
		{"another block in a block", "211-Status|227-x|227 y|211 End", "...|...|...|211 (multi) End"},
		{"the code with a hyphen in its block", "227-a|227-b|227 c", "...|...|227 (multi) c"},
		{"the code indented in its block", "227-a| 227 (192,0,2,1,195,75)|227 c", "...|...|227 (multi) c"},
		{"the code glued to text in its block", "227-a|2270|227_|227\t|227 c", "...|...|...|...|227 (multi) c"},
		{"empty lines in a block", "214-Help||214 end", "...|...|214 (multi) end"},
		{"echo in an error", "550 227 Entering Passive Mode (192,0,2,1,0,139): no", "550 227 Entering Passive Mode (192,0,2,1,0,139): no"},
		{"tab behind the code", "220\tready", "garbage"},
		{"letters behind the code", "220x", "garbage"},
		{"two and four digits", "22|2200 a", "garbage|garbage"},
		{"no code", "HTTP/1.1 200 OK|SSH-2.0-x||  220 a", "garbage|garbage|garbage|garbage"},
		{"first digit", "020 a|120 a|520 a|631 a|700 a|999-a", "garbage|120 a|520 a|631 a|garbage|garbage"},
		{"other digits", "2a0 x|22a x|299 x", "garbage|garbage|299 x"},
		{"garbage between", "220 a|noise|331 b", "220 a|garbage|331 b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r ReplyReader
			got := replies(&r, strings.Split(tt.lines, "|")...)
			if diff := cmp.Diff(strings.Split(tt.want, "|"), got); diff != "" {
				t.Error(diff)
			}
			if r.InBlock() {
				t.Error("a block is left open")
			}
		})
	}
}

func TestReplyReaderOverlong(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, begin string
		lost          bool
		garbage       bool
		after, want   string
	}{
		{"opens a block", "", "220-xxx", false, false, "227 x|220 y", "...|220 (multi) y"},
		{"may be a reply", "", "227 xxx", true, false, "200 y", "200 y"},
		{"no reply", "", "xxx", false, true, "200 y", "200 y"},
		{"in a block", "211-a", "xxx", false, false, "211 y", "211 (multi) y"},
		{"in a block, another code", "211-a", "227 xxx", false, false, "211 y", "211 (multi) y"},
		{"in a block, another block", "211-a", "227-xxx", false, false, "227 x|211 y", "...|211 (multi) y"},
		{"in a block, its code", "211-a", "211 xxx", true, false, "200 x|211 y", "...|211 (multi) y"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r ReplyReader
			if tt.before != "" {
				replies(&r, tt.before)
			}
			if lost := r.Overlong([]byte(tt.begin)); lost != tt.lost {
				t.Errorf("lost is %v", lost)
			}
			if r.Garbage() != tt.garbage {
				t.Errorf("garbage is %v", r.Garbage())
			}
			if diff := cmp.Diff(strings.Split(tt.want, "|"), replies(&r, strings.Split(tt.after, "|")...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReplyReaderReset(t *testing.T) {
	var r ReplyReader
	replies(&r, "211-a")
	r.Reset()
	if diff := cmp.Diff([]string{"227 x"}, replies(&r, "227 x")); diff != "" {
		t.Error(diff)
	}
}

// A slow judge: the whole of a reply as RFC 959 4.2 describes it, found with
// regular expressions in the joined lines.
var (
	singleLine = regexp.MustCompile(`^([1-6][0-9][0-9])( (?s:.*))?$`)
	openLine   = regexp.MustCompile(`^([1-6][0-9][0-9])-`)
)

func judgeReplies(lines []string) []string {
	var out []string
	for i := 0; i < len(lines); i++ {
		if m := singleLine.FindStringSubmatch(lines[i]); m != nil {
			out = append(out, m[1]+" "+strings.TrimPrefix(m[2], " "))
			continue
		}
		m := openLine.FindStringSubmatch(lines[i])
		if m == nil {
			out = append(out, "garbage")
			continue
		}
		out = append(out, "...")
		for i++; i < len(lines); i++ {
			if lines[i] == m[1] || strings.HasPrefix(lines[i], m[1]+" ") {
				out = append(out, m[1]+" (multi) "+strings.TrimPrefix(lines[i][3:], " "))
				break
			}
			out = append(out, "...")
		}
	}
	return out
}

func TestReplyReaderJudged(t *testing.T) {
	line := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"220", "227", "211", "700", "22", ""}).Draw(t, "code") +
			rapid.SampledFrom([]string{" ", "-", "", "\t", "x", "- ", " -"}).Draw(t, "sep") +
			rapid.SampledFrom([]string{"", "a", "227 x"}).Draw(t, "text")
	})
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(line).Draw(t, "lines")
		var r ReplyReader
		if diff := cmp.Diff(judgeReplies(lines), replies(&r, lines...)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzReplyReader(f *testing.F) {
	f.Add("220 a\n211-b\n227 c\n211 d")
	f.Add("227-\n227\n2270 x\nHTTP/1.1 200 OK")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		var r ReplyReader
		if diff := cmp.Diff(judgeReplies(lines), replies(&r, lines...)); diff != "" {
			t.Fatal(diff)
		}
	})
}
