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
	settle func(arrived bool, err error) []conntrack.Effect
	// undo is for a success that comes when nobody reckons with it any more. A
	// job without is never given up: its answer counts whenever it comes.
	undo func()
	// late: it was given up, since its packet has gone on without it.
	late atomic.Bool
}

// queueBehind lets a packet wait for its session's turn.
func (s *shard) queueBehind(h *hold, p packet) {
	if len(h.behind) >= heldPackets {
		s.pass(p)
		return
	}
	h.behind = append(h.behind, p)
}

// change asks for a change in the kernel's pinholes.
func (s *shard) change(c change, conn connection, h *hold) {
	id, j := c.hole.ID, &job{conn: conn}
	switch {
	case c.add:
		j.settle = func(_ bool, err error) []conntrack.Effect {
			if err != nil {
				s.log.Error("the kernel did not open a pinhole; the data connection will fail", "pinhole", id, "err", err)
			}
			return s.tracker.Opened(s.clock(), id, err)
		}
		j.undo = func() { s.change(change{hole: rules.Pinhole{ID: id}}, connection{}, nil) }
	case c.keep != nil:
		client, server := c.keep.Client, c.keep.Server
		j.settle = func(_ bool, err error) []conntrack.Effect {
			if err != nil {
				s.log.Error("a line that is cut over packets cannot be rewritten; its data connection will fail",
					"client", client, "server", server, "err", err)
			}
			return s.tracker.Kept(s.clock(), client, server, err)
		}
		j.undo = func() {} // its packets come by, and leave as they came
	default:
		j.settle = func(arrived bool, _ error) []conntrack.Effect {
			return s.tracker.Closed(s.clock(), id, arrived)
		}
	}
	h.await(j)
	c.late = &j.late
	c.done = func(arrived bool, err error) {
		if c.add && h != nil {
			s.counters.acknowledged.Observe(s.clock().Sub(h.since).Seconds())
		}
		s.calls.put(func() { s.answered(j, arrived, err) })
	}
	s.holes.put(c)
}

// rearm lets a pinhole take another SYN.
func (s *shard) rearm(id string) {
	s.holes.put(change{rearm: true, hole: rules.Pinhole{ID: id}, done: func(_ bool, err error) {
		if err != nil {
			s.log.Error("a pinhole whose SYN was dropped could not be armed again", "pinhole", id, "err", err)
		}
		s.calls.put(func() { s.tracker.Rearmed(id) })
	}})
}

// inquire asks how the session's addresses are translated.
func (s *shard) inquire(client, server netip.AddrPort, conn connection, h *hold) {
	var found conntrack.Translation
	j := &job{conn: conn, undo: func() {}}
	j.settle = func(_ bool, err error) []conntrack.Effect {
		return s.tracker.Translated(s.clock(), client, server, found, err)
	}
	h.await(j)
	s.questions.put(question{client: client, server: server, done: func(t conntrack.Translation, err error) {
		s.calls.put(func() {
			found = t
			s.answered(j, false, err)
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
func (s *shard) answered(j *job, arrived bool, err error) {
	if j.late.Load() {
		if err == nil { // nobody reckons with it any more
			j.undo()
		}
		return
	}
	s.settle(j, arrived, err)
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
// not; what was to be shut will be, and is recorded then.
func (s *shard) giveUp(conn connection, h *hold) {
	for j := range h.pending {
		if j.undo != nil {
			j.late.Store(true)
			s.settle(j, false, errPatience)
		}
	}
	clear(h.pending)
	s.release(conn, h)
}

// settle tells the tracker how a job ended. What it asks for then, the packet
// waits for too. A panic holds no packet.
func (s *shard) settle(j *job, arrived bool, err error) {
	s.guard(func() { s.carryOut(j.settle(arrived, err), j.conn, s.held[j.conn]) })
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
