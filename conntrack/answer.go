package conntrack

import (
	"time"

	"ftpinhole/parser"
)

// reply takes the final line of a reply.
func (t *Tracker) reply(now time.Time, s *session, rep parser.Reply) {
	if s.joined {
		switch rep.Code {
		case 220, 331, 332, 530:
			t.logout(now, s, Logout)
			s.login = loginBehind(rep.Code)
		}
	}
	if rep.Code/100 == 1 {
		t.transferBegins(now, s, rep.Code)
		return // preliminary: the final one is still to come
	}
	if !s.greeted && !s.joined {
		s.greeting(rep.Code)
		if rep.Code == 227 || rep.Code == 229 {
			t.entered(now, s, command{}, rep)
		}
		return
	}
	if rep.Code == 421 {
		t.logout(now, s, Logout)
		s.over = true
		return
	}
	cmd, matched := s.answered(rep.Code)
	if cmd.marks && s.step == needReply {
		s.step = inStep
	}
	if cmd.passive() {
		s.asked = false
	}
	s.speaksFTP(cmd)
	switch {
	case rep.Code == 227 || rep.Code == 229:
		t.entered(now, s, cmd, rep)
	case rep.Code == 234 || rep.Code == 235:
		// What comes now is protected (RFC 4217 4, RFC 2228 3), whichever command
		// the reply seems to answer: AUTH may stand in a line that was too long,
		// behind a bare CR, or in bytes that were missed.
		t.goBlind(now, s)
	case matched:
		s.provesLogin(cmd, rep.Code)
		t.takeEffect(now, s, cmd, rep.Code)
	}
}

// endOfTransfer: these end a transfer and never answer PORT or PASV (RFC 959 5.4).
func endOfTransfer(code int) bool {
	return code == 225 || code == 226 || code == 250 || code == 426
}

// answersABOR: RFC 959 5.4 has 225, 226, 500, 501, 502 and 421.
func answersABOR(code int) bool {
	return code == 225 || code == 226 || code == 250 || code/100 >= 4
}

// takeEffect does what an answered command does to the session.
func (t *Tracker) takeEffect(now time.Time, s *session, cmd command, code int) {
	ok, refused := code/100 == 2, code/100 == 4 || code/100 == 5
	if refused && cmd.verb.Transfer() {
		s.transferRefused(cmd)
	}
	switch cmd.verb {
	case parser.USER, parser.PASS, parser.ACCT:
		t.loginAnswered(now, s, cmd, code)
	case parser.REIN:
		if ok {
			t.logout(now, s, Logout)
			s.epsvAll, s.login = false, noUser
		}
	case parser.OPEN:
		if ok || code/100 == 3 || code == 530 { // whoever was in was in elsewhere
			t.logout(now, s, Logout)
			s.login = noUser
		}
	case parser.QUIT:
		if ok {
			t.logout(now, s, Logout)
			s.over = true
		}
	case parser.ABOR:
		if code == 226 { // the data connection is closed; 225 says that there was none
			t.shutBut(now, s, nil, Replaced)
		}
	case parser.EPSV:
		s.epsvAll = s.epsvAll || cmd.all && ok
	case parser.PORT, parser.EPRT:
		switch {
		case refused && cmd.channel != nil:
			t.shut(now, cmd.channel, Refused)
		case ok && cmd.channel != nil:
			t.shutBut(now, s, cmd.channel, Replaced)
		case ok && cmd.waiting != nil:
			t.openWaiting(now, s, cmd.waiting)
		}
	}
}
