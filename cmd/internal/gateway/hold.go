package gateway

import (
	"sync/atomic"
	"time"

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

// job is a change that was asked for.
type job struct {
	id   string
	add  bool
	conn connection // whose packet waits for it, if one does
	// late: the pinhole was given up, since its packet has gone on without it.
	late atomic.Bool
}

// queueBehind lets a packet wait for its session's turn.
func (s *shard) queueBehind(h *hold, p packet) {
	if len(h.behind) >= heldPackets {
		p.Unread()
		return
	}
	h.behind = append(h.behind, p)
}

// change asks for a change in the kernel's pinholes.
func (s *shard) change(c change, conn connection, h *hold) {
	j := &job{id: c.hole.ID, add: c.add, conn: conn}
	if h != nil {
		if h.pending == nil {
			h.pending = make(map[*job]struct{})
		}
		h.pending[j] = struct{}{}
	}
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

// answered takes the kernel's answer to a change.
func (s *shard) answered(j *job, arrived bool, err error) {
	if j.late.Load() {
		if err == nil { // nobody reckons with it any more
			s.change(change{hole: rules.Pinhole{ID: j.id}}, connection{}, nil)
		}
		return
	}
	s.guard(func() { s.settle(j, arrived, err) }) // a panic holds no packet
	s.settled(j)
}

// giveUp ends the wait of a packet for the kernel. What was to be opened is
// not; what was to be shut will be, and is recorded then.
func (s *shard) giveUp(conn connection, h *hold) {
	for j := range h.pending {
		if j.add {
			j.late.Store(true)
			s.guard(func() { s.settle(j, false, errPatience) })
		}
	}
	clear(h.pending)
	s.release(conn, h)
}

// settle tells the tracker how a change ended.
func (s *shard) settle(j *job, arrived bool, err error) {
	if j.add {
		if err != nil {
			s.log.Error("the kernel did not open a pinhole; the data connection will fail", "pinhole", j.id, "err", err)
		}
		s.carryOut(s.tracker.Opened(s.clock(), j.id, err), j.conn, nil)
		return
	}
	s.carryOut(s.tracker.Closed(s.clock(), j.id, arrived), j.conn, nil)
}

// settled lets the packet go on that waited for the job, if that was the last.
func (s *shard) settled(j *job) {
	h := s.held[j.conn]
	if h == nil {
		return
	}
	delete(h.pending, j)
	if len(h.pending) == 0 {
		s.release(j.conn, h)
	}
}

// release lets a held packet go on, and takes those behind it in their turn.
func (s *shard) release(conn connection, h *hold) {
	delete(s.held, conn)
	h.packet.Accept()
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
