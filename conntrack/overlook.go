package conntrack

import (
	"bytes"
	"net/netip"
	"time"

	"ftpinhole/parser"
)

// overlook records what a packet negotiates that cannot be read in its place: it
// is of a session that is not followed (s is nil), or does not go on with s. Lines
// that are cut are not found.
func (t *Tracker) overlook(now time.Time, s *session, p *Packet, toServer bool) {
	if s != nil && (s.up.blind || s.down.blind) {
		return
	}
	for line := range bytes.Lines(p.Payload) {
		if text := bytes.TrimRight(line, "\r\n"); len(text) < len(line) {
			t.overlookLine(now, s, p, toServer, text)
		}
	}
}

func (t *Tracker) overlookLine(now time.Time, s *session, p *Packet, toServer bool, text []byte) {
	client, server := p.Dst, p.Src
	if toServer {
		client, server = p.Src, p.Dst
	}
	r := Record{Client: client, Server: server}
	if toServer {
		cmd := parser.ParseCommand(text)
		if cmd.Verb != parser.PORT && cmd.Verb != parser.EPRT {
			return
		}
		r.Mode, r.Command = Active, cmd.Verb.String()
		r.Pinhole = Pinhole{Src: server.Addr(), Dst: announcedBy(cmd)}
	} else {
		dst, ok := namedIn(text, server.Addr())
		if !ok {
			return
		}
		r.Mode, r.Pinhole = Passive, Pinhole{Src: client.Addr(), Dst: dst}
	}

	why := OutOfStep
	if s != nil {
		r.FlowID, r.User = s.flowID, s.user
		why = s.refusedOutOfStep()
	} else {
		r.FlowID = t.strayID(sessionKey{client, server})
	}
	t.deny(now, s, r, why)
}

// announcedBy is the endpoint of PORT or EPRT, the zero value if it has none.
func announcedBy(cmd parser.Command) netip.AddrPort {
	parse := parser.ParseHostPort
	if cmd.Verb == parser.EPRT {
		parse = parser.ParseExtended
	}
	endpoint, err := parse(cmd.Arg)
	if err != nil {
		return netip.AddrPort{}
	}
	return endpoint.Addr
}

// strayID is the flow id of a connection that is not followed: that of the
// session that it was, if it was one.
func (t *Tracker) strayID(key sessionKey) uint64 {
	if !t.strays.has(key) {
		t.strays.add(key, t.ids.next())
	}
	return t.strays.have[key]
}
