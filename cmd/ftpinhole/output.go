package main

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode/utf16"

	"ftpinhole/cmd/internal/cell"
)

// printJSON prints v on one line.
func printJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, printable(string(b))+"\n")
	return err
}

// printable escapes what encoding/json leaves in strings although a terminal
// may act on it: DEL, C1 controls, direction marks. Outside of strings JSON has
// none of these.
func printable(doc string) string {
	var b strings.Builder
	for _, r := range doc {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			b.WriteString(`\u` + strconv.FormatUint(0x10000+uint64(unit), 16)[1:])
		}
	}
	return b.String()
}

// cells are texts as a table has them.
func cells(texts ...string) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = cell.Of(t)
	}
	return out
}

// longest is how many characters a table has of what comes from the wire; the
// other formats have all of it.
const longest = 60

// shorter cuts the cells of a row that may be long.
func shorter(row []string, columns ...int) []string {
	for _, column := range columns {
		if text := []rune(row[column]); len(text) > longest {
			row[column] = string(text[:longest-1]) + "…"
		}
	}
	return row
}

// printAligned prints rows of cells, the first of which has the titles, in
// columns; those that are named have numbers, whose ends stand below each other.
func printAligned(w io.Writer, rows [][]string, numbers ...int) error {
	for _, column := range numbers {
		widest := 0
		for _, r := range rows {
			widest = max(widest, len(r[column]))
		}
		for _, r := range rows {
			r[column] = strings.Repeat(" ", widest-len(r[column])) + r[column]
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		io.WriteString(t, strings.Join(r, "\t")+"\n")
	}
	return t.Flush()
}
