package conntrack

import (
	"bytes"
	"net/netip"
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
	// outstanding are the commands that wait for their final reply, oldest
	// first.
	outstanding []command

	joined   bool // in the middle: counts as logged in
	spoken   bool // the client's first line was read
	ftp      bool // a client line has been an FTP command
	notFTP   bool // the client or the server does not speak FTP
	headless bool // the client's first bytes were not seen: opens nothing (law 6)
	greeted  bool // 220 came
	loggedIn bool
	over     bool // 221 or 421: the session is about to end
	epsvAll  bool // RFC 2428 4
	secures  bool // AUTH or ADAT was asked for

	claimed string // the latest user name answered
	user    string // who is logged in
}

// command is a client's line that waits for its reply.
type command struct {
	verb    parser.Verb
	trusted bool // sent in step: its reply may open something
	marks   bool // its reply puts the session in step again
	blank   bool // an empty line: some servers answer it, some do not
	all     bool // EPSV ALL
	user    string
	path    string   // of a transfer whose channel is still to be agreed on
	channel *channel // what PORT or EPRT opened
	waiting *Record  // what PORT or EPRT is to open when the server agrees
}

// loseStep forgets what was outstanding.
func (a *agreement) loseStep() {
	clear(a.outstanding)
	a.outstanding = a.outstanding[:0]
	a.step = needCommand
}

// rejoin begins anew in the middle, as after a restart: here when the clear
// text comes back after CCC (RFC 4217 12.3).
func (s *session) rejoin() {
	s.loseStep()
	s.step = inStep
	s.joined, s.ftp, s.greeted, s.loggedIn = true, false, true, true
	s.claimed, s.user, s.epsvAll = "", "", false
}

// clientLine takes one whole line of the client.
func (t *Tracker) clientLine(now time.Time, s *session, line parser.Line) {
	cmd := parser.ParseCommand(line.Text)
	if line.Overlong {
		cmd = parser.Command{}
	}
	blank := len(bytes.TrimSpace(line.Text)) == 0
	if !blank {
		s.firstLine(cmd.Verb)
	}
	out := command{verb: cmd.Verb, trusted: s.step == inStep, blank: blank}
	full := len(s.outstanding) >= t.limits.Commands
	switch cmd.Verb {
	case parser.PORT, parser.EPRT:
		t.announced(now, s, cmd, &out, full)
	case parser.USER:
		out.user = bounded(cmd.Arg, maxUser)
		if s.joined {
			t.logout(now, s, Logout)
		}
	case parser.AUTH, parser.ADAT:
		s.secures = true
	case parser.EPSV:
		out.all = bytes.EqualFold(cmd.Arg, []byte("ALL"))
	case parser.Unknown:
		t.wrongSideReply(now, s, line.Text)
	}
	if cmd.Verb.Transfer() {
		s.transfer(cmd, &out)
	}
	if s.step == needCommand {
		if blank || !s.quiet() {
			return
		}
		s.step, out.marks = needReply, true
	}
	if full {
		s.loseStep()
		return
	}
	s.outstanding = append(s.outstanding, out)
}

// transfer says what the channel is for that the command is going to use: the
// current one, or the one of a request that still waits for its answer.
func (s *session) transfer(cmd parser.Command, out *command) {
	for i := range s.outstanding {
		if asks := &s.outstanding[i]; asks.verb == parser.PASV || asks.verb == parser.EPSV || asks.waiting != nil {
			out.path = bounded(cmd.Arg, maxPath)
			return
		}
	}
	if c := s.current; c != nil && c.record.Transfer == "" {
		c.record.Transfer, c.record.Path = cmd.Verb.String(), bounded(cmd.Arg, maxPath)
	}
}

// transferAhead says what a channel is for whose transfer was sent before the
// answer that opens it came.
func (s *session) transferAhead(r *Record) {
	for i := range s.outstanding {
		switch c := &s.outstanding[i]; {
		case c.verb.Transfer():
			r.Transfer, r.Path = c.verb.String(), c.path
			return
		case c.verb == parser.PASV || c.verb == parser.EPSV || c.verb == parser.PORT || c.verb == parser.EPRT:
			return
		}
	}
}

// transferWaits reports whether a transfer was asked for and is not over.
func (s *session) transferWaits() bool {
	return slices.ContainsFunc(s.outstanding, func(c command) bool { return c.verb.Transfer() })
}

// firstLine judges the client's first line: whoever does not begin with FTP
// is a program that was made to speak to an FTP port.
func (s *session) firstLine(v parser.Verb) {
	if v.Known() {
		s.ftp = true
	} else if !s.spoken && !s.joined {
		s.notFTP = true
	}
	s.spoken = true
}

// quiet reports whether the client has all that the server sent, to its end.
func (s *session) quiet() bool {
	d := &s.down
	return d.heard && d.acked == d.next && !d.lines.MidLine() && len(d.held) == 0 && !s.replies.InBlock()
}

// serverLine takes one whole line of the server.
func (t *Tracker) serverLine(now time.Time, s *session, line parser.Line) {
	if line.Overlong {
		if s.replies.Overlong(line.Text) {
			s.loseStep()
		}
		return
	}
	reply, done := s.replies.Line(line.Text)
	switch {
	case done:
		t.reply(now, s, reply)
	case s.replies.Garbage():
		if !s.greeted && !s.joined && len(line.Text) > 0 {
			s.notFTP = true
		}
		t.wrongSideCommand(now, s, line.Text)
	}
}

// reply takes the final line of a reply.
func (t *Tracker) reply(now time.Time, s *session, rep parser.Reply) {
	if s.joined {
		switch rep.Code {
		case 220, 331, 332, 530:
			t.logout(now, s, Logout)
		}
	}
	if rep.Code/100 == 1 {
		return // preliminary: the final one is still to come
	}
	if !s.greeted && !s.joined {
		s.greeted = rep.Code == 220
		s.notFTP = s.notFTP || !s.greeted
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
	lost := s.step != inStep
	cmd, matched := s.answered(rep.Code)
	if cmd.marks && s.step == needReply {
		s.step = inStep
	}
	switch {
	case rep.Code == 227:
		t.entered(now, s, s.realigned(cmd, parser.PASV), rep)
	case rep.Code == 229:
		t.entered(now, s, s.realigned(cmd, parser.EPSV), rep)
	case (rep.Code == 234 || rep.Code == 235) && (lost || s.secures):
		// What comes now is protected (RFC 4217 4, RFC 2228 3). Once it was asked
		// for, it does not matter which command the reply seems to answer.
		t.goBlind(now, s)
	case matched:
		t.takeEffect(now, s, cmd, rep.Code)
	}
}

// realigned is for a server that has left a command unanswered: a 227 or 229
// came for another command than cmd, while one that asked for it waits. It
// opens nothing, but what comes after it is in step.
func (s *session) realigned(cmd command, asks parser.Verb) command {
	if cmd.verb == asks {
		return cmd
	}
	for i := range s.outstanding {
		if s.outstanding[i].verb == asks {
			cmd = s.outstanding[i]
			cmd.trusted = false
			s.outstanding = slices.Delete(s.outstanding, 0, i+1)
			return cmd
		}
	}
	return cmd
}

// answered takes the command off the list that the reply is the answer to.
func (s *session) answered(code int) (command, bool) {
	marks := false
	for len(s.outstanding) > 0 {
		cmd := s.outstanding[0]
		if (cmd.verb == parser.PASV || cmd.verb == parser.EPSV || cmd.verb == parser.PORT || cmd.verb == parser.EPRT) && endOfTransfer(code) {
			return command{}, false // a late word on the transfer before
		}
		n := copy(s.outstanding, s.outstanding[1:])
		s.outstanding[n] = command{}
		s.outstanding = s.outstanding[:n]
		cmd.marks = cmd.marks || marks
		switch {
		case cmd.blank && code/100 != 5 && n > 0:
		case cmd.verb == parser.ABOR && !answersABOR(code) && n > 0:
		default:
			return cmd, true
		}
		// It was not answered, or together with the transfer that it stopped.
		marks = cmd.marks
	}
	return command{}, false
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
	switch cmd.verb {
	case parser.USER:
		if ok || code/100 == 3 || code == 530 {
			t.logout(now, s, Logout) // RFC 959 4.1.1: the former user is flushed
			s.claimed = cmd.user
		}
		s.logIn(code)
	case parser.PASS, parser.ACCT:
		if code == 530 {
			t.logout(now, s, Logout)
		}
		s.logIn(code)
	case parser.REIN:
		if ok {
			t.logout(now, s, Logout)
			s.epsvAll = false
		}
	case parser.QUIT:
		if ok {
			t.logout(now, s, Logout)
			s.over = true
		}
	case parser.ABOR:
		if code == 226 { // the data connection is closed; 225 says that there was none
			t.shutAll(now, s, Replaced)
		}
	case parser.EPSV:
		s.epsvAll = s.epsvAll || cmd.all && ok
	case parser.PORT, parser.EPRT:
		switch {
		case refused && cmd.channel != nil:
			t.shut(now, cmd.channel, Refused)
		case ok && cmd.channel != nil:
			t.shutBefore(now, s, cmd.channel)
		case ok && cmd.waiting != nil:
			t.openWaiting(now, s, *cmd.waiting)
		}
	}
}

func (s *session) logIn(code int) {
	if code == 230 || code == 232 {
		s.loggedIn, s.user = true, s.claimed
	}
}

// logout shuts what the user had opened; data that flows goes on.
func (t *Tracker) logout(now time.Time, s *session, why Reason) {
	s.loggedIn, s.user = false, ""
	t.shutAll(now, s, why)
}

// forbidden says why this session may not open anything at all now.
func (s *session) forbidden(trusted bool) Reason {
	switch {
	case s.notFTP:
		return NotFTP
	case !trusted || !s.ftp || s.headless || s.up.blind || s.down.blind && !s.down.records.between():
		return OutOfStep
	case s.over || !s.greeted || s.terms.LoginRequired && !s.loggedIn:
		return NotLoggedIn
	}
	return ""
}

// announced takes PORT or EPRT: the hole is made before the server reads of
// it, since servers connect before they answer.
func (t *Tracker) announced(now time.Time, s *session, cmd parser.Command, out *command, full bool) {
	parse := parser.ParseHostPort
	if cmd.Verb == parser.EPRT {
		parse = parser.ParseExtended
	}
	endpoint, err := parse(cmd.Arg)
	r := s.record()
	r.Mode, r.Command = Active, cmd.Verb.String()
	r.Pinhole = Pinhole{Src: s.server.Addr(), Dst: endpoint.Addr, FromPort: s.terms.ActiveSourcePort}
	why := s.forbidden(out.trusted)
	switch {
	case why == "" && full:
		why = LimitSession
	case why == "" && s.epsvAll:
		why = EPSVAll
	}
	if why = t.judge(s, r, why, err); why != "" {
		t.deny(now, s, r, why)
		return
	}
	if s.terms.WaitFor2xx {
		out.waiting = &r
		return
	}
	if s.transferWaits() && len(s.channels) > 0 {
		// Pipelined: the server has not come to this line, and may still
		// connect to what it was told before.
		if len(s.channels) >= maxAhead {
			t.deny(now, s, r, LimitSession)
			return
		}
		out.channel = t.openChannel(now, s, r, true)
		return
	}
	out.channel = t.openChannel(now, s, r, false)
}

func (t *Tracker) openWaiting(now time.Time, s *session, r Record) {
	r.User = s.user
	if why := s.forbidden(true); why != "" {
		t.deny(now, s, r, why)
		return
	}
	s.transferAhead(&r)
	t.openChannel(now, s, r, false)
}

// entered takes 227 or 229, the answer to cmd.
func (t *Tracker) entered(now time.Time, s *session, cmd command, rep parser.Reply) {
	r := s.record()
	r.Mode = Passive
	r.Pinhole.Src = s.client.Addr()
	var endpoint parser.Endpoint
	var err error
	asked := false
	if rep.Code == 227 {
		asked = cmd.verb == parser.PASV
		endpoint, err = parser.ParsePassive(rep.Text)
	} else {
		asked = cmd.verb == parser.EPSV && !cmd.all
		endpoint, err = parser.ParseExtendedPassive(rep.Text)
		endpoint.Addr = netip.AddrPortFrom(s.server.Addr(), endpoint.Addr.Port())
	}
	if asked {
		r.Command = cmd.verb.String()
	}
	if err != nil {
		endpoint.Addr = netip.AddrPort{}
	}
	r.Pinhole.Dst = endpoint.Addr
	why := s.forbidden(cmd.trusted || !asked && s.step == inStep)
	switch {
	case !asked && err != nil:
		return // no endpoint was offered: just a line with this number
	case !asked && (why == "" || why == NotLoggedIn || why == OutOfStep && !s.spoken && !s.joined):
		why = Unrequested
	case why == "" && s.epsvAll && cmd.verb == parser.PASV:
		why = EPSVAll
	}
	if why = t.judge(s, r, why, err); why != "" {
		t.deny(now, s, r, why)
		return
	}
	s.transferAhead(&r)
	t.openChannel(now, s, r, false)
}

// judge adds what the line itself and the policy have against it.
func (t *Tracker) judge(s *session, r Record, why Reason, err error) Reason {
	switch {
	case why != "":
		return why
	case err != nil:
		return Malformed
	}
	return t.policy.Decide(Request{
		Client: s.client, Server: s.server, ClientLocal: s.local,
		Mode: r.Mode, Command: r.Command, Endpoint: r.Pinhole.Dst,
	})
}

// wrongSideReply records a 227 that the client sent, wrongSideCommand a PORT
// that the server sent. Nobody acts on them.
func (t *Tracker) wrongSideReply(now time.Time, s *session, text []byte) {
	parse := parser.ParsePassive
	switch {
	case bytes.HasPrefix(text, []byte("227 ")):
	case bytes.HasPrefix(text, []byte("229 ")):
		parse = parser.ParseExtendedPassive
	default:
		return
	}
	endpoint, err := parse(text[4:])
	if err != nil {
		return
	}
	if !endpoint.Addr.Addr().IsValid() {
		endpoint.Addr = netip.AddrPortFrom(s.client.Addr(), endpoint.Addr.Port())
	}
	r := s.record()
	r.Mode, r.Pinhole = Passive, Pinhole{Src: s.server.Addr(), Dst: endpoint.Addr}
	t.deny(now, s, r, s.unasked())
}

func (t *Tracker) wrongSideCommand(now time.Time, s *session, text []byte) {
	cmd := parser.ParseCommand(text)
	parse := parser.ParseHostPort
	switch cmd.Verb {
	case parser.PORT:
	case parser.EPRT:
		parse = parser.ParseExtended
	default:
		return
	}
	if endpoint, err := parse(cmd.Arg); err == nil {
		r := s.record()
		r.Mode, r.Command = Active, cmd.Verb.String()
		r.Pinhole = Pinhole{Src: s.client.Addr(), Dst: endpoint.Addr}
		t.deny(now, s, r, s.unasked())
	}
}

func (s *session) unasked() Reason {
	if s.notFTP {
		return NotFTP
	}
	return Unrequested
}

func bounded(b []byte, n int) string { return string(b[:min(len(b), n)]) }
