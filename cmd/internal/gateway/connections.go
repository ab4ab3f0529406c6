package gateway

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"ftpinhole/cmd/internal/flows"
	"ftpinhole/conntrack"
)

const (
	// reconcileEvery is how often the records are compared with conntrack, for
	// events that got lost.
	reconcileEvery = 15 * time.Second
	// idleAfter is how long a control session is silent before conntrack is
	// asked whether it is still there.
	idleAfter = time.Minute
)

// Conntrack is what the kernel knows of connections.
type Conntrack interface {
	Get(flows.Flow) (flows.Flow, bool, error)
	Delete(flows.Flow) error
	Dump(mark, mask uint32) ([]flows.Flow, error)
}

// kill asks for a data connection to be deleted, if nobody has answered it.
type kill struct {
	src, dst netip.AddrPort
	to       netip.AddrPort // where it was sent to, before DNAT
	shard    *shard
}

// connections tells the shards what becomes of data and control connections.
type connections struct {
	kernel            Conntrack
	events            <-chan flows.Event
	kills             *mailbox[kill]
	seeks             *mailbox[seek]
	shards            []*shard
	dataMark, control uint32
	clock             func() time.Time
	log               *slog.Logger
	counters          *counters
	joinable          *joinable
	notes             *notes
	twice             *twice
	// known are the data connections that the shards were told of, by their
	// conntrack ids: no more than the kernel had at the last dump and said since.
	known  map[uint32]*knownFlow
	dumps  dumps
	unread trouble
}

// remember takes note of the data connections that are there already: they use
// no pinhole of ours. It is called before the first packet is read, since what
// is opened afterwards may be used at once.
func (c *connections) remember() {
	data, _ := c.dump(c.dataMark)
	c.known = make(map[uint32]*knownFlow, len(data))
	for _, f := range data {
		c.known[f.ID] = newKnownFlow(f)
	}
}

func (c *connections) run(ctx context.Context) {
	c.dumps.done = make(chan dump, 1)
	defer c.dumps.running.Wait()
	ticker := time.NewTicker(reconcileEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-c.events:
			if !ok {
				return
			}
			c.event(ev)
		case <-c.kills.ready:
			for _, k := range c.kills.take() {
				c.kill(k)
			}
		case <-c.seeks.ready:
			c.dumps.seeks = append(c.dumps.seeks, c.seeks.take()...)
			c.beginDump()
		case d := <-c.dumps.done:
			c.endDump(d)
		case <-ticker.C:
			c.dumps.reconcile = true
			c.beginDump()
		}
	}
}

// tell runs f in each shard: only the one that has the connection acts on it.
func (c *connections) tell(f func(*shard, time.Time)) {
	for _, s := range c.shards {
		s.calls.put(func() { f(s, s.clock()) })
	}
}

func (c *connections) event(ev flows.Event) {
	if ev.Kind == flows.Overrun {
		c.counters.overruns.Add(1)
		c.dumps.reconcile = true
		c.beginDump()
		return
	}
	if ev.Flow.Mark&c.dataMark != 0 {
		c.dataEvent(ev)
	} else if ev.Flow.Mark&c.control != 0 {
		c.twice.take(ev)
		if ev.Brought {
			c.joinable.add(ev.Flow.Ends())
		}
		if ev.Kind == flows.Destroy || ev.Flow.State.Over() {
			c.controlOver(ev.Flow, ev.Kind == flows.Destroy)
		}
	}
}

func (c *connections) dataEvent(ev flows.Event) {
	f, gone := ev.Flow, ev.Kind == flows.Destroy
	known := c.known[f.ID]
	isNew := known == nil && ev.Kind == flows.New
	switch {
	case isNew:
		known = newKnownFlow(f)
		c.known[f.ID] = known
	case known == nil: // of an older connection than the daemon
		known = newKnownFlow(f)
	case gone:
		delete(c.known, f.ID)
	default:
		isNew = known.reopens(f)
	}
	c.dumps.hear(f.ID, gone)

	over := gone || known.over(f)
	if over && !gone { // an event has no counters
		if now, ok, err := c.kernel.Get(f); err == nil && ok {
			f = known.ended(now)
		}
	}
	c.data(f, isNew, over, false)
}

// data tells what became of a data connection. Only what is new uses a
// pinhole: later words of it may come when its port is open for the next.
// fromDump says that no event told it.
func (c *connections) data(f flows.Flow, isNew, over, fromDump bool) {
	src, dst := f.Ends()
	// A RST may have been the only answer.
	answered := f.State.Answered() && f.State != flows.Close
	c.tell(func(s *shard, now time.Time) {
		if isNew {
			s.carryOut(madeUp(s.tracker.Used(now, src, dst), fromDump), connection{}, nil)
		}
		if answered {
			s.tracker.Established(src, dst)
		}
		if over {
			s.carryOut(madeUp(s.tracker.Ended(now, src, dst, f.Counted, f.BytesOrig, f.BytesReply), fromDump), connection{}, nil)
		}
	})
}

// controlOver ends a control session, unless another connection has its
// addresses and ports by now. That may be the session itself, if conntrack forgot
// it and picked it up again. One that it picked up the other way round, since the
// server spoke first, is not read, and so as good as forgotten.
func (c *connections) controlOver(f flows.Flow, destroyed bool) {
	why := conntrack.Finish
	switch {
	case destroyed:
		why = conntrack.Vanished
	case f.State == flows.Close:
		why = conntrack.Reset
	}
	f.ID = 0
	client, server := f.Ends()
	if now, ok, err := c.kernel.Get(f); err == nil && ok && !now.State.Over() && now.Client == f.Client {
		if destroyed {
			c.tell(func(s *shard, _ time.Time) { s.tracker.PickedUp(client, server) })
		}
		return
	}
	c.joinable.forget(client, server)
	c.notes.over(client, server)
	c.tell(func(s *shard, now time.Time) {
		s.carryOut(s.tracker.Gone(now, client, server, why), connection{}, nil)
	})
}

// kill deletes a data connection that nobody has answered, and says which way
// it was.
func (c *connections) kill(k kill) {
	f, ok, err := c.kernel.Get(flows.Flow{Client: k.src, Server: k.to})
	if err == nil && ok && f.State.Answered() {
		k.shard.calls.put(func() { k.shard.tracker.Established(k.src, k.dst) })
		return
	}
	if err == nil && ok {
		err = c.kernel.Delete(f)
	}
	if err != nil {
		c.log.Error("a data connection that was withdrawn could not be deleted from conntrack",
			"src", k.src, "dst", k.dst, "err", err)
	}
	k.shard.calls.put(func() {
		s := k.shard
		s.carryOut(s.tracker.Killed(s.clock(), k.src, k.dst), connection{}, nil)
	})
}

// dump asks for the connections that bear a mark.
func (c *connections) dump(mark uint32) ([]flows.Flow, bool) {
	all, err := c.kernel.Dump(mark, mark)
	if err != nil {
		if c.unread.begins() {
			c.log.Error("conntrack could not be read; trying on", "err", err)
		}
		return nil, false
	}
	if c.unread.ends() {
		c.log.Info("conntrack can be read again")
	}
	return all, true
}

// reconcile ends what conntrack no longer holds. What came since it was asked,
// or a moment before, need not be in its answer.
func (s *shard) reconcile(alive map[connection]bool, asked, now time.Time) {
	for _, p := range s.tracker.Pinholes() {
		hole := p.Record.Pinhole
		if hole.SrcPort == 0 || p.Used.After(asked.Add(-time.Second)) {
			continue
		}
		src := netip.AddrPortFrom(hole.Src, hole.SrcPort)
		if _, ok := alive[connection{src, hole.Dst}]; !ok {
			s.carryOut(madeUp(s.tracker.Ended(now, src, hole.Dst, false, 0, 0), true), connection{}, nil)
		}
	}
	for _, c := range s.tracker.Sessions() {
		if c.Last.Before(asked.Add(-idleAfter)) && !alive[connection{c.Client, c.Server}] {
			s.carryOut(madeUp(s.tracker.Gone(now, c.Client, c.Server, conntrack.Vanished), true), connection{}, nil)
		}
	}
}

// madeUp marks the records of effects that come from a dump, not from events:
// their times are those of the dump.
func madeUp(effects []conntrack.Effect, yes bool) []conntrack.Effect {
	for i := range effects {
		effects[i].Record.Reconstructed = yes
	}
	return effects
}
