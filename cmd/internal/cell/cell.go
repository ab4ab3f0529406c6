package cell

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// Of is a text as it is when it is one printable word, else quoted as in Go
// source, and a dash when there is none. What would join with the cell beside it
// (combining marks) is escaped too.
func Of(s string) string {
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
	if strings.ContainsFunc(out, Joins) {
		return strconv.QuoteToASCII(s)
	}
	return out
}

// Joins says whether the character forms one with its neighbours, even with
// the space between two cells: combining marks, and some letters of Indic scripts.
func Joins(r rune) bool {
	if r < utf8.RuneSelf {
		return false
	}
	return unicode.IsMark(r) || ansi.StringWidth(" "+string(r)+" ") != ansi.StringWidth(string(r))+2
}
