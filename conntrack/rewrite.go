package conntrack

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"ftpinhole/parser"
)

// naming is an endpoint in the text of the line in hand.
type naming struct {
	announced netip.AddrPort // 229 has no address
	from, to  int            // where it stands
	free      bool           // what follows it is for people (227, 229)
	ipv4      bool           // it has room for an address of IPv4 only (PORT, 227)
	kept      bool           // it is translated further out (see Terms)
	write     func(dst []byte, ap netip.AddrPort) []byte
}

// stays reports whether the line goes on as it came, since it has to, or since it
// cannot name an endpoint of the address outer. What it says is right if the
// endpoint has the port outside that it names.
func (n naming) stays(outer netip.Addr) bool { return n.kept || n.ipv4 && !outer.Unmap().Is4() }

// promise is a data channel that was agreed on, with what it takes where
// addresses are translated.
type promise struct {
	record  Record
	port    lease
	rewrite *rewrite // nil if the line goes on as it came
}

// rewrite is an edit that a line needs, and what stands in its place if it
// cannot be made.
type rewrite struct {
	nat  *translated
	q    *sequence
	edit Edit
	back *Edit
	keep bool // it needs what DoKeep does
}

// inside says where in the session's own addresses an endpoint is
// that one side announced.
func (s *session) inside(mode Mode, announced netip.AddrPort) netip.AddrPort {
	if s.nat == nil {
		return announced
	}
	own, outside := s.server.Addr(), s.nat.Server.Addr()
	if mode == Active {
		own, outside = s.client.Addr(), s.nat.Client.Addr()
	}
	if announced.Addr() == outside {
		return netip.AddrPortFrom(own, announced.Port())
	}
	return announced
}

// meant says where in the session's own addresses the endpoint is that one side
// announced. kept reports that the address is neither its own nor the one that
// the gateway gives it, and that the line is to stay nevertheless.
func (t *Tracker) meant(s *session, mode Mode, announced netip.AddrPort) (dst netip.AddrPort, kept bool) {
	dst = s.inside(mode, announced)
	own, keep, peer := s.client.Addr(), s.terms.PortKeep, false
	if mode == Passive {
		own, keep = s.server.Addr(), s.terms.PasvKeep
		// Without rewriting the client goes where it was told to; who only decides
		// and records decides as if it were rewritten.
		peer = s.terms.PasvPeer && (s.nat != nil || !t.translates)
	}
	if !dst.IsValid() || dst.Addr() == own || !keep && !peer {
		return dst, false
	}
	return netip.AddrPortFrom(own, dst.Port()), keep
}

// translate adds to a promise what it takes that the other side reaches the
// endpoint: an outside port, and another text.
func (t *Tracker) translate(s *session, p *promise, n naming) Reason {
	hole := &p.record.Pinhole
	own, outer := s.server, s.nat.Server.Addr()
	seenAs, d := s.nat.Client.Addr(), &s.down
	if p.record.Mode == Active {
		own, outer = s.client, s.nat.Client.Addr()
		seenAs, d = s.nat.Server.Addr(), &s.up
	}
	if hole.Dst.Addr() != own.Addr() {
		return "" // a third host that the policy allows: its translation is not known
	}
	outside := hole.Dst
	if outer != own.Addr() {
		if p.port = t.outsidePort(s, p.record, outer, n); p.port.outside == nil {
			return LimitTotal
		}
		outside = p.port.key.to
		hole.Outside = outside
	}
	if seenAs != hole.Src {
		hole.SeenAs = seenAs
	}
	if n.stays(outer) || n.announced.Port() == outside.Port() && (n.announced.Addr() == outside.Addr() || !n.announced.Addr().IsValid()) {
		return ""
	}
	q := s.sequence(d)
	why := q.alterable(&d.stream, n)
	if why == "" {
		p.rewrite = q.rewrite(s.nat, n, n.write(nil, outside))
	}
	return why
}

// alterable says why the line in hand cannot be changed, if so.
func (q *sequence) alterable(s *stream, n naming) Reason {
	switch {
	case q.tooLate != "":
		return q.tooLate
	case !q.line.Plain:
		return Malformed
	case q.waiting(s) >= maxUnacked:
		return LimitSession
	case q.unsure, q.Withheld == nil && before(q.number(n.from), q.left):
		return OutOfStep // a part of it may have left already
	}
	return ""
}

// number is the sequence number of a byte of the line in hand.
func (q *sequence) number(at int) uint32 { return q.lineEnd - uint32(q.line.RawLen-at) }

// rewrite makes the edit that puts tuple in the endpoint's place.
func (q *sequence) rewrite(nat *translated, n naming, tuple []byte) *rewrite {
	r := &rewrite{nat: nat, q: q}
	text := q.line.Text
	to, b := splice(text, n, tuple)
	if w := q.Withheld; w != nil { // all of it up to the line's end
		cut := int(w.Seq - q.number(0))
		ending := strings.Repeat("\r", q.line.RawLen-len(text)-1) + "\n"
		b = slices.Concat(text[cut:n.from], b, text[to:], []byte(ending))
		r.edit = Edit{Seq: w.Seq, Length: q.lineEnd - w.Seq, Bytes: b, Told: q.told, Last: w.Last}
		r.back = q.unwithheld()
	} else {
		r.edit = Edit{Seq: q.number(n.from), Length: uint32(to - n.from), Bytes: b, Last: text[n.from-1]}
	}
	r.keep = nat.kept || !r.edit.inPlace()
	return r
}

// splice says what has to stand in the text from the endpoint up to to. Where
// the rest is for people, it makes up for a tuple of another length: with blanks
// at its end, or with those and the dot that are there.
func splice(text []byte, n naming, tuple []byte) (to int, b []byte) {
	more := len(tuple) - (n.to - n.from)
	if !n.free || more == 0 {
		return n.to, tuple
	}
	rest := text[n.to:]
	if more < 0 {
		return len(text), slices.Concat(tuple, rest, bytes.Repeat([]byte(" "), -more))
	}
	if spare := len(rest) - len(bytes.TrimRight(rest, " .")); spare < more {
		return n.to, tuple
	}
	return len(text), slices.Concat(tuple, rest[:len(rest)-more])
}

// apply puts the edit in its place.
func (r *rewrite) apply() {
	r.q.Edits = append(r.q.Edits, r.edit)
	r.q.Withheld, r.q.told = nil, 0
}

// settle withdraws the edit if the kernel has failed.
func (r *rewrite) settle(err error) {
	if err == nil {
		return
	}
	q := r.q
	at := slices.IndexFunc(q.Edits, func(e Edit) bool { return e.Seq == r.edit.Seq })
	switch {
	case at < 0:
	case r.back != nil:
		q.Edits[at] = *r.back
	default:
		q.Edits = slices.Delete(q.Edits, at, at+1)
	}
	r.nat.stale = r.nat.stale || r.keep
}

// activeNaming is where the argument of PORT or EPRT stands.
func activeNaming(text []byte, cmd parser.Command, e parser.Endpoint) naming {
	at := argument(text, cmd)
	n := naming{announced: e.Addr, from: at + e.Start, to: at + e.End, ipv4: true, write: parser.AppendHostPort}
	if cmd.Verb == parser.EPRT {
		n.ipv4 = false
		delim := cmd.Arg[0]
		n.write = func(dst []byte, ap netip.AddrPort) []byte { return parser.AppendExtended(dst, delim, ap) }
	}
	return n
}

// passiveNaming is where the endpoint of a 227 or 229 stands.
func passiveNaming(rep parser.Reply, e parser.Endpoint) naming {
	const at = 4 // behind the code
	n := naming{announced: e.Addr, from: at + e.Start, to: at + e.End, free: true, ipv4: true, write: parser.AppendPassive}
	if rep.Code == 229 {
		n.ipv4 = false
		delim := rep.Text[e.Start]
		n.announced = netip.AddrPortFrom(netip.Addr{}, e.Addr.Port())
		n.write = func(dst []byte, ap netip.AddrPort) []byte {
			return parser.AppendExtendedPassive(dst, delim, ap.Port())
		}
	}
	return n
}
