package main

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
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

// cell is a text in a table's column: as it is when it is one printable word,
// else quoted as in Go source, and a dash when there is none.
func cell(s string) string {
	if s == "" {
		return "-"
	}
	for _, r := range s {
		if r == ' ' || r == '"' || r == '\ufffd' || !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}
