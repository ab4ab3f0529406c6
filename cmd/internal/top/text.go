package top

import (
	"strconv"
	"strings"

	"ftpinhole/cmd/internal/cell"

	"github.com/charmbracelet/x/ansi"
)

// sentence is a text on one line, with nothing that a terminal acts on.
func sentence(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case strconv.IsPrint(r) && !cell.Joins(r):
			return r
		}
		return '\ufffd'
	}, s)
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
