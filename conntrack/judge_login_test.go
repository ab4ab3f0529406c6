package conntrack

import (
	"bytes"
	"slices"

	"ftpinhole/parser"
)

// loggedIn says whether somebody may be logged in: the login's replies are
// matched to its commands where that is beyond doubt; else it is enough that one
// of the right kind came behind USER.
func (j judge) loggedIn(at, codes []int) bool {
	at, codes = finals(at, codes)
	if len(codes) == 0 || slices.Contains(codes, 421) || !isGreeting(codes[0]) {
		return false
	}
	if in, sure := j.matchedLogin(at, codes); sure {
		return in
	}
	return j.possibleLogin(at, codes)
}

// finals are the replies without those that answer nothing yet.
func finals(at, codes []int) (finalAt, finalCodes []int) {
	for i, code := range codes {
		if code >= 200 {
			finalAt, finalCodes = append(finalAt, at[i]), append(finalCodes, code)
		}
	}
	return finalAt, finalCodes
}

func isGreeting(code int) bool { return code == 220 || code == 230 || code == 200 }

// possibleLogin looks for a greeting that wants no login, and for a 2xx somewhere
// behind USER.
func (j judge) possibleLogin(at, codes []int) bool {
	verbAt, verbs := j.verbs()
	if codes[0] != 220 && verbs[0] != parser.PORT && verbs[0] != parser.EPRT {
		return true
	}
	user := slices.Index(verbs, parser.USER)
	for i, code := range codes[1:] {
		if user >= 0 && at[i+1] > verbAt[user] && code/100 == 2 {
			return true
		}
	}
	return false
}

// matchedLogin matches each reply to the oldest command. It is not sure behind a
// line that some take for a command and some do not, or if a reply may be
// another command's.
func (j judge) matchedLogin(at, codes []int) (in, sure bool) {
	var l loginJudge
	for i, line := range j.lines {
		reply, verb := slices.Index(at, i), parser.ParseCommand([]byte(line.text)).Verb
		switch {
		case line.text == "?", line.client && (verb == parser.ABOR || len(bytes.TrimSpace([]byte(line.text))) == 0),
			len(l.waiting) >= testLimits.Commands:
			return false, false
		case line.client:
			l.command(verb)
		case reply == 0:
			l.in, l.unproven = codes[0] != 220, l.unproven || codes[0] != 220
		case reply > 0 && len(l.waiting) > 0:
			if code := codes[reply]; code == 227 || code == 229 || l.unsure(code) {
				return false, false
			}
			l.answer(codes[reply])
		}
	}
	return l.in && !(l.unproven && l.portFirst), true
}

// loginJudge is a login whose replies answer its commands one by one.
type loginJudge struct {
	waiting             []parser.Verb
	spoken, portFirst   bool
	in, named, unproven bool
	wanted              parser.Verb // PASS, ACCT or none
}

func (l *loginJudge) command(v parser.Verb) {
	l.waiting = append(l.waiting, v)
	if v == parser.OPEN {
		l.unproven = l.unproven || !l.spoken
		return
	}
	l.portFirst = l.portFirst || !l.spoken && (v == parser.PORT || v == parser.EPRT)
	l.spoken = true
}

// unsure reports whether the reply may be another's than the oldest command's: the
// end of the transfer before, or the answer to what was sent while one runs.
func (l *loginJudge) unsure(code int) bool {
	ends := code == 225 || code == 226 || code == 250 || code == 426
	login := code == 230 || code == 232 || code == 331 || code == 332 || code == 221
	switch first := l.waiting[0]; {
	case first == parser.Other || first == parser.HOST || first == parser.MLST || first == parser.CCC:
		return login && slices.ContainsFunc(l.waiting, func(v parser.Verb) bool {
			return v == parser.USER || v == parser.PASS || v == parser.ACCT || v == parser.QUIT
		})
	case first.Transfer():
		return !ends && code/100 < 4
	case first == parser.PASV || first == parser.EPSV || first == parser.PORT || first == parser.EPRT:
		return ends
	}
	return false
}

func (l *loginJudge) answer(code int) {
	verb := l.waiting[0]
	l.waiting = l.waiting[1:]
	always := code == 230 || code == 232
	asked := code/100 == 2 && code != 221 && code != 225 && code != 226
	var login bool
	switch verb {
	case parser.USER:
		if code/100 == 2 || code/100 == 3 || code == 530 {
			l.in, l.named, l.wanted = false, code != 530, parser.Unknown
		}
		if code/100 == 3 {
			l.wanted = parser.PASS
		}
		login = asked && code != 220
	case parser.PASS, parser.ACCT:
		login = l.named && (always || asked && l.wanted == verb)
		if code == 530 {
			l.in, l.wanted = false, parser.Unknown
		}
	case parser.OPEN:
		if code/100 == 2 || code/100 == 3 || code == 530 {
			l.in, l.named = false, false
		}
	case parser.REIN, parser.QUIT:
		if code/100 == 2 {
			l.in, l.named = false, false
		}
	}
	if code == 332 && l.named && (verb == parser.USER || verb == parser.PASS || verb == parser.ACCT) {
		l.wanted = parser.ACCT
	}
	if login {
		l.in, l.unproven, l.wanted = true, false, parser.Unknown
	}
}
