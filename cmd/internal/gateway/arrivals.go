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
