package gateway

import (
	"context"
	"log/slog"
	"time"
)

// arrivalsEvery is how often the kernel is asked: often enough that a pinhole is
// armed again before TCP repeats a SYN, which is after a second.
const arrivalsEvery = 200 * time.Millisecond

// arrivals asks the kernel through which pinholes a SYN was let: where no
// connection follows, the operator's firewall dropped it.
type arrivals struct {
	ways   []way
	shards []*shard
	log    *slog.Logger
}

func (a *arrivals) run(ctx context.Context) {
	ticker := time.NewTicker(arrivalsEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		ids := a.arrived()
		if len(ids) == 0 {
			continue
		}
		for _, s := range a.shards {
			s.calls.put(func() {
				for _, id := range ids {
					s.carryOut(s.tracker.Arrived(s.clock(), id), connection{}, nil)
				}
			})
		}
	}
}

func (a *arrivals) arrived() []string {
	var all []string
	for _, w := range a.ways {
		ids, err := w.Arrived()
		if err != nil {
			a.log.Debug("the pinholes could not be listed", "backend", w.name, "err", err) // the guard says why
		}
		all = append(all, ids...)
	}
	return all
}

// seek asks for a pinhole's connection that no event told of.
type seek struct {
	id    string
	shard *shard
}

// seek tells of the data connections that no event told of, and answers. One
// dump is for all that ask.
func (c *connections) seek(all []seek) {
	before := c.known
	data, ok := c.dumpData()
	for _, f := range data {
		if _, known := before[f.ID]; !known {
			c.data(f, true, f.State.Over(), true)
		}
	}
	for _, k := range all {
		s := k.shard
		s.calls.put(func() { s.carryOut(s.tracker.Sought(s.clock(), k.id, ok), connection{}, nil) })
	}
}
