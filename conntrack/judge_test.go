package conntrack

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

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
	// 227 means the server, PORT and EPRT the client, whatever they say.
	pasvAny, portAny bool
	// What client and server sent after the dialogue had gone over to TLS.
	hidden [2][]byte
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
// are no commands, and OPEN is none of FTP's.
func (j judge) verbs() (at []int, verbs []parser.Verb) {
	for i, l := range j.lines {
		if verb := parser.ParseCommand([]byte(l.text)).Verb; l.client && verb != parser.OPEN && len(bytes.TrimSpace([]byte(l.text))) > 0 {
			at = append(at, i)
			verbs = append(verbs, verb)
		}
	}
	return at, verbs
}

// mayOpen lists what the last line may open, of which it opens one at most.
func (j judge) mayOpen() []string {
	last := len(j.lines) - 1
	line := j.lines[last]
	_, verbs := j.verbs()
	replyAt, codes := j.replies()
	if len(verbs) == 0 || !verbs[0].Known() || !j.loggedIn(replyAt, codes) {
		return nil
	}
	cmd := parser.ParseCommand([]byte(line.text))
	switch {
	case line.client && (cmd.Verb == parser.PORT || cmd.Verb == parser.EPRT):
		return []string{j.names(cmd.Verb, 0, cmd.Arg)}
	case line.client || len(replyAt) == 0 || replyAt[len(replyAt)-1] != last:
		return nil
	}
	var may []string
	if code := codes[len(codes)-1]; code == 227 || code == 229 {
		for _, asked := range j.waiting(replyAt, codes) {
			may = append(may, j.names(asked, code, []byte(line.text[3:])))
		}
	}
	return may
}

// names says what may open at most by an argument of PORT or EPRT, or by a reply
// with this code to PASV or EPSV.
func (j judge) names(v parser.Verb, code int, text []byte) string {
	switch {
	case v == parser.PORT:
		e, err := parser.ParseHostPort(text)
		e.Addr = meantBy(testClient, e.Addr, j.portAny)
		return permitted("PORT", testClient.Addr(), j.client, e.Addr, err)
	case v == parser.EPRT:
		e, err := parser.ParseExtended(text)
		e.Addr = meantBy(testClient, e.Addr, j.portAny)
		return permitted("EPRT", testClient.Addr(), j.client, e.Addr, err)
	case code == 227:
		e, err := parser.ParsePassive(text)
		e.Addr = meantBy(testServer, e.Addr, j.pasvAny)
		return permitted(v.String(), testServer.Addr(), j.server, e.Addr, err)
	case code == 229:
		e, err := parser.ParseExtendedPassive(text)
		return permitted(v.String(), testServer.Addr(), j.server, netip.AddrPortFrom(testServer.Addr(), e.Addr.Port()), err)
	}
	return ""
}

// blind says whether the dialogue has gone over to TLS: a greeting, and later 234
// or 235.
func (j judge) blind() bool {
	_, codes := j.replies()
	greeting := slices.IndexFunc(codes, func(code int) bool { return code == 220 || code == 230 || code == 200 })
	return greeting >= 0 && slices.ContainsFunc(codes[greeting:], func(code int) bool { return code == 234 || code == 235 })
}

// mayOpenBehindTLS says what may open in a dialogue that has gone over to TLS: what
// is named in the clear text that follows the records (CCC), where both sides are
// done with these. It does not look at the order of the lines. sure is false
// when there was TLS a second time.
func (j judge) mayOpenBehindTLS() (may []string, sure bool) {
	up, upDone := clearText(j.hidden[0])
	down, downDone := clearText(j.hidden[1])
	if len(up) == 0 || !upDone || !downDone {
		return nil, true
	}
	asked := make(map[parser.Verb]bool)
	for _, line := range up {
		cmd := parser.ParseCommand([]byte(line))
		asked[cmd.Verb] = true
		may = append(may, j.names(cmd.Verb, 0, cmd.Arg))
	}
	for _, line := range down {
		code, text, _ := strings.Cut(line, " ")
		switch {
		case code == "234" || code == "235":
			return nil, false
		case code == "227" || code == "229":
			n, _ := strconv.Atoi(code)
			for _, v := range []parser.Verb{parser.PASV, parser.EPSV} {
				if asked[v] {
					may = append(may, j.names(v, n, []byte(text)))
				}
			}
		}
	}
	return may, true
}

// clearText gives the lines behind TLS records (RFC 8446 5.1). done is false if no
// whole record came, one has not ended, or something else came.
func clearText(b []byte) (lines []string, done bool) {
	records := 0
	for len(b) > 0 && b[0] >= 20 && b[0] <= 24 {
		if len(b) < 5 || b[1] != 3 {
			return nil, false
		}
		n := 5 + int(b[3])<<8 + int(b[4])
		if n == 5 || n > 5+1<<14+2048 || len(b) < n {
			return nil, false
		}
		b = b[n:]
		records++
	}
	r := parser.NewLineReader(testLimits.LineBytes)
	for line, rest, ok := r.Next(b); ok; line, rest, ok = r.Next(rest) {
		if !line.Overlong {
			lines = append(lines, string(line.Text))
		}
	}
	return lines, records > 0
}

// waiting lists the verbs that the last reply, a 227 or 229, may answer, of those
// that no such reply has answered for sure: 227 PASV, or else an EPSV that waits
// alone; 229 EPSV.
func (j judge) waiting(replyAt, codes []int) []parser.Verb {
	waiting := make(map[parser.Verb]int)
	last := len(replyAt) - 1
	for i, l := range j.lines {
		switch at := slices.Index(replyAt, i); {
		case l.client:
			waiting[parser.ParseCommand([]byte(l.text)).Verb]++
		case at < 0 || at == last:
		case codes[at] == 227 && waiting[parser.PASV] > 0:
			waiting[parser.PASV]--
		case codes[at] == 229 || codes[at] == 227 && waiting[parser.EPSV] == 1:
			waiting[parser.EPSV] = max(0, waiting[parser.EPSV]-1)
		}
	}
	var may []parser.Verb
	if waiting[parser.PASV] > 0 && codes[last] == 227 {
		may = append(may, parser.PASV)
	}
	if waiting[parser.EPSV] > 0 {
		may = append(may, parser.EPSV)
	}
	return may
}

// meantBy says which endpoint a side means, if any address is its own.
func meantBy(side, named netip.AddrPort, any bool) netip.AddrPort {
	if any {
		return netip.AddrPortFrom(side.Addr(), named.Port())
	}
	return named
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
