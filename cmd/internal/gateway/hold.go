package gateway

import (
	"net/netip"
	"sync/atomic"
	"time"

	"ftpinhole/conntrack"
	"ftpinhole/rules"
)

// hold is a packet that waits for the kernel, and those of its session that
// came after it.
type hold struct {
	packet   packet
	since    time.Time // when its turn came
	behind   []packet
	pending  map[*job]struct{}
	deadline time.Time
}

// job is something that was asked of the kernel.
type job struct {
	conn connection // whose packet waits for it, if one does
	// settle tells the tracker how it ended.
	settle func(a answer, err error) []conntrack.Effect
	// undo is for a success that comes when nobody reckons with it any more. A
	// job without is never given up: its answer counts whenever it comes.
	undo func()
	// late: it was given up, since its packet has gone on without it.
	late  atomic.Bool
	opens bool // it is a pinhole to be opened
}

// queueBehind lets a packet wait for its session's turn.
func (s *shard) queueBehind(h *hold, p packet) {
	if len(h.behind) >= heldPackets {
		s.pass(p)
		return
	}
	h.behind = append(h.behind, p)
}

// open asks for a pinhole, and before that to keep what is to be kept of its
// session.
func (s *shard) open(hole rules.Pinhole, kept *conntrack.Kept, conn connection, h *hold) {
	j := &job{conn: conn, opens: true, undo: func() { s.close(hole.ID, connection{}, nil) }}
	j.settle = func(a answer, err error) []conntrack.Effect {
		if err != nil {
			s.log.Error("the kernel did not open a pinhole; the data connection will fail", "pinhole", hole.ID, "err", err)
		}
		return s.tracker.Opened(s.clock(), hole.ID, a.by, err)
	}
	c := s.order(j, h)
	c.do = func(to *holes) (answer, error) { return to.open(hole, kept, s) }
	if h != nil {
		done := c.done
		c.done = func(a answer, err error) {
			s.counters.acknowledged.Observe(s.clock().Sub(h.since).Seconds())
			done(a, err)
		}
	}
	s.holes.put(c)
}

// keep asks to keep what a next daemon needs of a session.
func (s *shard) keep(kept *conntrack.Kept, conn connection, h *hold) {
	j := &job{conn: conn, undo: func() {}} // its packets come by, and leave as they came
	j.settle = func(_ answer, err error) []conntrack.Effect {
		if err != nil {
			s.log.Error("a line that is cut over packets cannot be rewritten; its data connection will fail",
				"client", kept.Client, "server", kept.Server, "err", err)
		}
		return s.tracker.Kept(s.clock(), kept.Client, kept.Server, err)
	}
	c := s.order(j, h)
	c.do = func(to *holes) (answer, error) { return answer{}, to.keeper.keep(kept, s) }
	s.holes.put(c)
}

// forget says that nothing needs to be kept of a session any more.
func (s *shard) forget(client, server netip.AddrPort) {
	s.holes.put(change{
		do: func(to *holes) (answer, error) {
			to.keeper.forget(client, server)
			return answer{}, nil
		},
		done: func(answer, error) {},
	})
}

// close asks to take a pinhole away.
func (s *shard) close(id string, conn connection, h *hold) {
	j := &job{conn: conn}
	j.settle = func(a answer, _ error) []conntrack.Effect {
		return s.tracker.Closed(s.clock(), id, a.arrived)
	}
	c := s.order(j, h)
	c.do = func(to *holes) (answer, error) { return to.close(id) }
	s.holes.put(c)
}

// rearm lets a pinhole take another SYN.
func (s *shard) rearm(id string) {
	s.holes.put(change{
		do: func(to *holes) (answer, error) { return answer{}, to.rearm(id) },
		done: func(_ answer, err error) {
			if err != nil {
				s.log.Error("a pinhole whose SYN was dropped could not be armed again", "pinhole", id, "err", err)
			}
			s.calls.put(func() { s.tracker.Rearmed(id) })
		},
	})
}

// lengthen lets a pinhole wait for longer.
func (s *shard) lengthen(id string, d time.Duration) {
	s.holes.put(change{
		do: func(to *holes) (answer, error) { return to.lengthen(id, d) },
		done: func(a answer, err error) {
			if err != nil {
				s.log.Error("a pinhole whose transfer waits could not be given more time; it expires unless that is done in time", "pinhole", id, "err", err)
			}
			s.calls.put(func() { s.tracker.Lengthened(s.clock(), id, a.done) })
		},
	})
}

// order is a change that h, if there is one, waits for, and whose answer settles
// the job.
func (s *shard) order(j *job, h *hold) change {
	h.await(j)
	return change{late: &j.late, done: func(a answer, err error) {
		s.calls.put(func() { s.answered(j, a, err) })
	}}
}

// inquire asks how the session's addresses are translated.
func (s *shard) inquire(client, server netip.AddrPort, conn connection, h *hold) {
	var found conntrack.Translation
	j := &job{conn: conn, undo: func() {}}
	j.settle = func(_ answer, err error) []conntrack.Effect {
		return s.tracker.Translated(s.clock(), client, server, found, err)
	}
	h.await(j)
	s.questions.put(question{client: client, server: server, done: func(t conntrack.Translation, err error) {
		s.calls.put(func() {
			found = t
			s.answered(j, answer{}, err)
		})
	}})
}

// await lets h, if there is one, wait for j.
func (h *hold) await(j *job) {
	if h == nil {
		return
	}
	if h.pending == nil {
		h.pending = make(map[*job]struct{})
	}
	h.pending[j] = struct{}{}
}

// answered takes the kernel's answer to a job.
func (s *shard) answered(j *job, a answer, err error) {
	if j.late.Load() {
		if err == nil { // nobody reckons with it any more
			j.undo()
		}
		return
	}
	s.settle(j, a, err)
	h := s.held[j.conn]
	if h == nil {
		return
	}
	delete(h.pending, j)
	if len(h.pending) == 0 {
		s.release(j.conn, h)
	}
}

// giveUp ends the wait of a packet for the kernel. What was to be opened is
// not; what was to be shut will be, and is recorded then. So is what is asked
// for instead.
func (s *shard) giveUp(conn connection, h *hold) {
	pending := h.pending
	h.pending = nil
	for j := range pending {
		if j.undo != nil {
			j.late.Store(true)
			s.settle(j, answer{}, errPatience)
		}
	}
	for j := range h.pending {
		if j.opens { // asked for only now, and in time for this packet
			h.deadline = s.clock().Add(kernelPatience)
			return
		}
	}
	s.release(conn, h)
}

// settle tells the tracker how a job ended. What it asks for then, the packet
// waits for too. A panic holds no packet.
func (s *shard) settle(j *job, a answer, err error) {
	s.guard(func() { s.carryOut(j.settle(a, err), j.conn, s.held[j.conn]) })
}

// release lets a held packet go on, and takes those behind it in their turn.
func (s *shard) release(conn connection, h *hold) {
	delete(s.held, conn)
	s.letGoHeld(h.packet)
	for i, p := range h.behind {
		if next := s.held[conn]; next != nil {
			for _, p := range h.behind[i:] {
				s.queueBehind(next, p)
			}
			return
		}
		s.take(p)
	}
}
