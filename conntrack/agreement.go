package conntrack

import (
	"bytes"
	"slices"
	"time"

	"ftpinhole/parser"
)

// Bounds on what is kept of the wire's own words.
const (
	maxUser = 256
	maxPath = 1024
	// maxAhead is how many pinholes pipelined PORT commands of a session hold.
	maxAhead = 4
)

// agreement is what client and server have said that bears on what may open.
// The package comment has it as a table.
type agreement struct {
	step step
	// inferred: the session was joined, or out of step at some time.
	inferred bool
	// outstanding are the commands that wait for their final reply, oldest
	// first.
	outstanding []command
	skipped     int     // of those, passed over: their replies may still come
	asked       bool    // an endpoint was asked for, and no line has been taken for the answer
	swallowed   *Record // what looked like the answer, in a block that has not ended

	joined   bool // in the middle: counts as logged in
	spoken   bool // the client's first line was read
	ftp      bool // a client line has been an FTP command; of a joined session, one that was answered
	notFTP   bool // the client or the server does not speak FTP
	headless bool // the client's first bytes were not seen: opens nothing (law 6)
	greeted  bool // 220, 230 or 200 came
	loggedIn bool
	login    loginStep
	// unproven: the server asked for no login, or the client began with OPEN, so
	// that PORT must not be the first that shows that the client speaks FTP.
	unproven  bool
	portFirst bool // the client's first command was PORT or EPRT
	ragged    bool // see raggedLine
	// mayHaveLoggedIn: it was known as not logged in, and bytes passed unseen.
	mayHaveLoggedIn bool
	over            bool // 221 or 421: the session is about to end
	epsvAll         bool // RFC 2428 4

	claimed string // the latest user name answered
	user    string // who is logged in
	former  string // who was
}

// loseStep forgets what was outstanding. What is agreed on afterwards is
// inferred for good: a server's text may have been taken for its reply.
func (a *agreement) loseStep() {
	for i := range a.outstanding {
		a.outstanding[i].unheard()
	}
	clear(a.outstanding)
	a.outstanding, a.skipped = a.outstanding[:0], 0
	a.step, a.inferred = needCommand, true
	a.login = max(a.login, userAnswered) // it may have been in what was missed
}

// rejoin begins anew in the middle, as after a restart: here when the clear
// text comes back after CCC (RFC 4217 12.3).
func (s *session) rejoin() {
	s.loseStep()
	s.step = inStep
	s.joined, s.ftp, s.greeted, s.loggedIn = true, false, true, true
	s.login, s.unproven, s.mayHaveLoggedIn = userAnswered, false, false
	s.claimed, s.user, s.epsvAll = "", "", false
}

// clientLine takes one whole line of the client.
func (t *Tracker) clientLine(now time.Time, s *session, line parser.Line) {
	cmd := parser.ParseCommand(line.Text)
	if line.Overlong {
		cmd = parser.Command{}
		s.doubtTransfer()
	}
	t.tellSwallowed(now, s)
	blank := len(bytes.TrimSpace(line.Text)) == 0
	if !blank {
		s.firstLine(cmd.Verb)
	}
	s.ragged = s.ragged || raggedLine(line)
	out := command{verb: cmd.Verb, trusted: s.step == inStep, blank: blank}
	full := len(s.outstanding) >= t.limits.Commands && !s.continues(&out)
	switch cmd.Verb {
	case parser.PORT, parser.EPRT:
		t.announced(now, s, line.Text, cmd, &out, full)
	case parser.USER:
		out.user = bounded(cmd.Arg, maxUser)
		if s.joined {
			t.logout(now, s, Logout)
		}
		out.alone, out.quiet = s.owesNothing(), s.quiet()
	case parser.PASS, parser.ACCT:
		out.alone, out.quiet = s.owesNothing(), s.quiet()
	case parser.QUIT:
		out.quiet = s.quiet()
	case parser.PASV:
		out.quiet, s.asked = s.quiet(), true
	case parser.EPSV:
		out.all = bytes.EqualFold(cmd.Arg, []byte("ALL"))
		out.quiet, s.asked = s.quiet(), s.asked || !out.all
	case parser.Unknown:
		t.wrongSideReply(now, s, line.Text)
	}
	if cmd.Verb.Transfer() {
		s.transfer(cmd, &out)
	}
	if s.step == needCommand {
		if blank || !s.quiet() {
			out.unheard()
			return
		}
		s.step, out.marks = needReply, true
	}
	if full {
		out.unheard()
		s.loseStep()
		return
	}
	s.await(out)
}

// transferWaits reports whether a transfer was asked for and is not over.
func (s *session) transferWaits() bool {
	return slices.ContainsFunc(s.outstanding, func(c command) bool { return c.verb.Transfer() })
}

// unanswered reports whether the server has yet to answer the PORT or EPRT of a
// channel.
func (s *session) unanswered(c *channel) bool {
	return slices.ContainsFunc(s.outstanding, func(o command) bool {
		return (o.verb == parser.PORT || o.verb == parser.EPRT) && o.channel == c
	})
}

// firstLine judges the client's first line: whoever does not begin with FTP
// is a program that was made to speak to an FTP port.
func (s *session) firstLine(v parser.Verb) {
	// It is said to a proxy, and FTP has yet to come. Whether that is FTP is
	// judged by what follows, as if nothing had been said.
	if v == parser.OPEN {
		s.unproven = s.unproven || !s.spoken && !s.joined
		return
	}
	switch {
	case s.joined && !s.encrypted:
		// What came before is not known: the server's answer counts (speaksFTP).
	case v.Known():
		s.portFirst = s.portFirst || !s.spoken && (v == parser.PORT || v == parser.EPRT)
		s.ftp = true
	case !s.spoken && !s.joined:
		s.notFTP = true
	}
	s.spoken = true
}

// quiet reports whether the client has all that the server sent, to its end.
func (s *session) quiet() bool {
	d := &s.down
	return d.heard && d.acked == d.next && (!d.lines.MidLine() || d.lines.Resynced()) && len(d.held) == 0 && !s.replies.InBlock()
}

// serverLine takes one whole line of the server.
func (t *Tracker) serverLine(now time.Time, s *session, line parser.Line) {
	if line.Overlong {
		if s.replies.Overlong(line.Text) {
			s.loseStep()
		}
		return
	}
	inBlock := s.replies.InBlock()
	reply, done := s.replies.Line(line.Text)
	switch {
	case done:
		s.blockEnds()
		t.reply(now, s, reply)
	case inBlock:
		t.swallow(s, line.Text)
	case s.replies.Garbage():
		if !s.greeted && !s.joined && len(line.Text) > 0 {
			s.notFTP = true
		}
		t.wrongSideCommand(now, s, line.Text)
	}
}

// bounded is a name of the wire's as it is recorded. It ends at a CR within the
// line: to some servers the next line begins there, a password perhaps.
func bounded(b []byte, n int) string {
	name, _, _ := bytes.Cut(b, []byte("\r"))
	return string(name[:min(len(name), n)])
}
