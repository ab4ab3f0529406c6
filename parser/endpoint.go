package parser

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrMalformed is the one error of this package: the text does not name an
// endpoint, or not in a way that all programs would read alike.
var ErrMalformed = errors.New("malformed endpoint")

// What is wrong; each wraps ErrMalformed. They are made once, so that a flood
// of bad lines costs no memory.
var (
	errSixNumbers = fmt.Errorf("%w: not exactly six numbers divided by commas", ErrMalformed)
	errOctet      = fmt.Errorf("%w: a number is over 255 or has more than three digits", ErrMalformed)
	errGlued      = fmt.Errorf("%w: the six numbers are part of something longer", ErrMalformed)
	errTwo        = fmt.Errorf("%w: more than one endpoint", ErrMalformed)
	errDelimiter  = fmt.Errorf("%w: no delimiter, or not the same at all places", ErrMalformed)
	errFamily     = fmt.Errorf("%w: the protocol is not 1 or 2", ErrMalformed)
	errAddress    = fmt.Errorf("%w: no address of the protocol's family", ErrMalformed)
	errPort       = fmt.Errorf("%w: the port is not 1 to 5 digits, or over 65535", ErrMalformed)
)

// Endpoint is what a line names as one end of the data connection to come.
type Endpoint struct {
	// Addr is unmapped and has no zone. Port 0 is possible. A 229 reply
	// names no address: there Addr.Addr() is not valid.
	Addr netip.AddrPort
	// Start and End are where it stands in the text that was read: the bytes
	// that are to be replaced to write another endpoint.
	Start, End int
}

// port reads a port number: 1 to 5 digits, decimal also with leading zeros.
func port(b []byte) (uint16, bool) {
	if len(b) < 1 || len(b) > 5 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if !digit(c) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return uint16(n), n <= 65535
}

// delimiter says whether c can divide the fields of RFC 2428 2: ASCII 33 to 126
// but no digit, which could not be told from a field.
func delimiter(c byte) bool { return c >= 33 && c <= 126 && !digit(c) }
