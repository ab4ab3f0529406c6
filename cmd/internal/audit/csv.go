package audit

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// CSVText is a text from the wire for a spreadsheet: what is not printable is
// quoted as in Go source, and what would be taken for a formula has a ' before
// it.
func CSVText(s string) string {
	for _, r := range s {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			s = strconv.Quote(s)
			break
		}
	}
	if strings.HasPrefix(s, "'") || strings.ContainsAny(s[:min(1, len(s))], "=+-@") {
		return "'" + s
	}
	return s
}
