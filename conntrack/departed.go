package conntrack

import "time"

// afterwards is how long the sequence numbers of a session are shifted after
// its end: its last packets may be sent again. It is the time that conntrack
// remembers a closed connection (nf_conntrack_tcp_timeout_time_wait).
const afterwards = 120 * time.Second

// departed remembers how ended sessions were rewritten.
type departed struct {
	byKey map[sessionKey]*translated
	queue []*translated // in the order of their ends; forgotten ones stay until their turn
}

// find looks up what a packet's session was like.
func (d *departed) find(p *Packet) (nat *translated, toServer bool) {
	if len(d.byKey) == 0 {
		return nil, false
	}
	if nat = d.byKey[sessionKey{p.Src, p.Dst}]; nat != nil {
		return nat, true
	}
	return d.byKey[sessionKey{p.Dst, p.Src}], false
}

// depart takes leave of a session that ends.
func (t *Tracker) depart(now time.Time, s *session, why Reason) {
	nat := s.nat
	if nat == nil {
		return
	}
	for _, p := range nat.promises {
		p.port.give()
	}
	switch {
	case why == Stopped || why == EndOfCapture:
		t.unwire(nat) // for the next daemon it goes on
	case why == Vanished || why == Reused:
		t.forgetTranslated(nat)
	case nat.kept || nat.waits():
		nat.until = now.Add(afterwards)
		t.departed.byKey[nat.key] = nat
		t.departed.queue = append(t.departed.queue, nat)
		for len(t.departed.queue) > t.limits.Sessions {
			t.forgetOldest()
		}
	}
}

func (t *Tracker) forgetOldest() {
	nat := t.departed.queue[0]
	t.departed.queue = t.departed.queue[1:]
	if !nat.over {
		t.forgetTranslated(nat)
	}
}

// tickDeparted forgets those whose time is over.
func (t *Tracker) tickDeparted(now time.Time) {
	for len(t.departed.queue) > 0 && !now.Before(t.departed.queue[0].until) {
		t.forgetOldest()
	}
}

// forgetTranslated lets go of how a session was rewritten.
func (t *Tracker) forgetTranslated(nat *translated) {
	nat.over = true
	if t.departed.byKey[nat.key] == nat {
		delete(t.departed.byKey, nat.key)
	}
	t.unwire(nat)
	if nat.kept || nat.waits() { // what it was asked before is done first
		t.doForget(nat)
	}
}

func (t *Tracker) unwire(nat *translated) {
	for _, k := range []flowKey{{nat.key.client, nat.Server}, {nat.key.server, nat.Client}} {
		if t.wires[k].nat == nat {
			delete(t.wires, k)
		}
	}
}

func (t *Tracker) doForget(nat *translated) {
	t.do(DoForget, Record{Client: nat.key.client, Server: nat.key.server})
}
