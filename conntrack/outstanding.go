package conntrack

import (
	"slices"

	"ftpinhole/parser"
)

// maxRun bounds how many commands without effect are counted as one entry.
const maxRun = 1000

// command is a client's line that waits for its reply. Lines without effect that
// follow each other are one entry: clients send dozens of them ahead.
type command struct {
	verb    parser.Verb
	more    int  // lines of the same kind behind this one
	trusted bool // sent in step: its reply may open something
	quiet   bool // when it was sent, the client had all that the server had sent
	marks   bool // its reply puts the session in step again
	blank   bool // an empty line: some servers answer it, some do not
	all     bool // EPSV ALL
	alone   bool // of a login: when it was sent, no reply to anything else was owed
	// inferred: its reply was matched by passing others over.
	inferred bool
	user     string
	path     string   // of a transfer
	begun    bool     // a transfer was answered by 1xx: it has its channel
	channel  *channel // what PORT or EPRT opened, or a transfer is going to use
	waiting  *promise // what PORT or EPRT is to open when the server agrees
}

// passive reports whether the command asks the server for an endpoint.
func (c *command) passive() bool {
	return c.verb == parser.PASV || c.verb == parser.EPSV && !c.all
}

// idle reports whether no reply to the command changes anything.
func (c *command) idle() bool {
	switch c.verb {
	case parser.Unknown, parser.Other, parser.HOST, parser.MLST, parser.CCC:
		return true
	}
	return false
}

// mayLackReply reports whether servers are known to leave the command without an
// answer: a blank line, and ABOR, which is answered together with its transfer.
func (c *command) mayLackReply() bool { return c.blank || c.verb == parser.ABOR }

// bears reports whether the missing reply to the command could have changed what
// the session may open. What is not understood may have been anything.
func (c *command) bears() bool {
	switch c.verb {
	case parser.USER, parser.PASS, parser.ACCT, parser.REIN, parser.QUIT, parser.AUTH, parser.ADAT, parser.OPEN:
		return true
	}
	return c.all || c.verb == parser.Unknown && !c.blank
}

// continues reports whether the command can be counted with the last entry.
func (a *agreement) continues(c *command) bool {
	if len(a.outstanding) == 0 {
		return false
	}
	last := &a.outstanding[len(a.outstanding)-1]
	return c.idle() && last.idle() && c.blank == last.blank && c.bears() == last.bears() && c.trusted == last.trusted &&
		!c.marks && !last.marks && last.more < maxRun-1
}

// await puts the command behind those that wait for their replies.
func (a *agreement) await(c command) {
	if a.continues(&c) {
		a.outstanding[len(a.outstanding)-1].more++
		return
	}
	a.outstanding = append(a.outstanding, c)
}

// take removes the command at i, or the first line of its run.
func (a *agreement) take(i int) command {
	c := a.outstanding[i]
	if c.more > 0 {
		a.outstanding[i].more--
		return c
	}
	a.outstanding = slices.Delete(a.outstanding, i, i+1)
	return c
}

// answered takes the command off the list that the reply is the answer to.
func (s *session) answered(code int) (command, bool) {
	if i := s.asker(code); i >= 0 {
		return s.passOver(i), true
	}
	if i := s.loginBehindIdle(code); i >= 0 {
		return s.passOver(i), true
	}

	marks := false
	for len(s.outstanding) > 0 {
		if s.unrelated(code) {
			return command{}, false
		}
		cmd := s.take(s.next(code))
		cmd.marks = cmd.marks || marks
		switch others := len(s.outstanding) > 0; {
		case cmd.blank && code/100 != 5 && others:
		case cmd.verb == parser.ABOR && !answersABOR(code) && others:
		default:
			return cmd, true
		}
		// It was not answered, or together with the transfer that it stopped.
		marks = cmd.marks
	}
	return command{}, false
}

// asker finds the request that a 227 or 229 answers; it is -1 if none waits.
// Neither reply answers anything else (RFC 959 5.4, RFC 2428 3). Some servers
// answer EPSV with 227, and their clients take that; no client of PASV can use 229.
func (s *session) asker(code int) int {
	switch code {
	case 227:
		if i := s.requestOf(parser.PASV); i >= 0 {
			return i
		}
		// Of several, each might be the one that is meant.
		if i := s.requestOf(parser.EPSV); i >= 0 && !slices.ContainsFunc(s.outstanding[i+1:], asksPassive) {
			return i
		}
	case 229:
		return s.requestOf(parser.EPSV)
	}
	return -1
}

// requestOf is the place of the first request with this verb, or -1.
func (s *session) requestOf(asks parser.Verb) int {
	return slices.IndexFunc(s.outstanding, func(c command) bool { return c.verb == asks && c.passive() })
}

// loginBehindIdle finds the command of a login, or QUIT, that a reply answers which
// answers nothing else (RFC 959 5.4), if only commands without effect stand before
// it; it is -1 if there is none. Matched to one of those, it would leave the
// former user logged in. As with asker, the client had all that the server had
// sent, or the reply may be an earlier command's.
func (s *session) loginBehindIdle(code int) int {
	i := slices.IndexFunc(s.outstanding, func(c command) bool {
		return c.bears() || !c.idle() && !c.mayLackReply()
	})
	if i > 0 && s.outstanding[i].quiet && answersLogin(s.outstanding[i].verb, code) {
		return i
	}
	return -1
}

// answersLogin reports whether the reply is one to the verb, and to no command
// without effect.
func answersLogin(v parser.Verb, code int) bool {
	switch code {
	case 331:
		return v == parser.USER
	case 332:
		return v == parser.USER || v == parser.PASS
	case 230, 232:
		return v == parser.USER || v == parser.PASS || v == parser.ACCT
	case 221:
		return v == parser.QUIT
	}
	return false
}

func asksPassive(c command) bool { return c.passive() }

// passOver takes the request at i off the list, which its reply shows to be
// answered, and the commands before it, which never were. It stays trusted if
// these are harmless and the client had all that the server had sent when it
// asked: then no reply to an earlier command was under way that could have been
// made to look like this one.
func (s *session) passOver(i int) command {
	cmd := s.outstanding[i]
	for j := range s.outstanding[:i] {
		former := &s.outstanding[j]
		cmd.marks = cmd.marks || former.marks
		former.unheard()
		cmd.inferred = true
		switch {
		case former.mayLackReply():
		case former.bears():
			cmd.trusted = false
		default:
			s.skipped += 1 + former.more
			cmd.trusted = cmd.trusted && cmd.quiet
		}
	}
	s.outstanding = slices.Delete(s.outstanding, 0, i+1)
	return cmd
}

// unrelated reports whether the reply answers none of what waits: a late word on
// the transfer before, or on a command that was passed over.
func (s *session) unrelated(code int) bool {
	first := &s.outstanding[0]
	switch {
	case first.asks() && endOfTransfer(code):
		return true
	case first.passive() && s.skipped > 0 && (code/100 == 2 || code/100 == 3):
		s.skipped--
		return true
	}
	return false
}

// next is the place of the command that the reply answers. A transfer that runs
// ends with 226, 250 or an error; another reply is to what was sent meanwhile,
// which some servers answer at once.
func (s *session) next(code int) int {
	running := s.outstanding[0].begun && (code/100 == 2 || code/100 == 3) && !endOfTransfer(code)
	if running && len(s.outstanding) > 1 && s.outstanding[1].idle() {
		return 1
	}
	return 0
}
