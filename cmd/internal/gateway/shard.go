package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"time"

	"ftpinhole/cmd/internal/decode"
	"ftpinhole/conntrack"
	"ftpinhole/rules"
)

const (
	// kernelPatience is how long a packet waits for the kernel (law 1).
	kernelPatience = 2 * time.Second
	// heldPackets is how many packets of one session wait behind another; more
	// go on unseen, which the tracker takes for a gap.
	heldPackets = 256
	// tick is how often time passes for the tracker.
	tick = 50 * time.Millisecond
)

var errPatience = errors.New("the kernel did not answer in time")

// packet is a queued packet: it waits in the kernel for its verdict.
type packet interface {
	// Accept lets it go on as it is, AcceptAs with other bytes.
	Accept() bool
	AcceptAs(payload []byte) bool
	// Drop takes it away: TCP sends it again.
	Drop() bool
	// Unread lets it go without having been read: on, or away where packets must
	// not pass as they are.
	Unread() bool
	Data() (payload []byte, hook uint8)
}

// shard owns the sessions of one queue. All fields belong to its goroutine,
// except the mailboxes and the counters.
type shard struct {
	tracker *conntrack.Tracker
	decoder *decode.Decoder
	packets chan packet
	acks    chan packet // of rewritten sessions, before conntrack
	calls   *mailbox[func()]

	holes     *mailbox[change]
	kills     *mailbox[kill]
	seeks     *mailbox[seek]
	questions *mailbox[question]
	notes     *mailbox[note]
	record    func(conntrack.Record)
	clock     func() time.Time
	log       *slog.Logger
	counters  *counters

	held    map[connection]*hold
	pkt     conntrack.Packet
	out     []byte // the latest packet that left as another one
	stopped bool   // the records have ended: packets go on unseen
	// warned is when the log said last that a data connection was blocked.
	warned time.Time
}

// connection names a control connection whichever way a packet goes.
type connection struct{ low, high netip.AddrPort }

func connectionOf(p *conntrack.Packet) connection {
	if p.Src.Compare(p.Dst) > 0 {
		return connection{p.Dst, p.Src}
	}
	return connection{p.Src, p.Dst}
}

// run serves the shard until the context ends; beat is called with each tick.
func (s *shard) run(ctx context.Context, beat func()) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			s.releaseAll()
			return
		case p := <-s.packets:
			s.counters.packets.Add(1)
			s.take(p)
		case p := <-s.acks:
			s.takeAcks(p)
		case <-s.calls.ready:
			for _, call := range s.calls.take() {
				s.guard(call)
			}
		case <-ticker.C:
			s.guard(s.tick)
			beat()
		}
	}
}

// hand passes a packet to the shard. While it is busy, packets wait in the
// kernel, until the queue there is full and they go on unseen.
func (s *shard) hand(ctx context.Context, p packet) { pass(ctx, s.packets, p) }

// handAcks passes a packet that conntrack has not seen yet.
func (s *shard) handAcks(ctx context.Context, p packet) { pass(ctx, s.acks, p) }

func pass(ctx context.Context, to chan<- packet, p packet) {
	select {
	case to <- p:
	case <-ctx.Done():
		p.Unread()
	}
}

// guard keeps a panic from ending the daemon (law 2).
func (s *shard) guard(f func()) {
	defer func() {
		if r := recover(); r != nil {
			s.panicked(r)
		}
	}()
	f()
}

func (s *shard) panicked(r any) {
	s.counters.panics.Add(1)
	s.log.Error("panic in the packet path; please report this", "panic", r, "stack", string(debug.Stack()))
}

// rescue, deferred, keeps a panic from costing more than one packet's
// inspection (law 2).
func (s *shard) rescue(p packet) {
	if r := recover(); r != nil {
		s.panicked(r)
		p.Unread()
	}
}

// take leads one packet to its verdict.
func (s *shard) take(p packet) {
	defer s.rescue(p)
	raw, hook := p.Data()
	if s.stopped || !s.decoder.IP(raw, &s.pkt) {
		p.Accept() // not ours to judge
		return
	}
	s.pkt.Hook = conntrack.Hook(hook)
	conn := connectionOf(&s.pkt)
	if h := s.held[conn]; h != nil {
		s.queueBehind(h, p)
		return
	}
	now := s.clock()
	effects := s.tracker.Packet(now, &s.pkt)
	if len(effects) == 0 { // nearly all
		s.letGo(p, raw)
		return
	}
	h := &hold{packet: p, since: now}
	s.carryOut(effects, conn, h)
	if len(h.pending) == 0 {
		s.letGo(p, raw)
		return
	}
	h.deadline = s.clock().Add(kernelPatience)
	s.held[conn] = h
}

// carryOut does what the tracker asks for. A packet, if there is one in h,
// waits for the changes in the kernel.
func (s *shard) carryOut(effects []conntrack.Effect, conn connection, h *hold) {
	for i := range effects {
		r := &effects[i].Record
		switch effects[i].Do {
		case conntrack.DoRecord:
			s.counters.count(r)
			s.record(*r)
			s.warnBlocked(r)
		case conntrack.DoOpen:
			s.open(rules.Pinhole{
				ID: r.Pinhole.ID, Src: r.Pinhole.Src, SrcPort: r.Pinhole.FromPort,
				Dst: r.Pinhole.Dst, Timeout: r.Pinhole.Timeout,
				Outside: r.Pinhole.Outside, SeenAs: r.Pinhole.SeenAs,
				Control:      rules.Tuple{Src: r.Client, Dst: effects[i].Translation.Server},
				ControlReply: rules.Tuple{Src: r.Server, Dst: effects[i].Translation.Client},
			}, effects[i].Kept, conn, h)
		case conntrack.DoKeep:
			s.keep(effects[i].Kept, conn, h)
		case conntrack.DoRemember:
			s.remember(&effects[i], conn, h)
		case conntrack.DoForget:
			s.forget(r.Client, r.Server)
		case conntrack.DoAsk:
			s.inquire(r.Client, r.Server, conn, h)
		case conntrack.DoClose:
			s.close(r.Pinhole.ID, conn, h)
		case conntrack.DoKill:
			k := kill{src: netip.AddrPortFrom(r.Pinhole.Src, r.Pinhole.SrcPort), dst: r.Pinhole.Dst, shard: s}
			if k.to = k.dst; r.Pinhole.Outside.IsValid() {
				k.to = r.Pinhole.Outside
			}
			s.kills.put(k)
		case conntrack.DoSeek:
			s.seeks.put(seek{r.Pinhole.ID, s})
		case conntrack.DoRearm:
			s.rearm(r.Pinhole.ID)
		case conntrack.DoLengthen:
			s.lengthen(r.Pinhole.ID, r.Pinhole.Timeout)
		}
	}
}

// warnBlocked says, once a minute at the most, that the accept line is missing.
func (s *shard) warnBlocked(r *conntrack.Record) {
	if r.Reason != conntrack.Blocked || r.Time.Sub(s.warned) < time.Minute {
		return
	}
	s.warned = r.Time
	s.log.Warn("a data connection was dropped by another rule; does each base chain that drops have the line of: ftpinhole rules nft",
		"pinhole", r.Pinhole.ID, "src", r.Pinhole.Src, "dst", r.Pinhole.Dst)
}

// tick lets time pass, and packets go on that waited too long.
func (s *shard) tick() {
	now := s.clock()
	for conn, h := range s.held {
		if !now.Before(h.deadline) {
			s.giveUp(conn, h)
		}
	}
	s.carryOut(s.tracker.Tick(now), connection{}, nil)
}

// stop ends what is open in the records. What is still in the queue begins
// nothing new, since nobody would end it.
func (s *shard) stop(now time.Time) {
	s.stopped = true
	s.carryOut(s.tracker.Stop(now, conntrack.Stopped), connection{}, nil)
}

// releaseAll accepts everything that waits.
func (s *shard) releaseAll() {
	for _, h := range s.held {
		h.packet.Unread()
		for _, p := range h.behind {
			p.Unread()
		}
	}
	clear(s.held)
	for {
		select {
		case p := <-s.packets:
			p.Unread()
		case p := <-s.acks:
			p.Unread()
		default:
			return
		}
	}
}
