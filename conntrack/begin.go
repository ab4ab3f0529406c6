package conntrack

import (
	"net/netip"
	"slices"
	"time"

	"ftpinhole/parser"
)

// join follows a session from its first data on, if it may.
func (t *Tracker) join(now time.Time, p *Packet) (s *session, toServer bool) {
	if len(p.Payload) == 0 {
		return nil, false
	}
	key := sessionKey{p.Src, p.Dst}
	toServer = slices.Contains(t.ports, p.Dst.Port())
	if !toServer {
		if !slices.Contains(t.ports, p.Src.Port()) {
			return nil, false
		}
		key = sessionKey{p.Dst, p.Src}
	}
	if t.joins == nil || t.ended.has(key) {
		return nil, false
	}
	known, wait := t.recall(key, p, toServer)
	if wait || !t.joins(key.client, key.server) {
		return nil, false
	}
	if s = t.begin(now, key.client, key.server); s == nil {
		return nil, false
	}
	s.rejoin()
	s.resumeKnown(known)
	s.local = localClient(p, toServer)
	return s, toServer
}

// localClient reports whether a packet is of a client that is the gateway.
func localClient(p *Packet, toServer bool) bool {
	return toServer && p.Hook == HookOutput || !toServer && p.Hook == HookInput
}

// begin makes a session, unless a limit forbids it.
func (t *Tracker) begin(now time.Time, client, server netip.AddrPort) *session {
	key := sessionKey{client, server}
	if nat := t.departed.byKey[key]; nat != nil {
		t.forgetTranslated(nat)
	}
	t.strays.drop(key)
	if why := t.quota.take(client.Addr(), 1, 0); why != "" {
		t.deny(now, nil, Record{FlowID: t.ids.next(), Client: client, Server: server}, why)
		t.ended.add(key, 0) // one refusal, not one for each of its packets
		return nil
	}
	if t.lapsed.Len() > 0 && t.quota.crowded(client.Addr()) {
		t.makeRoom(now)
	}
	s := t.newSession(now, client, server)
	if t.translates {
		s.asking = true
		t.do(DoAsk, s.record())
	}
	return s
}

// newSession makes a session that is counted already.
func (t *Tracker) newSession(now time.Time, client, server netip.AddrPort) *session {
	s := &session{
		client: client, server: server, flowID: t.ids.next(),
		terms:   t.policy.Terms(client.Addr(), server.Addr()),
		started: now, last: now,
	}
	s.up.lines = *parser.NewLineReader(t.limits.LineBytes)
	s.down.lines = *parser.NewLineReader(t.limits.LineBytes)
	t.sessions[sessionKey{client, server}] = s
	r := s.record()
	r.Time, r.Action = now, Start
	t.do(DoRecord, r)
	return s
}
