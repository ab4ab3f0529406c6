package conntrack

import (
	"net/netip"

	"ftpinhole/parser"
)

// Known is what a next daemon needs to know of a session, so that it is not
// taken for one of which nothing is known (law 6).
type Known struct {
	Client, Server netip.AddrPort
	// Up and Down are the sequence numbers of the bytes that come next, client to
	// server and server to client. They tell a session from a later one between the
	// same ports.
	Up, Down uint32
	Facts    Facts
}

// Facts are what is known of a session. Those that forbid something are to be
// written before the packet goes on that made them true.
type Facts uint8

// The facts. Their values are written to files.
const (
	SpeaksFTP Facts = 1 << iota // a command of the client proves it
	LoggedIn
	NoFTP    // nothing opens, ever
	Headless // the client's first bytes were not seen: nothing opens, ever
	Blind    // TLS is spoken
	Leaving  // QUIT or 421: nothing opens any more
	OnlyEPSV // RFC 2428 4
	// PortFirst: the server wanted no login, and the client's first command was
	// PORT or EPRT: nothing opens before a login.
	PortFirst
)

const (
	// allows are the facts without which something is forbidden.
	allows = SpeaksFTP | LoggedIn

	// Bytes that may have passed since a session was written down. A few milliseconds
	// separate the initial sequence numbers of two connections
	// between the same ports by as much (Linux counts 64 ns).
	maxUnseen = 1 << 16
	// maxResent is how far behind a byte may be that is sent again.
	maxResent = 1 << 16
	// rememberEvery is how many bytes of a direction pass until a session is
	// written down again.
	rememberEvery = maxUnseen / 4
)

// Sound reports whether a tracker can have made this.
func (k *Known) Sound() bool {
	return k.Client.IsValid() && k.Server.IsValid() && k.Client.Port() != 0 && k.Server.Port() != 0
}

// continues reports whether a packet can belong to the session that was known,
// and not to a later one with the same addresses and ports.
func (k *Known) continues(p *Packet, toServer bool) bool {
	up, down := p.Seq, p.Ack
	if !toServer {
		up, down = p.Ack, p.Seq
	}
	return p.Flags&ACK != 0 && near(up, k.Up) && near(down, k.Down)
}

func near(seq, known uint32) bool { return seq-known+maxResent <= maxUnseen+maxResent }

// facts are what is known of the session now.
func (s *session) facts() Facts {
	var f Facts
	set := func(yes bool, fact Facts) {
		if yes {
			f |= fact
		}
	}
	set(s.ftp, SpeaksFTP)
	set(s.loggedIn && s.greeted, LoggedIn)
	set(s.unproven && s.portFirst, PortFirst)
	set(s.notFTP, NoFTP)
	set(s.headless, Headless)
	set(s.up.blind || s.down.blind, Blind)
	set(s.over, Leaving)
	set(s.epsvAll, OnlyEPSV)
	return f
}

// remember has written down what is known of the session, if it has changed. The
// packet in hand waits for that where it has taken a permission away, or where
// nothing was written yet: without that the session would be one of which nothing
// is known.
func (t *Tracker) remember(s *session) {
	if !t.remembers {
		return
	}
	was, facts := s.remembered, s.facts()
	moved := s.up.next-was.Up > rememberEvery || s.down.next-was.Down > rememberEvery
	if s.isRemembered && facts == was.Facts && !moved {
		return
	}
	urgent := !s.isRemembered || was.Facts&allows&^facts != 0 || facts&^allows&^was.Facts != 0
	s.isRemembered = true
	s.remembered = Known{Client: s.client, Server: s.server, Up: s.up.next, Down: s.down.next, Facts: facts}
	known := s.remembered
	t.effects = append(t.effects, Effect{Do: DoRemember, Record: Record{Client: s.client, Server: s.server}, Known: &known, Urgent: urgent})
}

// unlearn has forgotten what was known of a session that is over.
func (t *Tracker) unlearn(s *session, why Reason) {
	if !t.remembers || why == Stopped || why == EndOfCapture {
		return // a next daemon may find it alive
	}
	t.effects = append(t.effects, Effect{Do: DoRemember, Record: Record{Client: s.client, Server: s.server}})
}

// recall looks up what a former daemon knew of a session, and whether the packet
// can belong to it. What the client sends does not prove that the session is
// another one: it might just want to be taken for that. Then the server has to
// say something first.
func (t *Tracker) recall(key sessionKey, p *Packet, toServer bool) (k *Known, wait bool) {
	if t.knows == nil {
		return nil, false
	}
	known, ok := t.knows(key.client, key.server)
	switch {
	case !ok:
		return nil, false
	case known.continues(p, toServer):
		return &known, false
	}
	return nil, toServer
}

// resumeKnown goes on with what a former daemon knew of a session that is
// joined; a nil k knows nothing.
func (s *session) resumeKnown(k *Known) {
	if k == nil {
		return
	}
	s.ftp = k.Facts&SpeaksFTP != 0
	s.loggedIn = k.Facts&LoggedIn != 0
	s.mayHaveLoggedIn = !s.loggedIn
	s.unproven, s.portFirst = k.Facts&PortFirst != 0, k.Facts&PortFirst != 0
	s.notFTP, s.headless = k.Facts&NoFTP != 0, k.Facts&Headless != 0
	s.over, s.epsvAll = k.Facts&Leaving != 0, k.Facts&OnlyEPSV != 0
	if k.Facts&Blind != 0 {
		// Where in a record the stream stands is not known: blind for good.
		s.encrypted = true
		for _, d := range []*direction{&s.up, &s.down} {
			d.blind, d.records = true, records{lost: true}
		}
	}
}

// speaksFTP takes an answered command as the proof that a joined session speaks
// FTP. A PORT or EPRT proves nothing: a program that is made to speak to an FTP
// port needs no more than this line to reach its own client. Behind OPEN, which is
// said to a proxy, FTP has yet to come.
func (s *session) speaksFTP(cmd command) {
	answered := cmd.trusted && !cmd.inferred || cmd.marks && s.step == inStep
	proof := cmd.verb.Known() && cmd.verb != parser.PORT && cmd.verb != parser.EPRT && cmd.verb != parser.OPEN
	s.ftp = s.ftp || answered && proof
}

// provesLogin takes what servers do for users alone as the proof that one has
// logged in while no daemon ran. Only the answers count that name a directory
// (257), a file's size or time (213), or end a transfer; not those to PASV and
// PORT, which some servers give to everybody.
func (s *session) provesLogin(cmd command, code int) {
	if !s.mayHaveLoggedIn || !cmd.trusted || cmd.inferred {
		return
	}
	if cmd.verb == parser.Other && (code == 257 || code == 213) || cmd.verb.Transfer() && (code == 226 || code == 250) {
		s.loggedIn, s.mayHaveLoggedIn = true, false
	}
}
