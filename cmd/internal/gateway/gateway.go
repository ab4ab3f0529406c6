package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"ftpinhole/cmd/internal/audit"
	"ftpinhole/cmd/internal/config"
	"ftpinhole/cmd/internal/control"
	"ftpinhole/cmd/internal/flows"
	"ftpinhole/cmd/internal/queue"
	"ftpinhole/cmd/internal/trail"
	"ftpinhole/conntrack"
	"ftpinhole/rules/nft"
)

const (
	// controlMark is the bit that control sessions carry in their conntrack
	// mark, so that the kernel sends no events of others.
	controlMark = 0x20000000
	// packetsWaiting is how many packets wait for a shard in our memory; the
	// others wait in the kernel's queue.
	packetsWaiting = 256
)

// Gateway is the running daemon.
type Gateway struct {
	config  config.Config // as at the start
	current atomic.Pointer[config.Config]
	reload  sync.Mutex // held over a change of current
	version string
	log     *slog.Logger
	started time.Time
	ready   atomic.Bool

	lock      *net.UnixListener // nil if a stranger holds it
	audit     *audit.Log
	recording sync.Mutex // guards the order of records
	trail     *trail.Trail
	// queues are in the order of their numbers: one a shard, then two of all
	// shards for the packets of rewritten sessions, before conntrack and after.
	queues   []*queue.Queue
	verdicts []verdicts // of each queue

	shards   []*shard
	table    *nft.Table
	expect   *expectations // nil: pinholes are in the table's sets alone
	kernel   *flows.Conn
	events   *flows.Listener
	holes    *holes
	keeper   *keeper
	asks     *translations
	notes    *notes
	outside  *conntrack.Outside
	guard    *guard
	arrivals *arrivals
	conns    *connections
	counters *counters
	joinable *joinable
	quota    *conntrack.Quota
	feed     control.Feed
	beats    beats
}

// queued makes a queue's packet one of a shard, and counts its verdict.
type queued struct {
	*queue.Packet
	verdicts *verdicts
}

func (q queued) Data() ([]byte, uint8) { return q.Payload, q.Hook }
func (q queued) Accept() bool          { return counted(q.Packet.Accept(), &q.verdicts.accepted) }
func (q queued) AcceptAs(b []byte) bool {
	return counted(q.Packet.AcceptAs(b), &q.verdicts.rewritten)
}
func (q queued) Drop() bool   { return counted(q.Packet.Drop(), &q.verdicts.dropped) }
func (q queued) Unread() bool { return counted(q.Packet.Accept(), &q.verdicts.unread) }

// rewritten is a packet of a session whose bytes are shifted.
type rewritten struct{ queued }

func (r rewritten) Unread() bool { return r.Drop() }

// verdicts counts a queue's packets.
type verdicts struct{ accepted, rewritten, dropped, unread atomic.Uint64 }

// counted counts a verdict that was given.
func counted(given bool, as *atomic.Uint64) bool {
	if given {
		as.Add(1)
	}
	return given
}

// Run makes the table and serves until the context ends; ready is called when
// control sessions are being read. At the end nothing of ours is left in the
// kernel.
func (g *Gateway) Run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var tasks sync.WaitGroup
	// The packet path goes on until the table is gone and nothing waits.
	path, endPath := context.WithCancel(context.WithoutCancel(ctx))
	defer endPath()
	g.restore()
	g.conns.remember()
	for i, s := range g.shards {
		q := g.queues[i]
		tasks.Go(func() {
			if err := q.Run(path, func(p *queue.Packet) { s.hand(path, queued{p, &g.verdicts[i]}) }); err != nil {
				cancel(err)
			}
		})
		tasks.Go(func() { s.run(path, func() { g.beats[i].Add(1) }) })
	}
	n := len(g.shards)
	tasks.Go(func() { g.read(path, cancel, n+1, (*shard).hand) })
	tasks.Go(func() { g.read(path, cancel, n, (*shard).handAcks) })
	tasks.Go(func() { g.holes.run(path) })
	tasks.Go(func() { g.asks.run(path) })
	tasks.Go(func() { g.notes.run(path) })
	tasks.Go(func() { g.conns.run(path) })

	err := g.serve(ctx, cancel, ready)
	g.ready.Store(false)
	if errors.Is(err, ErrStalled) {
		// What hangs cannot be waited for. The process ends, and the queue
		// rules' bypass lets packets pass, or their lack of it drops them.
		if g.config.FailsClosed() {
			return err
		}
		return errors.Join(err, g.table.Uninstall())
	}
	err = errors.Join(err, g.table.Uninstall())
	g.stopTrackers()
	endPath()
	tasks.Wait()
	return err
}

// serve makes the table and keeps it until the context ends.
func (g *Gateway) serve(ctx context.Context, cancel context.CancelCauseFunc, ready func()) error {
	// First the rules, then what is there already: no session falls between.
	if err := g.guard.table.Install(time.Now()); err != nil {
		return err
	}
	alive, err := g.joinHeld(g.config.Ports)
	if err != nil {
		return err
	}
	g.notes.forget(alive)
	g.recordLost()
	ctx, stop := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	tasks.Go(func() { g.guard.watch(ctx) })
	tasks.Go(func() { g.guard.run(ctx) })
	if g.expect != nil {
		tasks.Go(func() { g.expect.watch(ctx) })
	}
	tasks.Go(func() { g.arrivals.run(ctx) })
	tasks.Go(func() { g.watchdog(ctx, cancel) })
	g.ready.Store(true)
	ready()
	<-ctx.Done()
	stop()
	tasks.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// joinHeld lets the control connections be joined that conntrack holds, and
// returns them.
func (g *Gateway) joinHeld(ports []uint16) (map[connection]struct{}, error) {
	held, err := g.kernel.ControlConnections(ports)
	if err != nil {
		return nil, fmt.Errorf("conntrack: %w", err)
	}
	all := make(map[connection]struct{}, len(held))
	for _, f := range held {
		client, server := f.Ends()
		g.joinable.add(client, server)
		all[connection{client, server}] = struct{}{}
	}
	return all, nil
}

// stopTrackers ends what is open in the records; the kernel has let go of it.
func (g *Gateway) stopTrackers() {
	for _, s := range g.shards {
		s.ask(s.stop)
	}
}

// ReopenLogs opens the audit log anew, for logrotate.
func (g *Gateway) ReopenLogs() error { return g.audit.Reopen() }

// Close frees what Open opened. Run has ended by then.
func (g *Gateway) Close() error {
	var errs []error
	for _, q := range g.queues {
		errs = append(errs, q.Close())
	}
	if g.expect != nil {
		errs = append(errs, g.expect.close())
	}
	if g.table != nil {
		errs = append(errs, g.table.Close())
	}
	if g.kernel != nil {
		errs = append(errs, g.kernel.Close())
	}
	if g.audit != nil {
		errs = append(errs, g.audit.Close())
	}
	if g.trail != nil {
		errs = append(errs, g.trail.Close())
	}
	if g.notes != nil && g.notes.book != nil {
		errs = append(errs, g.notes.book.Close())
	}
	if g.lock != nil {
		errs = append(errs, g.lock.Close())
	}
	return errors.Join(errs...)
}
