package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/config"
	"ftpinhole/cmd/internal/control"
	"ftpinhole/rules/expect"
	"ftpinhole/rules/nft"
)

const (
	// expectedAtOnce is how many pinholes a control connection may have in the
	// kernel: one for each direction, and what takes its place.
	expectedAtOnce = 4
	// unregisterFor is how long the helper is tried to be taken away: the kernel
	// lets go of a table's objects a little later than of the table.
	unregisterFor = 500 * time.Millisecond
)

// expectations is the backend that makes pinholes of conntrack's expectations.
type expectations struct {
	*expect.Backend
	shards []*shard
	log    *slog.Logger
}

// openExpectations registers our helper and tries whether the kernel can expect
// data connections. It is nil if that is not wanted, or if it cannot and nobody
// insists.
func openExpectations(c config.Config, log *slog.Logger) (*expectations, error) {
	if c.Backend == config.Nft || c.Observe {
		return nil, nil
	}
	b, err := expect.Dial(expect.Config{Queue: c.QueueNum, Max: expectedAtOnce, Timeout: c.PinholeTimeout.Duration})
	if err != nil {
		return nil, err
	}
	e := &expectations{Backend: b, log: log}
	if err = e.start(); err == nil {
		return e, nil
	}
	if closing := e.close(); c.Backend == config.Expect {
		return nil, errors.Join(err, closing)
	}
	log.Info("pinholes are opened in nft sets, since the kernel cannot expect connections", "err", err)
	return nil, nil
}

func (e *expectations) start() error {
	if err := e.Register(); err != nil {
		return err
	}
	if err := e.Try(); err != nil {
		return err
	}
	return e.Flush() // of a daemon that was killed: nobody would record what becomes of them
}

// close leaves nothing in the kernel that is ours alone: the helper stays while
// another network namespace's daemon uses it. The table has to be gone.
func (e *expectations) close() error {
	err := e.Flush()
	for begun := time.Now(); ; time.Sleep(unregisterFor / 50) {
		failed := e.Unregister()
		switch {
		case errors.Is(failed, expect.ErrInUse) && time.Since(begun) < unregisterFor:
			continue
		case errors.Is(failed, expect.ErrInUse):
			e.log.Info("the helper stays in the kernel", "err", failed)
		case !errors.Is(failed, expect.ErrUnsupported):
			err = errors.Join(err, failed)
		}
		return errors.Join(err, e.Backend.Close())
	}
}

// watch takes pinholes for closed that the operator has deleted (conntrack -D
// expect), until the context ends.
func (e *expectations) watch(ctx context.Context) {
	hear(ctx, e.log, "changes of expectations are announced again",
		"changes of expectations are not announced; one that is deleted is taken for one that was blocked", func(hearing func()) error {
			return e.Watch(ctx, hearing, func(ev expect.Event) {
				if ev.Kind == expect.Deleted && ev.ID != "" {
					e.deleted(ev.ID)
				}
			})
		})
}

func (e *expectations) deleted(id string) {
	for _, s := range e.shards {
		s.calls.put(func() {
			if effects, ok := s.tracker.CloseByOperator(s.clock(), id); ok {
				s.carryOut(effects, connection{}, nil)
			}
		})
	}
}

// readBack gives the pinholes that wait for their connections the time that the
// kernel leaves them, which is none where it does not hold them any more.
func (e *expectations) readBack(list []control.PinholeInfo) error {
	if e == nil {
		return nil
	}
	left, err := e.Left()
	if err != nil {
		return err
	}
	for i := range list {
		p := &list[i]
		if p.Backend != viaExpect || p.SrcPort != 0 {
			continue
		}
		// One whose transfer is over ends before what it was lengthened to.
		if kernel := left[p.ID].Seconds(); kernel < p.ExpiresIn+1 {
			p.ExpiresIn = kernel
		}
	}
	return nil
}

// helped is the table that attaches the helper, if there is one.
type helped struct {
	*nft.Table
	expect *expectations
}

// Install makes the table. All network namespaces share the helper: another
// one's daemon may just have taken it away.
func (h helped) Install(now time.Time) error {
	err := h.Table.Install(now)
	if h.expect == nil || !errors.Is(err, unix.ENOENT) {
		return err
	}
	if failed := h.expect.Register(); failed != nil {
		return fmt.Errorf("%w (%w)", err, failed)
	}
	return h.Table.Install(now)
}
