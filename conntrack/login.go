package conntrack

import (
	"bytes"
	"slices"
	"time"

	"ftpinhole/parser"
)

// loginStep is what the server has said of the login (RFC 959 5.4).
type loginStep uint8

const (
	noUser        loginStep = iota // USER was not answered: nothing is a login
	userAnswered                   // only 230 and 232 are one
	wantsPassword                  // USER was answered by 3xx
	wantsAccount                   // 332 came
)

// greeting takes the server's first reply. Servers that want no login greet with
// 230 or 200, but 200 also answers half of the commands: it is no greeting if
// the real one may have been missed.
func (s *session) greeting(code int) {
	switch {
	case code == 220:
		s.greeted = true
	case (code == 230 || code == 200) && !s.inferred:
		s.greeted, s.loggedIn, s.unproven = true, true, true
	default:
		s.notFTP = true
	}
}

// loginAnswered takes the answer to USER, PASS or ACCT.
func (t *Tracker) loginAnswered(now time.Time, s *session, cmd command, code int) {
	isLogin := s.isLogin(cmd, code)

	// RFC 959 4.1.1: the former user is flushed.
	user := cmd.verb == parser.USER && (code/100 == 2 || code/100 == 3)
	if user || code == 530 {
		t.logout(now, s, Logout)
	}
	if user {
		s.claimed = cmd.user
	}

	switch {
	case user, code == 332 && s.login != noUser:
		s.login = loginBehind(code)
	case code == 530 && cmd.verb == parser.USER:
		s.login = noUser
	case code == 530 || isLogin:
		s.login = min(s.login, userAnswered)
	}
	if isLogin {
		s.loggedIn, s.user, s.unproven = true, s.claimed, false
	}
}

// loginBehind returns what the server wants to have next, by a reply that
// belongs to a login.
func loginBehind(code int) loginStep {
	switch {
	case code == 220:
		return noUser
	case code == 332:
		return wantsAccount
	case code/100 == 3:
		return wantsPassword
	}
	return userAnswered
}

// isLogin reports whether the answer to USER, PASS or ACCT says that the user is
// logged in. Clients take any 2xx for that; but 200 and 202 are also what a
// server says to a command that it does nothing for, so that they count only for
// the command that the server has asked for, and that did not wait behind others.
func (s *session) isLogin(cmd command, code int) bool {
	switch {
	case cmd.verb != parser.USER && s.login == noUser:
		return false
	case code == 230 || code == 232:
		return true
	case code/100 != 2 || code == 221 || code == 225 || code == 226 || !cmd.alone || !s.certain():
		return false // 221 says good-bye, 225 and 226 are of a transfer
	}
	switch cmd.verb {
	case parser.USER:
		return code != 220 // a second greeting, or HOST's
	case parser.PASS:
		return s.login == wantsPassword
	}
	return s.login == wantsAccount
}

// owesNothing reports whether the server has to answer nothing but a login. The
// reply to anything else may be late or never come: then the login is matched to
// one that says nothing of it.
func (s *session) owesNothing() bool {
	return s.step == inStep && s.skipped == 0 && !slices.ContainsFunc(s.outstanding, func(c command) bool {
		return !c.blank && c.verb != parser.USER && c.verb != parser.PASS && c.verb != parser.ACCT
	})
}

// certain reports whether the reply in hand is surely the answer to the command
// that it was matched to: server and client count the same lines, or no other
// command waits.
func (s *session) certain() bool {
	return !s.ragged && !s.inferred || len(s.outstanding) == 0
}

// raggedLine reports whether some servers take a client's line for none, or for
// several: they want CR LF, or end lines with CR too, or read at most 512 bytes
// at once. It would be answered by another number of replies than we reckon with.
func raggedLine(line parser.Line) bool {
	const most = 512
	return !line.Plain || line.RawLen != len(line.Text)+len("\r\n") || line.RawLen > most ||
		bytes.IndexByte(line.Text, '\r') >= 0
}

// logout shuts what the user had opened; data that flows goes on.
func (t *Tracker) logout(now time.Time, s *session, why Reason) {
	if s.user != "" {
		s.former = s.user
	}
	s.loggedIn, s.user, s.mayHaveLoggedIn = false, "", false
	t.shutAll(now, s, why)
}
