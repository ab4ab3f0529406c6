package gateway

import (
	"ftpinhole/cmd/internal/splice"
)

// letGoHeld releases a packet that has waited.
func (s *shard) letGoHeld(p packet) {
	defer s.rescue(p)
	raw, _ := p.Data()
	if !s.decoder.IP(raw, &s.pkt) {
		p.Accept()
		return
	}
	s.letGo(p, raw)
}

// letGo releases the packet in s.pkt, whose turn has come, changed as the tracker
// wants it.
func (s *shard) letGo(p packet, raw []byte) {
	segment, changed := s.tracker.Outgoing(&s.pkt)
	if !changed {
		p.Accept()
		return
	}
	out, err := splice.Segment(s.out[:0], raw, segment)
	if err != nil {
		// As it is, it would put the receiver out of step. TCP sends it again.
		s.log.Warn("a packet cannot be rewritten and is dropped", "src", s.pkt.Src, "dst", s.pkt.Dst, "err", err)
		p.Drop()
		return
	}
	s.out = out
	p.AcceptAs(out)
}

// takeAcks changes the acknowledgements of a packet that conntrack has not seen
// yet.
func (s *shard) takeAcks(p packet) {
	defer s.rescue(p)
	raw, _ := p.Data()
	if !s.decoder.IP(raw, &s.pkt) {
		p.Accept()
		return
	}
	acks := s.tracker.Incoming(&s.pkt)
	if acks == nil {
		p.Accept()
		return
	}
	out, changed := splice.Acks(s.out[:0], raw, acks)
	if !changed {
		p.Accept()
		return
	}
	s.out = out
	p.AcceptAs(out)
}

// pass lets a packet go for which there is no room: on, unless its session's
// bytes are shifted.
func (s *shard) pass(p packet) {
	raw, _ := p.Data()
	if s.decoder.IP(raw, &s.pkt) && s.tracker.Rewritten(&s.pkt) {
		p.Drop()
		return
	}
	p.Unread()
}
