package audit

import (
	"encoding/csv"
	"strconv"
	"strings"
	"testing"
)

// A cell of a spreadsheet is never a formula, and has nothing that a terminal
// acts on.
func FuzzCSVText(f *testing.F) {
	for _, s := range []string{"", "anonymous", "=1+1", "+1", "-1", "@a", "'=1", "\t=1", "\r", "a\x1b[2J", "\xff", "\u202e", "a,\"b\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := CSVText(s)
		if strings.ContainsFunc(got, func(r rune) bool { return !strconv.IsPrint(r) }) || strings.ContainsAny(got, "\r\n\t\x1b") || got != "" && strings.ContainsAny(got[:1], "=+-@") {
			t.Errorf("%q became %q", s, got)
		}
		var b strings.Builder
		w := csv.NewWriter(&b)
		w.Write([]string{got, "next"})
		w.Flush()
		if back, err := csv.NewReader(strings.NewReader(b.String())).Read(); err != nil || len(back) != 2 || back[0] != got {
			t.Errorf("%q is read as %q (%v)", got, back, err)
		}
	})
}
