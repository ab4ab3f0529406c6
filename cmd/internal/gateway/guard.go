package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Table is our table in the kernel.
type Table interface {
	Install(now time.Time) error
	Verify() (ok bool, err error)
	Watch(ctx context.Context, ready func(), onChange func(who string)) error
	Uninstall() error
}

// verifyEvery is how often the table is looked at, in case a notice that it
// was changed got lost.
const verifyEvery = 500 * time.Millisecond

// guard notices when our table was taken away or changed (nft flush ruleset),
// and makes it again with the pinholes that were open.
type guard struct {
	table   Table
	clock   func() time.Time
	log     *slog.Logger
	changed chan string // who did it
	broken  atomic.Pointer[string]
}

// watch listens to the kernel's notices until the context ends.
func (g *guard) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := g.table.Watch(ctx, func() {}, func(who string) {
			select {
			case g.changed <- who:
			default: // one look is enough
			}
		})
		if err != nil && ctx.Err() == nil {
			g.log.Warn("changes of the nft table are not announced; it is looked at twice a second", "err", err)
			sleep(ctx, 10*time.Second)
		}
	}
}

func (g *guard) run(ctx context.Context) {
	ticker := time.NewTicker(verifyEvery)
	defer ticker.Stop()
	for {
		who := ""
		select {
		case <-ctx.Done():
			return
		case who = <-g.changed:
		case <-ticker.C:
		}
		g.look(who)
	}
}

func (g *guard) look(who string) {
	ok, err := g.table.Verify()
	if err != nil {
		g.log.Error("the nft table could not be read", "err", err)
		return
	}
	if ok {
		g.broken.Store(nil)
		return
	}
	if who == "" {
		who = "unknown"
	}
	if err := g.table.Install(g.clock()); err != nil {
		why := "table inet ftpinhole was taken away and could not be made again: " + err.Error()
		g.broken.Store(&why)
		g.log.Error("table inet ftpinhole was taken away and could not be made again; trying on", "by", who, "err", err)
		return
	}
	g.broken.Store(nil)
	g.log.Warn("table inet ftpinhole was taken away or changed; it was made again with the open pinholes", "by", who)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
