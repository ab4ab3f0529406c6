package parser

import (
	"bytes"
	"net/netip"
	"strconv"
)

// ParseExtended reads the argument of EPRT, |1|132.235.1.2|6275| (RFC 2428 2),
// with any delimiter but a digit. The address must be of the protocol's
// family, 1 for IPv4 and 2 for IPv6, in its usual text form and without a zone.
// An IPv4 address mapped into IPv6 is given as IPv4.
func ParseExtended(arg []byte) (Endpoint, error) {
	if len(arg) == 0 || !delimiter(arg[0]) {
		return Endpoint{}, errDelimiter
	}
	d := arg[:1]
	proto, rest, _ := bytes.Cut(arg[1:], d)
	host, rest, _ := bytes.Cut(rest, d)
	number, rest, closed := bytes.Cut(rest, d)
	if !closed || len(rest) != 0 {
		return Endpoint{}, errDelimiter
	}
	if len(proto) != 1 || proto[0] != '1' && proto[0] != '2' {
		return Endpoint{}, errFamily
	}
	addr, err := netip.ParseAddr(string(host))
	if err != nil || addr.Zone() != "" || addr.Is4() != (proto[0] == '1') {
		return Endpoint{}, errAddress
	}
	p, ok := port(number)
	if !ok {
		return Endpoint{}, errPort
	}
	return Endpoint{netip.AddrPortFrom(addr.Unmap(), p), 0, len(arg)}, nil
}

// ParseExtendedPassive reads the text of a 229 reply, (|||6446|) behind any
// text (RFC 2428 3), with any delimiter but a digit and with the first two fields
// empty. Start and End enclose |||6446|.
//
// curl, lftp, tnftp, wget and ftplib look behind the first parenthesis only,
// others search for "(|||". So an earlier parenthesis does not matter, but a second
// endpoint does. The closing parenthesis may be missing, as for curl, lftp and
// tnftp. Without the opening one nearly all clients find nothing, whatever
// follows; only lftp then takes an endpoint that the text begins with, and so
// it is read here.
func ParseExtendedPassive(text []byte) (Endpoint, error) {
	var found Endpoint
	i := bytes.IndexByte(text, '(') + 1 // 0 when there is none
	for {
		if n := triple(text[i:]); n > 0 {
			if found.End != 0 {
				return Endpoint{}, errTwo
			}
			found.Start, found.End = i, i+n
		}
		next := bytes.IndexByte(text[i:], '(')
		if next < 0 {
			break
		}
		i += next + 1
	}
	if found.End == 0 {
		return Endpoint{}, errDelimiter
	}
	p, ok := port(text[found.Start+3 : found.End-1])
	if !ok {
		return Endpoint{}, errPort
	}
	found.Addr = netip.AddrPortFrom(netip.Addr{}, p)
	return found, nil
}

// triple gives the length of the three delimiters, digits and delimiter that b
// begins with, or 0.
func triple(b []byte) int {
	if len(b) < 5 || !delimiter(b[0]) || b[1] != b[0] || b[2] != b[0] || !digit(b[3]) {
		return 0
	}
	n := 4
	for n < len(b) && digit(b[n]) {
		n++
	}
	if n == len(b) || b[n] != b[0] {
		return 0
	}
	return n + 1
}

// AppendExtended writes the argument of EPRT, with the given delimiter if it
// cannot be mistaken for a part of an address, and else with '|'. A zone is
// left out. Nothing is appended for an address that is not valid.
func AppendExtended(dst []byte, delim byte, ap netip.AddrPort) []byte {
	addr := ap.Addr().Unmap().WithZone("")
	if !addr.IsValid() {
		return dst
	}
	if c := upper(delim); !delimiter(c) || c == '.' || c == ':' || 'A' <= c && c <= 'F' {
		delim = '|'
	}
	proto := byte('2')
	if addr.Is4() {
		proto = '1'
	}
	dst = append(dst, delim, proto, delim)
	dst = append(addr.AppendTo(dst), delim)
	return append(strconv.AppendUint(dst, uint64(ap.Port()), 10), delim)
}

// AppendExtendedPassive writes the part of a 229 reply that Endpoint encloses,
// |||6446|, with the given delimiter, or '|' if it is none. The parentheses
// are the text's.
func AppendExtendedPassive(dst []byte, delim byte, port uint16) []byte {
	if !delimiter(delim) {
		delim = '|'
	}
	dst = append(dst, delim, delim, delim)
	return append(strconv.AppendUint(dst, uint64(port), 10), delim)
}
