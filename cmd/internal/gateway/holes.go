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
	hole   rules.Pinhole // with its ID alone: to be closed, or with
	rearm  bool          // to be armed again
	add    bool
	keep   *conntrack.Kept               // before that, if there is something to add
	shard  *shard                        // of keep
	forget *connection                   // client and server of what was kept
	late   *atomic.Bool                  // an add or keep that nobody wants any more
	mark   bool                          // nothing to do: all before it is done
	done   func(arrived bool, err error) // called by the goroutine of holes
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
	switch wanted := c.add || c.keep != nil; {
	case c.mark:
		return false, nil
	case c.rearm:
		return false, h.backend.Rearm(c.hole.ID, h.clock())
	case c.forget != nil:
		h.keeper.forget(c.forget.low, c.forget.high)
		return false, nil
	case wanted && c.late.Load():
		// After a long wait for the kernel many of these stand here, and those
		// behind them are still wanted.
		return false, errPatience
	case wanted:
		return false, h.open(c)
	}
	if arrived, err = h.backend.Remove(c.hole.ID); err != nil {
		h.log.Error("a pinhole could not be closed; it ends with its timeout",
			"pinhole", c.hole.ID, "err", err)
	}
	return arrived, err
}

func (h *holes) open(c change) error {
	if c.keep != nil {
		if err := h.keeper.keep(c.keep, c.shard); err != nil {
			return err
		}
	}
	if !c.add {
		return nil
	}
	return h.backend.Add(c.hole, h.clock())
}

// none is the backend of --observe: nothing is opened.
type none struct{}

func (none) Add(rules.Pinhole, time.Time) error { return nil }
func (none) Remove(string) (bool, error)        { return false, nil }
func (none) Arrived() ([]string, error)         { return nil, nil }
func (none) Rearm(string, time.Time) error      { return nil }
