package conntrack

import (
	"net/netip"
	"time"
)

// wireTuple says whose packets have certain addresses on the wire.
type wireTuple struct {
	nat      *translated
	toServer bool
}

// Rewritten reports whether the sequence numbers of the packet's session are
// shifted (or its bytes withheld): a packet of it must not pass as it is. The
// packet's addresses are those of the hooks after conntrack.
func (t *Tracker) Rewritten(p *Packet) bool {
	nat, _ := t.departed.find(p)
	if s, _ := t.find(p); s != nil {
		nat = s.nat
	}
	return nat != nil && (nat.kept || nat.waits())
}

// waits reports whether the kernel has yet to answer about the session.
func (n *translated) waits() bool { return n.opening+n.keeping > 0 }

// keep is what a next daemon needs of the session.
func (n *translated) keep() *Kept {
	n.stale = false
	return &Kept{
		Client: n.key.client, Server: n.key.server, Translation: n.Translation,
		Up: n.up.clone(), Down: n.down.clone(),
	}
}

// doKeep asks that the session be kept as it stands.
func (t *Tracker) doKeep(nat *translated) {
	nat.keeping++
	t.effects = append(t.effects, Effect{Do: DoKeep, Kept: nat.keep()})
}

// Kept is the answer to DoKeep. With an error nothing is rewritten.
func (t *Tracker) Kept(now time.Time, client, server netip.AddrPort, err error) []Effect {
	t.effects = t.effects[:0]
	key := sessionKey{client, server}
	s, nat := t.sessions[key], t.departed.byKey[key]
	if s != nil {
		nat = s.nat
	}
	if nat == nil || nat.keeping == 0 {
		return nil
	}
	nat.keeping--
	if err == nil {
		t.confirm(nat)
	}
	for _, q := range []*sequence{&nat.up, &nat.down} {
		switch {
		case q.Withheld == nil:
		case err == nil:
			q.told = uint32(len(q.Withheld.Bytes))
		default:
			q.yield()
			q.tooLate = KernelError
			nat.stale = true
		}
	}
	for _, p := range nat.promises {
		if p.rewrite == nil {
			continue
		}
		p.rewrite.settle(err)
		p.rewrite = nil
		if err != nil && s != nil {
			s.withdraw(p)
			t.deny(now, s, p.record, KernelError)
		}
	}
	t.mend(nat)
	return t.effects
}

// confirm takes note that all packets of a session come by from now on.
func (t *Tracker) confirm(nat *translated) {
	if nat.kept || nat.over {
		return
	}
	nat.kept = true
	t.wires[flowKey{nat.key.client, nat.Server}] = wireTuple{nat, true}
	t.wires[flowKey{nat.key.server, nat.Client}] = wireTuple{nat, false}
}

// mend keeps the session again, or forgets it, if what was to be kept has turned
// out otherwise: the kernel may only have been slow.
func (t *Tracker) mend(nat *translated) {
	switch {
	case !nat.stale || nat.waits() || nat.over:
	case nat.kept:
		t.doKeep(nat)
	default:
		nat.stale = false
		t.doForget(nat)
	}
}

// rewritten takes the kernel's answer to the DoOpen of a pinhole whose line is
// rewritten.
func (t *Tracker) rewritten(id string, err error) {
	r := t.rewrites[id]
	if r == nil {
		return
	}
	delete(t.rewrites, id)
	r.nat.opening--
	r.settle(err)
	if err == nil && r.keep {
		t.confirm(r.nat)
	}
	t.mend(r.nat)
}
