package parser

import (
	"net/netip"
	"strconv"
)

// ParseHostPort reads the argument of PORT, h1,h2,h3,h4,p1,p2 (RFC 959 4.1.2):
// six decimal numbers of one to three digits up to 255. Blanks around the
// numbers do not matter. A leading zero does not make a number octal.
func ParseHostPort(arg []byte) (Endpoint, error) {
	var t tuple
	i := blanks(arg)
	t.start = i
	for {
		n := t.number(arg[i:])
		if n == 0 {
			return Endpoint{}, errSixNumbers
		}
		i += n
		t.end = i
		i += blanks(arg[i:])
		if i == len(arg) {
			return t.endpoint()
		}
		if arg[i] != ',' {
			return Endpoint{}, errSixNumbers
		}
		i++
		i += blanks(arg[i:])
	}
}

// ParsePassive reads the text of a 227 reply (RFC 959 4.1.2, PASV), which RFC
// 1123 4.1.2.6 says is to be searched for the six numbers: with parentheses
// or without, behind any text, also with digits in it, and with blanks behind
// the commas.
//
// Clients search in different ways: curl and lftp try at every place, Python's
// ftplib takes the first six numbers, tnftp, wget and ncftp begin at the first
// digit and may find nothing; blanks are nothing for ftplib and wget. So there
// must be one row of six or more numbers, it must be one of exactly six in
// range, and it must not touch a letter or a sign: then whoever finds an endpoint
// at all finds this one. Other bytes may touch it: full-width parentheses do.
func ParsePassive(text []byte) (Endpoint, error) {
	var found tuple
	for i := 0; i < len(text); {
		if !digit(text[i]) {
			i++
			continue
		}
		t := row(text, i)
		i = t.end
		if t.n < 6 {
			continue
		}
		if found.n != 0 {
			return Endpoint{}, errTwo
		}
		found = t
	}
	if found.n != 0 && glued(text, found) {
		return Endpoint{}, errGlued
	}
	return found.endpoint()
}

// tuple is a row of numbers.
type tuple struct {
	b          [6]byte
	n          int  // how many numbers
	large      bool // one of them is no octet
	start, end int
}

// number takes the digits that b begins with as the next number, and says how
// many they are.
func (t *tuple) number(b []byte) int {
	v, n := 0, 0
	for n < len(b) && digit(b[n]) {
		if n < 3 {
			v = v*10 + int(b[n]-'0')
		}
		n++
	}
	if n > 3 || v > 255 {
		t.large = true
	}
	if n > 0 && t.n < len(t.b) {
		t.b[t.n] = byte(v)
	}
	if n > 0 {
		t.n++
	}
	return n
}

func (t *tuple) endpoint() (Endpoint, error) {
	if t.n != len(t.b) {
		return Endpoint{}, errSixNumbers
	}
	if t.large {
		return Endpoint{}, errOctet
	}
	addr := netip.AddrFrom4([4]byte(t.b[:4]))
	port := uint16(t.b[4])<<8 | uint16(t.b[5])
	return Endpoint{netip.AddrPortFrom(addr, port), t.start, t.end}, nil
}

// row reads the numbers that begin at text[i], a digit, as long as a comma and
// then, perhaps behind blanks, another number follows.
func row(text []byte, i int) tuple {
	t := tuple{start: i}
	for {
		t.end = i + t.number(text[i:])
		i = t.end
		if i == len(text) || text[i] != ',' {
			return t
		}
		i++
		i += blanks(text[i:])
		if i == len(text) || !digit(text[i]) {
			return t
		}
	}
}

// glued says whether the row touches something that makes its first or last
// number a part of another word or number.
func glued(text []byte, t tuple) bool {
	if t.start > 0 {
		c := text[t.start-1]
		if word(c) || sign(c) {
			return true
		}
	}
	after := text[t.end:]
	n := 0
	for n < len(after) && sign(after[n]) {
		n++
	}
	return n < len(after) && (n == 0 && word(after[0]) || n > 0 && digit(after[n]))
}

func word(c byte) bool {
	return digit(c) || 'A' <= upper(c) && upper(c) <= 'Z' || c == '_'
}

func sign(c byte) bool { return c == '+' || c == '-' || c == '.' || c == ',' }

// AppendHostPort writes the argument of PORT. What is not IPv4, or IPv4 mapped
// into IPv6, cannot be written in this form: then nothing is appended.
func AppendHostPort(dst []byte, ap netip.AddrPort) []byte {
	addr := ap.Addr().Unmap()
	if !addr.Is4() {
		return dst
	}
	for _, b := range addr.As4() {
		dst = strconv.AppendUint(dst, uint64(b), 10)
		dst = append(dst, ',')
	}
	dst = strconv.AppendUint(dst, uint64(ap.Port()>>8), 10)
	dst = append(dst, ',')
	return strconv.AppendUint(dst, uint64(ap.Port()&0xff), 10)
}

// AppendPassive writes the six numbers of a 227 reply: those of PORT. The
// parentheses are the text's.
func AppendPassive(dst []byte, ap netip.AddrPort) []byte {
	return AppendHostPort(dst, ap)
}
