package conntrack

import (
	"bytes"
	"cmp"
	"net/netip"
	"time"

	"ftpinhole/parser"
)

// forbidden says why this session may not open anything at all now. trusted
// says that the line stands in step, ftp that FTP is spoken.
func (s *session) forbidden(trusted, ftp bool) Reason {
	switch {
	case s.notFTP:
		return NotFTP
	case !trusted || s.headless || s.up.blind || s.down.blind && !s.down.records.between():
		return OutOfStep
	case s.over || !s.greeted || s.unproven && s.portFirst || s.terms.LoginRequired && !s.loggedIn:
		return NotLoggedIn
	case !ftp:
		return OutOfStep
	}
	return ""
}

// announced takes PORT or EPRT: the hole is made before the server reads of
// it, since servers connect before they answer.
func (t *Tracker) announced(now time.Time, s *session, text []byte, cmd parser.Command, out *command, full bool) {
	parse := parser.ParseHostPort
	if cmd.Verb == parser.EPRT {
		parse = parser.ParseExtended
	}
	endpoint, err := parse(cmd.Arg)
	dst, kept := t.meant(s, Active, endpoint.Addr)
	r := s.record()
	r.Mode, r.Command = Active, cmd.Verb.String()
	r.Pinhole = Pinhole{Src: s.server.Addr(), Dst: dst, FromPort: s.terms.ActiveSourcePort}
	why := s.forbidden(out.trusted, s.ftp)
	switch {
	case why == "" && full:
		why = LimitSession
	case why == "" && s.epsvAll:
		why = EPSVAll
	}
	if why = t.judge(s, r, out.inferred, why, err); why != "" {
		t.deny(now, s, r, why)
		return
	}
	// Pipelined: the server has not come to this line, and may still connect to
	// what it was told before.
	beside := s.transferWaits() && len(s.channels) > 0
	p := &promise{record: r}
	switch {
	case beside && !s.terms.WaitFor2xx && len(s.channels) >= maxAhead, s.nat != nil && len(s.nat.promises) >= maxAhead:
		why = LimitSession
	case s.nat != nil:
		n := activeNaming(text, cmd, endpoint)
		n.kept = kept
		why = t.translate(s, p, n)
	}
	switch {
	case why != "":
		p.port.give()
		t.deny(now, s, r, why)
	case s.terms.WaitFor2xx:
		out.waiting = p
		s.promised(p)
	case t.affords(now, s, p):
		if !beside {
			t.shutAll(now, s, Replaced)
		}
		out.channel = t.openChannel(now, s, p)
	}
}

func (t *Tracker) openWaiting(now time.Time, s *session, p *promise) {
	p.record.User, p.rewrite = s.user, nil // the line has left
	if why := s.forbidden(true, s.ftp); why != "" {
		t.deny(now, s, p.record, why)
		return
	}
	t.openAhead(now, s, p)
}

// openAhead opens a channel whose transfer may have been sent before the answer
// that it opens with.
func (t *Tracker) openAhead(now time.Time, s *session, p *promise) {
	next := s.nextTransfer()
	if next != nil {
		p.record.Transfer, p.record.Path = next.verb.String(), next.path
	}
	if !t.affords(now, s, p) {
		return
	}
	t.shutBut(now, s, nil, Replaced)
	c := t.openChannel(now, s, p)
	if next != nil {
		c.named, next.channel = byOne, c
	}
}

// entered takes 227 or 229, the answer to cmd.
func (t *Tracker) entered(now time.Time, s *session, cmd command, rep parser.Reply) {
	r := s.record()
	r.Mode = Passive
	r.Pinhole.Src = s.client.Addr()
	asked := cmd.passive() && (rep.Code == 227 || cmd.verb == parser.EPSV)
	var endpoint parser.Endpoint
	var err error
	if rep.Code == 227 {
		endpoint, err = parser.ParsePassive(rep.Text)
	} else {
		endpoint, err = parser.ParseExtendedPassive(rep.Text)
		endpoint.Addr = netip.AddrPortFrom(s.server.Addr(), endpoint.Addr.Port())
	}
	if asked {
		r.Command = cmd.verb.String()
	}
	if err != nil {
		endpoint.Addr = netip.AddrPort{}
	}
	var kept bool
	r.Pinhole.Dst, kept = t.meant(s, Passive, endpoint.Addr)
	why := s.forbidden(cmd.trusted || !asked && s.step == inStep, s.ftp)
	switch {
	case !asked && err != nil:
		return // no endpoint was offered: just a line with this number
	case !asked && (why == "" || why == NotLoggedIn || why == OutOfStep && !s.spoken && !s.joined):
		why = Unrequested
	case why == "" && s.epsvAll && (cmd.verb == parser.PASV || rep.Code == 227):
		why = EPSVAll
	}
	if why = t.judge(s, r, cmd.inferred, why, err); why != "" {
		t.deny(now, s, r, why)
		return
	}
	p := &promise{record: r}
	if s.nat != nil {
		n := passiveNaming(rep, endpoint)
		n.kept = kept
		if why = t.translate(s, p, n); why != "" {
			p.port.give()
			t.deny(now, s, r, why)
			return
		}
	}
	t.openAhead(now, s, p)
}

// judge adds what the line itself and the policy have against it.
func (t *Tracker) judge(s *session, r Record, inferred bool, why Reason, err error) Reason {
	switch {
	case why != "":
		return why
	case err != nil:
		return Malformed
	}
	return t.decide(s, r, inferred || s.inferred)
}

// decide asks the policy.
func (t *Tracker) decide(s *session, r Record, inferred bool) Reason {
	return t.policy.Decide(Request{
		Client: s.client, Server: s.server, ClientLocal: s.local,
		Mode: r.Mode, Command: r.Command, Endpoint: r.Pinhole.Dst, Inferred: inferred,
	})
}

// wrongSideReply records a 227 that the client sent, wrongSideCommand a PORT
// that the server sent. Nobody acts on them.
func (t *Tracker) wrongSideReply(now time.Time, s *session, text []byte) {
	if named, ok := namedIn(text, s.client.Addr()); ok {
		r := s.record()
		r.Mode, r.Pinhole = Passive, Pinhole{Src: s.server.Addr(), Dst: named}
		t.deny(now, s, r, s.unasked())
	}
}

// swallow takes note of a 227 or 229 that was asked for and stands within a
// reply of another code. It may be text, as in a listing, and the block will
// end. Some servers end their blocks with another code: then all that follows is
// text, and stays shut, since nothing tells it from such a listing.
func (t *Tracker) swallow(s *session, text []byte) {
	if !s.asked {
		return
	}
	if named, ok := namedIn(text, s.server.Addr()); ok {
		dst, _ := t.meant(s, Passive, named)
		r := s.record()
		r.Mode, r.Pinhole = Passive, Pinhole{Src: s.client.Addr(), Dst: dst}
		s.asked, s.swallowed = false, &r
	}
}

// blockEnds forgets what was swallowed: it was text.
func (a *agreement) blockEnds() {
	if a.swallowed != nil {
		a.asked, a.swallowed = true, nil
	}
}

// tellSwallowed records a 227 or 229 that was swallowed by a block which has not
// ended when the client goes on.
func (t *Tracker) tellSwallowed(now time.Time, s *session) {
	if r := s.swallowed; r != nil {
		s.swallowed = nil
		t.deny(now, s, *r, cmp.Or(s.forbidden(s.ftp, s.ftp), OutOfStep))
	}
}

// namedIn reads the endpoint of a line that looks like a 227 or 229; that of 229
// is at addr.
func namedIn(text []byte, addr netip.Addr) (named netip.AddrPort, ok bool) {
	parse := parser.ParsePassive
	switch {
	case bytes.HasPrefix(text, []byte("227 ")):
	case bytes.HasPrefix(text, []byte("229 ")):
		parse = parser.ParseExtendedPassive
	default:
		return named, false
	}
	endpoint, err := parse(text[4:])
	if err == nil && !endpoint.Addr.Addr().IsValid() {
		endpoint.Addr = netip.AddrPortFrom(addr, endpoint.Addr.Port())
	}
	return endpoint.Addr, err == nil
}

func (t *Tracker) wrongSideCommand(now time.Time, s *session, text []byte) {
	cmd := parser.ParseCommand(text)
	if cmd.Verb != parser.PORT && cmd.Verb != parser.EPRT {
		return
	}
	if named := announcedBy(cmd); named.IsValid() {
		r := s.record()
		r.Mode, r.Command = Active, cmd.Verb.String()
		r.Pinhole = Pinhole{Src: s.client.Addr(), Dst: named}
		t.deny(now, s, r, s.unasked())
	}
}

func (s *session) unasked() Reason {
	if s.notFTP {
		return NotFTP
	}
	return Unrequested
}
