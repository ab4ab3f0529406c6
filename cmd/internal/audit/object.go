package audit

import (
	"bytes"
	"net/netip"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// object appends the members of one JSON object, in the order of the calls.
// Members whose value is unknown (zero) are left out.
type object struct {
	buf   []byte
	comma bool
}

// key begins a member.
func (o *object) key(name string) {
	if o.comma {
		o.buf = append(o.buf, ',')
	}
	o.comma = true
	o.buf = append(o.buf, '"')
	o.buf = append(o.buf, name...)
	o.buf = append(o.buf, '"', ':')
}

// begin opens an object within this one; end closes it.
func (o *object) begin(name string) {
	o.key(name)
	o.buf = append(o.buf, '{')
	o.comma = false
}

func (o *object) end() {
	o.buf = append(o.buf, '}')
	o.comma = true
}

func (o *object) text(name, value string) {
	if value == "" {
		return
	}
	o.key(name)
	o.buf = appendString(o.buf, value)
}

// number writes the value even if it is zero.
func (o *object) number(name string, value uint64) {
	o.key(name)
	o.buf = strconv.AppendUint(o.buf, value, 10)
}

func (o *object) addr(name string, value netip.Addr) {
	if !value.IsValid() {
		return
	}
	o.key(name)
	o.buf = append(o.buf, '"')
	o.buf = value.WithZone("").AppendTo(o.buf)
	o.buf = append(o.buf, '"')
}

func (o *object) port(name string, value uint16) {
	if value != 0 {
		o.number(name, uint64(value))
	}
}

// seconds writes whole seconds as an integer and others with at most six
// digits; always with a point if fraction is set.
func (o *object) seconds(name string, micros int64, fraction bool) {
	o.key(name)
	start := len(o.buf)
	o.buf = strconv.AppendFloat(o.buf, float64(micros)/1e6, 'f', -1, 64)
	if fraction && bytes.IndexByte(o.buf[start:], '.') < 0 {
		o.buf = append(o.buf, '.', '0')
	}
}

func (o *object) flag(name string) {
	o.key(name)
	o.buf = append(o.buf, "true"...)
}

// appendString appends s as a JSON string of printable characters only: bytes
// that are not UTF-8 become U+FFFD, and all that a terminal or a parser of
// lines could act on (C0, DEL, C1, U+2028, direction marks) is escaped.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c < ' ' || c == 0x7f:
				dst = appendEscape(dst, uint16(c))
			default:
				dst = append(dst, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case strconv.IsPrint(r):
			dst = utf8.AppendRune(dst, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			dst = appendEscape(appendEscape(dst, uint16(high)), uint16(low))
		default:
			dst = appendEscape(dst, uint16(r))
		}
		i += n
	}
	return append(dst, '"')
}

// appendEscape appends a UTF-16 unit as \uXXXX (RFC 8259 7).
func appendEscape(dst []byte, unit uint16) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[unit>>12], hex[unit>>8&15], hex[unit>>4&15], hex[unit&15])
}
