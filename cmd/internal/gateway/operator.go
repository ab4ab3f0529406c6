package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	// Behind all changes that were asked for before.
	g.holes.changes.put(change{
		do:   func(*holes) (answer, error) { return answer{}, nil },
		done: func(answer, error) { close(done) },
	})
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
