package top

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// word is a text from the wire as it is when it is one printable word, else
// quoted as in Go source, and a dash when there is none. What would join with
// the cell beside it (combining marks) is escaped too.
func word(s string) string {
	if s == "" {
		return "-"
	}
	out := s
	for _, r := range s {
		if r == ' ' || r == '"' || r == '\ufffd' || !strconv.IsPrint(r) {
			out = strconv.Quote(s)
			break
		}
	}
	if strings.ContainsFunc(out, joins) {
		return strconv.QuoteToASCII(s)
	}
	return out
}

// sentence is a text on one line, with nothing that a terminal acts on.
func sentence(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case strconv.IsPrint(r) && !joins(r):
			return r
		}
		return '\ufffd'
	}, s)
}

// joins says whether the character forms one with its neighbours, even with
// the space between two cells: combining marks, and some letters of Indic scripts.
func joins(r rune) bool {
	if r < utf8.RuneSelf {
		return false
	}
	return unicode.IsMark(r) || ansi.StringWidth(" "+string(r)+" ") != ansi.StringWidth(string(r))+2
}

// width is how many columns of the terminal s takes.
func width(s string) int {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return ansi.StringWidth(s)
		}
	}
	return len(s)
}

// fit makes s exactly as wide as n columns. Of what is too long the beginning
// is left, or the end (of an address, where its port is).
func fit(s string, n int, end bool) string {
	n = max(n, 0)
	switch w := width(s); {
	case w <= n:
	case end && n > 0:
		s = ansi.TruncateLeft(s, w-n+1, "…")
	default:
		s = ansi.Truncate(s, n, "…")
	}
	return s + strings.Repeat(" ", max(0, n-width(s)))
}
