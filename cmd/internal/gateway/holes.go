package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"ftpinhole/conntrack"
	"ftpinhole/rules"
	"ftpinhole/rules/expect"
)

// Backend puts pinholes into the kernel. Each call returns when the kernel
// has acknowledged, however long that takes.
type Backend interface {
	// Add opens the pinhole for its timeout.
	Add(p rules.Pinhole, now time.Time) error
	// Remove closes it; arrived says that a SYN was let through before. It is no
	// error if there is none.
	Remove(id string) (arrived bool, err error)
	// Arrived lists the open pinholes through which a SYN was let.
	Arrived() (ids []string, err error)
	// Rearm lets a pinhole that is still open take another SYN, in what is left
	// of its time. It is no error if there is none.
	Rearm(id string, now time.Time) error
	// Lengthen lets a pinhole that waits do so for d from now on; false if it does
	// not wait any more.
	Lengthen(id string, d time.Duration, now time.Time) (bool, error)
}

// way is one of the ways to open a pinhole, by the name that records give it.
type way struct {
	name string
	Backend
}

// The names of the backends.
const (
	viaExpect = "expect"
	viaNft    = "nft"
)

// answer is the kernel's to a change.
type answer struct {
	arrived bool   // a SYN was let through the pinhole that was closed
	by      string // the backend that serves the one that was opened
	done    bool   // the pinhole that was to be lengthened was
}

// change is one change of the kernel's pinholes, or of what is kept of rewritten
// sessions.
type change struct {
	do   func(*holes) (answer, error)
	late *atomic.Bool        // nobody wants it any more; nil: somebody always does
	done func(answer, error) // called by the goroutine of holes
}

// holes carries changes out in their order, one after the other. The kernel
// makes each of them wait for every other program that changes nf_tables.
type holes struct {
	ways    []way // in the order in which they are tried
	keeper  *keeper
	marks   *marks // nil: connections inherit none
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

func (h *holes) do(c change) (answer, error) {
	if c.late != nil && c.late.Load() {
		// After a long wait for the kernel many of these stand here, and those
		// behind them are still wanted.
		return answer{}, errPatience
	}
	return c.do(h)
}

// open opens a pinhole, in the first way that it can be. Before that it keeps
// what is to be kept of its session, if there is something.
func (h *holes) open(hole rules.Pinhole, kept *conntrack.Kept, s *shard) (answer, error) {
	if kept != nil {
		if err := h.keeper.keep(kept, s); err != nil {
			return answer{}, err
		}
	}
	hole.Mark = h.marks.inherited(hole.Control)
	var failed error
	for _, w := range h.ways {
		err := w.Add(hole, h.clock())
		if err == nil {
			if failed != nil {
				h.fellBack(hole.ID, w.name, failed)
			}
			return answer{by: w.name}, nil
		}
		failed = errors.Join(failed, err)
	}
	return answer{}, failed
}

// fellBack says that a pinhole was opened in another way than the first. That is
// how it has to be for a session that is older than the daemon.
func (h *holes) fellBack(id, by string, err error) {
	level := slog.LevelWarn
	if errors.Is(err, expect.ErrNoHelper) || errors.Is(err, expect.ErrTranslation) {
		level = slog.LevelDebug
	}
	h.log.Log(context.Background(), level, "a pinhole was opened in another way; it needs the line of: ftpinhole rules nft",
		"pinhole", id, "backend", by, "err", err)
}

func (h *holes) close(id string) (a answer, err error) {
	for _, w := range h.ways {
		arrived, failed := w.Remove(id)
		a.arrived = a.arrived || arrived
		err = errors.Join(err, failed)
	}
	if err != nil {
		h.log.Error("a pinhole could not be closed; it ends with its timeout", "pinhole", id, "err", err)
	}
	return a, err
}

func (h *holes) rearm(id string) error {
	var err error
	for _, w := range h.ways {
		err = errors.Join(err, w.Rearm(id, h.clock()))
	}
	return err
}

func (h *holes) lengthen(id string, d time.Duration) (a answer, err error) {
	for _, w := range h.ways {
		done, failed := w.Lengthen(id, d, h.clock())
		a.done = a.done || done
		err = errors.Join(err, failed)
	}
	return a, err
}

// none is the backend of --observe: nothing is opened.
type none struct{}

func (none) Add(rules.Pinhole, time.Time) error { return nil }
func (none) Remove(string) (bool, error)        { return false, nil }
func (none) Arrived() ([]string, error)         { return nil, nil }
func (none) Rearm(string, time.Time) error      { return nil }

func (none) Lengthen(string, time.Duration, time.Time) (bool, error) { return true, nil }
