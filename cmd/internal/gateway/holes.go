package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"ftpinhole/conntrack"
	"ftpinhole/rules"
)

// Backend puts pinholes into the kernel. Each call returns when the kernel
// has acknowledged, however long that takes.
type Backend interface {
	// Add opens the pinhole for its timeout.
	Add(p rules.Pinhole, now time.Time) error
	// Remove closes it; arrived says that a SYN was let through before.
	Remove(id string) (arrived bool, err error)
	// Arrived lists the open pinholes through which a SYN was let.
	Arrived() (ids []string, err error)
	// Rearm lets a pinhole that is still open take another SYN, in what is left
	// of its time.
	Rearm(id string, now time.Time) error
}

// change is one change of the kernel's pinholes, or of what is kept of rewritten
// sessions.
type change struct {
	do   func(*holes) (arrived bool, err error)
	late *atomic.Bool                  // nobody wants it any more; nil: somebody always does
	done func(arrived bool, err error) // called by the goroutine of holes
}

// holes carries changes out in their order, one after the other. The kernel
// makes each of them wait for every other program that changes nf_tables.
type holes struct {
	backend Backend
	keeper  *keeper
	changes *mailbox[change]
	clock   func() time.Time
	log     *slog.Logger
}

func (h *holes) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.changes.ready:
		}
		for _, c := range h.changes.take() {
			c.done(h.do(c))
		}
	}
}

func (h *holes) do(c change) (arrived bool, err error) {
	if c.late != nil && c.late.Load() {
		// After a long wait for the kernel many of these stand here, and those
		// behind them are still wanted.
		return false, errPatience
	}
	return c.do(h)
}

// open opens a pinhole. Before that it keeps what is to be kept of its session,
// if there is something.
func (h *holes) open(hole rules.Pinhole, kept *conntrack.Kept, s *shard) error {
	if kept != nil {
		if err := h.keeper.keep(kept, s); err != nil {
			return err
		}
	}
	return h.backend.Add(hole, h.clock())
}

func (h *holes) close(id string) (arrived bool, err error) {
	if arrived, err = h.backend.Remove(id); err != nil {
		h.log.Error("a pinhole could not be closed; it ends with its timeout", "pinhole", id, "err", err)
	}
	return arrived, err
}

// none is the backend of --observe: nothing is opened.
type none struct{}

func (none) Add(rules.Pinhole, time.Time) error { return nil }
func (none) Remove(string) (bool, error)        { return false, nil }
func (none) Arrived() ([]string, error)         { return nil, nil }
func (none) Rearm(string, time.Time) error      { return nil }
