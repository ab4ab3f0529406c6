package conntrack

import (
	"slices"
	"time"

	"ftpinhole/parser"
)

// named is what is known of the transfer that a channel is for.
type named uint8

const (
	unnamed  named = iota // the next transfer is going to use it
	byOne                 // a transfer was asked for
	doubtful              // one may have been asked for or refused unseen
)

// asks reports whether an endpoint is asked for or named: a transfer behind it
// uses another channel than one before.
func (c *command) asks() bool {
	switch c.verb {
	case parser.PASV, parser.EPSV, parser.PORT, parser.EPRT:
		return true
	}
	return false
}

// transfer says what the channel is for that the command is going to use: the
// current one, unless a request still waits for its answer.
func (s *session) transfer(cmd parser.Command, out *command) {
	out.path = bounded(cmd.Arg, maxPath)
	for i := range s.outstanding {
		if asks := &s.outstanding[i]; asks.verb == parser.PASV || asks.verb == parser.EPSV || asks.waiting != nil {
			return
		}
	}
	if c := s.current; c != nil {
		c.transfer(out)
	}
}

// transfer says that the command is going to use the channel, if none before it
// is.
func (c *channel) transfer(by *command) {
	switch c.named {
	case unnamed:
		c.named, by.channel = byOne, c
		c.record.Transfer, c.record.Path = by.verb.String(), by.path
	case doubtful: // this one, or the one before
		c.record.Transfer, c.record.Path = "", ""
	}
}

// nextTransfer is the first transfer that waits for its answer, of those that
// use the current channel.
func (s *session) nextTransfer() *command {
	for i := range s.outstanding {
		switch c := &s.outstanding[i]; {
		case c.verb.Transfer():
			return c
		case c.asks():
			return nil
		}
	}
	return nil
}

// transferBegins takes 1xx: what it answers has its channel.
func (t *Tracker) transferBegins(now time.Time, s *session, code int) {
	if code == 125 || code == 150 {
		t.passToTransfer(now, s)
	}
	if c := s.nextTransfer(); c != nil {
		c.begun = true
	}
}

// passToTransfer takes off the list what stands before the first transfer, which
// 125 or 150 shows to be answered: they answer nothing else (RFC 959 5.4). Else a
// command that the server left unanswered would shift all later replies by one. A
// PORT among them was agreed to, or its transfer had not begun.
func (t *Tracker) passToTransfer(now time.Time, s *session) {
	first := slices.IndexFunc(s.outstanding, func(c command) bool { return c.verb.Transfer() })
	if first <= 0 || slices.ContainsFunc(s.outstanding[:first], func(c command) bool {
		return c.bears() || c.passive() || c.waiting != nil
	}) {
		return
	}
	before := slices.Clone(s.outstanding[:first])
	s.outstanding = slices.Delete(s.outstanding, 0, first)
	for _, c := range before {
		if c.marks && s.step == needReply {
			s.step = inStep
		}
		if c.asks() {
			t.takeEffect(now, s, c, 200)
		} else if !c.mayLackReply() {
			s.skipped += 1 + c.more
		}
	}
}

// transferRefused lets the next transfer use the channel of one that was refused
// before it began. Until there is one, the channel goes by the name that it has.
func (s *session) transferRefused(cmd command) {
	if cmd.begun || cmd.channel == nil {
		return
	}
	cmd.channel.named = unnamed
	if next := s.nextTransfer(); next != nil {
		cmd.channel.transfer(next)
	}
}

// doubtTransfer says that the client may have asked for a transfer, unseen.
func (s *session) doubtTransfer() {
	if c := s.current; c != nil && c.named == unnamed {
		c.named = doubtful
	}
}

// unheard says that the command's answer will not be known.
func (c *command) unheard() {
	if c.verb.Transfer() && c.channel != nil && !c.begun {
		c.channel.named = doubtful
	}
}
