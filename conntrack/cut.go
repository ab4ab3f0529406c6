package conntrack

import (
	"bytes"
	"time"

	"ftpinhole/parser"
)

// cutLine takes the first line after bytes that were missed. Whether all of it is
// there is not known, but it is the end of one line, and so of one command or one
// reply: it counts for the step, opens nothing, and what it seems to negotiate is
// refused. last says that nothing was sent behind it.
func (t *Tracker) cutLine(now time.Time, s *session, d *direction, line parser.Line, last bool) {
	switch {
	case line.Overlong || s.step == inStep:
	case d == &s.up:
		t.cutCommand(now, s, line)
	default:
		t.cutReply(now, s, line, last)
	}
}

func (t *Tracker) cutCommand(now time.Time, s *session, line parser.Line) {
	cmd := parser.ParseCommand(line.Text)
	out := command{blank: len(bytes.TrimSpace(line.Text)) == 0}
	switch cmd.Verb {
	case parser.PORT, parser.EPRT:
		out.verb = cmd.Verb
		t.announced(now, s, line.Text, cmd, &out, false)
	case parser.PASV, parser.EPSV:
		out.verb = cmd.Verb
	}
	if s.step == needCommand && !out.blank && s.quiet() {
		s.step, out.marks = needReply, true
		s.outstanding = append(s.outstanding, out)
	}
}

// cutReply takes the line for a reply only where one is awaited, when the client had
// all that the server had sent and asked for something, and the server has that and
// says no more. Anything else may be the midst of a long text, a listing say, whose
// next lines are no replies either.
func (t *Tracker) cutReply(now time.Time, s *session, line parser.Line, last bool) {
	if s.step == needReply && last && s.up.heard && s.up.acked == s.up.next {
		if reply, done := s.replies.Line(line.Text); done {
			t.reply(now, s, reply)
			return
		}
	}
	s.loseStep()
	if dst, ok := namedIn(line.Text, s.server.Addr()); ok {
		r := s.record()
		r.Mode, r.Pinhole = Passive, Pinhole{Src: s.client.Addr(), Dst: dst}
		t.deny(now, s, r, s.refusedOutOfStep())
	}
}

// refusedOutOfStep is why a session opens nothing that has missed bytes.
func (s *session) refusedOutOfStep() Reason {
	if s.notFTP {
		return NotFTP
	}
	return OutOfStep
}
