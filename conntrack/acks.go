package conntrack

// Incoming says how the acknowledgements of a packet are to be changed before
// conntrack sees it: nil if not at all. The packet's addresses are those on the
// wire, before any NAT.
func (t *Tracker) Incoming(p *Packet) *Acks {
	w, ok := t.wires[flowKey{p.Src, p.Dst}]
	if !ok || p.Flags&ACK == 0 || p.Flags&SYN != 0 {
		return nil
	}
	q := w.nat.of(!w.toServer) // it acknowledges what the other side sent
	if t.beginsAnew(w, p) || !q.plausible(p.Ack) {
		return nil
	}
	q.hear(p.Ack)
	if !q.shifts() {
		return nil
	}
	t.acks = Acks{q}
	return &t.acks
}

// beginsAnew reports whether a packet belongs to a new connection of the same
// addresses and ports, whose handshake is about to be completed.
func (t *Tracker) beginsAnew(w wireTuple, p *Packet) bool {
	h := t.halfOpen.byKey[w.nat.key]
	if h == nil || !h.answered {
		return false
	}
	begin := h.serverISN
	if !w.toServer {
		begin = h.isn
	}
	return p.Ack-begin-1 <= maxHeld
}

// Acks translates acknowledgements of what was sent on into such of what was
// sent. It is valid until the tracker's next call.
type Acks struct{ q *sequence }

// Ack translates an acknowledgement number.
func (a *Acks) Ack(n uint32) uint32 { return a.q.sent(n) }

// Sack translates a block of selective acknowledgement (RFC 2018 3): its left
// edge, and its right one which lies behind it. It is false if nothing is left.
func (a *Acks) Sack(left, right uint32) (l, r uint32, ok bool) {
	l, r = a.q.sentBlock(left, right)
	if a.q.restored && a.q.plausible(right) {
		a.q.passed(r) // it left before the restart
	}
	return l, r, before(l, r)
}
