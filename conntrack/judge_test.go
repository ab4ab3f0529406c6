package conntrack

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"ftpinhole/parser"
)

// said is one whole line of a dialogue.
type said struct {
	client bool
	text   string
}

// judge is a second, slow and simple reading of law 5: it looks at the whole
// dialogue up to a line and says whether that line may open something. It
// does not tell which command a reply belongs to, only that one of the right
// kind waits; so it permits at least what the tracker may.
type judge struct {
	lines []said
	// What the other side knows client and server by, where that is translated.
	client, server netip.Addr
	peer           bool // 227 means the server, whatever it says
}

// replies are the final lines of the server's replies, with their places.
func (j judge) replies() (at []int, codes []int) {
	block := ""
	for i, l := range j.lines {
		if l.client || len(l.text) < 3 {
			continue
		}
		code, rest := l.text[:3], l.text[3:]
		digits := code[0] >= '1' && code[0] <= '6' && code[1] >= '0' && code[1] <= '9' && code[2] >= '0' && code[2] <= '9'
		end := digits && (rest == "" || rest[0] == ' ')
		switch {
		case block != "" && (code != block || !end):
		case end:
			block = ""
			at = append(at, i)
			codes = append(codes, int(code[0]-'0')*100+int(code[1]-'0')*10+int(code[2]-'0'))
		case digits && rest[0] == '-':
			block = code
		}
	}
	return at, codes
}

// verbs are the verbs of the client's lines, with their places; blank lines
// are no commands.
func (j judge) verbs() (at []int, verbs []parser.Verb) {
	for i, l := range j.lines {
		if l.client && len(bytes.TrimSpace([]byte(l.text))) > 0 {
			at = append(at, i)
			verbs = append(verbs, parser.ParseCommand([]byte(l.text)).Verb)
		}
	}
	return at, verbs
}

// mayOpen says what the last line may open, or "".
func (j judge) mayOpen() string {
	last := len(j.lines) - 1
	line := j.lines[last]
	_, verbs := j.verbs()
	replyAt, codes := j.replies()
	if len(verbs) == 0 || !verbs[0].Known() || !j.loggedIn(codes) {
		return ""
	}
	cmd := parser.ParseCommand([]byte(line.text))
	switch {
	case line.client && cmd.Verb == parser.PORT:
		e, err := parser.ParseHostPort(cmd.Arg)
		return permitted("PORT", testClient.Addr(), j.client, e.Addr, err)
	case line.client && cmd.Verb == parser.EPRT:
		e, err := parser.ParseExtended(cmd.Arg)
		return permitted("EPRT", testClient.Addr(), j.client, e.Addr, err)
	case line.client || len(replyAt) == 0 || replyAt[len(replyAt)-1] != last:
		return ""
	}
	switch code := codes[len(codes)-1]; {
	case code == 227 && j.waits(parser.PASV, replyAt, codes):
		e, err := parser.ParsePassive([]byte(line.text[3:]))
		if j.peer && err == nil {
			e.Addr = netip.AddrPortFrom(testServer.Addr(), e.Addr.Port())
		}
		return permitted("PASV", testServer.Addr(), j.server, e.Addr, err)
	case code == 229 && j.waits(parser.EPSV, replyAt, codes):
		e, err := parser.ParseExtendedPassive([]byte(line.text[3:]))
		return permitted("EPSV", testServer.Addr(), j.server, netip.AddrPortFrom(testServer.Addr(), e.Addr.Port()), err)
	}
	return ""
}

// loggedIn says whether there was a greeting, and later a login that nothing
// has ended for sure.
func (j judge) loggedIn(codes []int) bool {
	codes = slices.DeleteFunc(slices.Clone(codes), func(c int) bool { return c < 200 })
	if len(codes) == 0 || codes[0] != 220 || slices.Contains(codes, 421) {
		return false
	}
	return slices.Contains(codes, 230) || slices.Contains(codes, 232)
}

// blind says whether the dialogue has gone over to TLS: AUTH or ADAT, and
// later 234 or 235.
func (j judge) blind() bool {
	at, verbs := j.verbs()
	first := slices.IndexFunc(verbs, func(v parser.Verb) bool { return v == parser.AUTH || v == parser.ADAT })
	if first < 0 {
		return false
	}
	replyAt, codes := j.replies()
	greeted := false
	for i, code := range codes {
		if greeted && replyAt[i] > at[first] && (code == 234 || code == 235) {
			return true
		}
		greeted = greeted || code == 220
	}
	return false
}

// waits says whether a PASV or EPSV waits for the last reply. Another reply
// of its kind has answered an earlier one.
func (j judge) waits(asks parser.Verb, replyAt, codes []int) bool {
	waiting, code := 0, codes[len(codes)-1]
	for i, l := range j.lines {
		switch at := slices.Index(replyAt, i); {
		case l.client && parser.ParseCommand([]byte(l.text)).Verb == asks:
			waiting++
		case at >= 0 && at < len(replyAt)-1 && codes[at] == code && waiting > 0:
			waiting--
		}
	}
	return waiting > 0
}

func permitted(command string, own, outer netip.Addr, e netip.AddrPort, err error) string {
	if err == nil && e.Addr() == outer {
		e = netip.AddrPortFrom(own, e.Port())
	}
	if err != nil || e.Addr() != own || e.Port() < 1024 || e.Port() == 2121 {
		return ""
	}
	return fmt.Sprintf("open %s %v", command, e)
}
