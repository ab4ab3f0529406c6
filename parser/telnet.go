package parser

// Telnet's bytes (RFC 854, "TELNET COMMAND STRUCTURE"), which may stand
// anywhere in a control connection (RFC 959 2.3).
const (
	telnetSE   = 240 // end of a subnegotiation; no command is smaller
	telnetSB   = 250 // begin of a subnegotiation
	telnetWILL = 251 // WILL, WONT, DO and DONT are followed by an option
	telnetDONT = 254
	telnetIAC  = 255 // "interpret as command"
)

// maxSubnegotiation is how many bytes a subnegotiation may have, its end
// included. The servers we know do not speak it at all and read its
// bytes as text; without a bound one IAC SB would hide the rest of a session.
const maxSubnegotiation = 1024

// telnetState is where in a telnet sequence the stream is.
type telnetState uint8

const (
	telnetText   telnetState = iota
	telnetCmd                // behind IAC
	telnetOption             // behind IAC WILL, WONT, DO or DONT
	telnetSub                // behind IAC SB
	telnetSubCmd             // behind an IAC in a subnegotiation
)

// telnet tells text from telnet commands, byte by byte. Commands are dropped
// and not acted on: erase character (EC) and erase line (EL), too, as no server
// that we know does either.
type telnet struct {
	state telnetState
	sub   int // bytes of this subnegotiation
}

// text says whether c belongs to the text. The second byte of IAC IAC does. So
// does a byte behind IAC that is no command: it comes from a client that
// forgot to double the 0xFF of a file name, and might be the line's end.
func (t *telnet) text(c byte) bool {
	switch t.state {
	case telnetText:
		if c != telnetIAC {
			return true
		}
		t.state = telnetCmd
	case telnetCmd:
		t.state = telnetText
		switch {
		case c == telnetIAC || c < telnetSE:
			return true
		case c == telnetSB:
			t.state, t.sub = telnetSub, 0
		case telnetWILL <= c && c <= telnetDONT:
			t.state = telnetOption
		}
	case telnetOption:
		t.state = telnetText
	case telnetSub, telnetSubCmd:
		t.sub++
		switch {
		case t.state == telnetSubCmd && c == telnetSE, t.sub == maxSubnegotiation:
			t.state = telnetText
		case t.state == telnetSub && c == telnetIAC:
			t.state = telnetSubCmd
		default:
			t.state = telnetSub
		}
	}
	return false
}
