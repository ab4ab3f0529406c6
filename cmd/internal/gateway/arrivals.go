package gateway

import (
	"context"
	"log/slog"
	"time"
)

// arrivals asks the kernel once a second through which pinholes a SYN was
// let: where no connection follows, the operator's firewall lacks the accept
// line.
type arrivals struct {
	backend Backend
	shards  []*shard
	log     *slog.Logger
}

func (a *arrivals) run(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		ids, err := a.backend.Arrived()
		if err != nil {
			a.log.Debug("the pinholes could not be listed", "err", err) // the guard says why
			continue
		}
		if len(ids) == 0 {
			continue
		}
		for _, s := range a.shards {
			s.calls.put(func() {
				for _, id := range ids {
					s.tracker.Arrived(s.clock(), id)
				}
			})
		}
	}
}
