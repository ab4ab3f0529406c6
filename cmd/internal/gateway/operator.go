package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ftpinhole/cmd/internal/config"
	"ftpinhole/cmd/internal/control"
	"ftpinhole/conntrack"
)

var errBusy = errors.New("the packet path does not answer: restart the daemon and report this")

// Feed passes on the records as they are made.
func (g *Gateway) Feed() *control.Feed { return &g.feed }

// ClosePinhole shuts one pinhole whose connection is not established, and
// returns when the kernel has.
func (g *Gateway) ClosePinhole(ctx context.Context, id string) error {
	n, err := g.shut(ctx, func(p conntrack.PinholeState) bool { return p.Record.Pinhole.ID == id })
	if err == nil && n == 0 {
		err = fmt.Errorf("%w with the id %q; list them: ftpinhole list pinholes", control.ErrNoPinhole, id)
	}
	return err
}

// FlushPinholes shuts all pinholes whose connections are not established.
func (g *Gateway) FlushPinholes(ctx context.Context) (int, error) {
	return g.shut(ctx, func(conntrack.PinholeState) bool { return true })
}

func (g *Gateway) shut(ctx context.Context, which func(conntrack.PinholeState) bool) (n int, err error) {
	for _, s := range g.shards {
		count := make(chan int, 1)
		if !s.ask(func(now time.Time) { count <- s.shut(now, which) }) {
			return n, errBusy
		}
		n += <-count
	}
	if n == 0 {
		return 0, nil
	}
	done := make(chan struct{})
	g.holes.changes.put(change{mark: true, done: func(bool, error) { close(done) }})
	select {
	case <-done:
		return n, nil
	case <-ctx.Done():
		return n, fmt.Errorf("the kernel has not acknowledged yet: %w", ctx.Err())
	}
}

// shut shuts pinholes by the operator's wish.
func (s *shard) shut(now time.Time, which func(conntrack.PinholeState) bool) (n int) {
	for _, p := range s.tracker.Pinholes() {
		if !which(p) {
			continue
		}
		if effects, ok := s.tracker.CloseByOperator(now, p.Record.Pinhole.ID); ok {
			s.carryOut(effects, connection{}, nil)
			n++
		}
	}
	return n
}

// Reload puts another configuration into effect: ports, hooks, times, limits
// and policy. Sessions and pinholes stay. After an error, which wraps
// control.ErrBadConfig if the configuration is to blame, nothing has changed.
func (g *Gateway) Reload(next config.Config) error {
	g.reload.Lock()
	defer g.reload.Unlock()
	if key := fixed(g.current.Load(), &next); key != "" {
		return fmt.Errorf("%w: %s cannot change while the daemon runs; change it back, or restart the daemon", control.ErrBadConfig, key)
	}
	policy, err := next.NewPolicy()
	if err != nil {
		return fmt.Errorf("%w: %w", control.ErrBadConfig, err)
	}
	if err := g.table.Reconfigure(tableConfig(next, policy), time.Now()); err != nil {
		return err
	}
	if err := g.joinHeld(next.Ports); err != nil {
		g.log.Error("control connections on new ports are not joined", "err", err)
	}
	limits := Limits(next.Limits)
	g.quota.SetLimits(limits)
	g.outside.SetRange(next.NAT.Ports[0], next.NAT.Ports[1])
	for _, s := range g.shards {
		if !s.ask(func(time.Time) {
			s.tracker.Reconfigure(next.Ports, next.PinholeTimeout.Duration, limits, Policy{policy})
		}) {
			return errBusy
		}
	}
	g.current.Store(&next)
	g.log.Info("the configuration was reloaded", "ports", next.Ports, "hooks", next.Hooks)
	return nil
}

// fixed names a key that differs and cannot change while the daemon runs.
func fixed(now, next *config.Config) string {
	for _, c := range []struct {
		key  string
		same bool
	}{
		{"queue_num", now.QueueNum == next.QueueNum},
		{"queues", now.QueueCount() == next.QueueCount()},
		{"backend", now.Backend == next.Backend},
		{"mark", now.Mark == next.Mark},
		{"socket", now.Socket == next.Socket},
		{"state_dir", now.StateDir == next.StateDir},
		{"audit_log", now.AuditLog == next.AuditLog},
		{"metrics", now.Metrics == next.Metrics},
		{"log_format", now.LogFormat == next.LogFormat},
		{"log_level", now.LogLevel == next.LogLevel},
		{"fail", now.Fail == next.Fail},
		{"observe", now.Observe == next.Observe},
		{"audit", now.Audit == next.Audit},
	} {
		if !c.same {
			return c.key
		}
	}
	return ""
}
