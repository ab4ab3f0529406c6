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
	rebuilt atomic.Uint64 // times that it was made again
	// Both are told of once, not at each look.
	unread, lost trouble
}

// trouble is something wrong that lasts.
type trouble bool

// begins reports whether it was not there before.
func (t *trouble) begins() bool {
	was := *t
	*t = true
	return !bool(was)
}

// ends reports whether it was there until now.
func (t *trouble) ends() bool {
	was := *t
	*t = false
	return bool(was)
}

// watch listens to the kernel's notices until the context ends.
func (g *guard) watch(ctx context.Context) {
	hear(ctx, g.log, "changes of the nft table are announced again",
		"changes of the nft table are not announced; it is looked at twice a second", func(hearing func()) error {
			return g.table.Watch(ctx, hearing, func(who string) {
				select {
				case g.changed <- who:
				default: // one look is enough
				}
			})
		})
}

// hear listens until the context ends, and says once when it fails (deaf) and
// when it works again.
func hear(ctx context.Context, log *slog.Logger, again, deaf string, listen func(hearing func()) error) {
	var trouble trouble
	hearing := func() {
		if trouble.ends() {
			log.Info(again)
		}
	}
	for ctx.Err() == nil {
		if err := listen(hearing); err != nil && ctx.Err() == nil {
			if trouble.begins() {
				log.Warn(deaf, "err", err)
			}
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
		if g.unread.begins() {
			g.log.Error("the nft table could not be read; trying on", "err", err)
		}
		return
	}
	if g.unread.ends() {
		g.log.Info("the nft table can be read again")
	}
	if ok {
		if g.lost.ends() {
			g.log.Info("table inet ftpinhole is as it was again")
		}
		g.broken.Store(nil)
		return
	}
	if who == "" {
		who = "unknown"
	}
	if err := g.table.Install(g.clock()); err != nil {
		why := "table inet ftpinhole was taken away and could not be made again: " + err.Error()
		g.broken.Store(&why)
		if g.lost.begins() {
			g.log.Error("table inet ftpinhole was taken away and could not be made again; trying on", "by", who, "err", err)
		}
		return
	}
	g.lost.ends()
	g.broken.Store(nil)
	g.rebuilt.Add(1)
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
