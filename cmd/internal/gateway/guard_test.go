package gateway

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeTable is a table that others can take away.
type fakeTable struct {
	gone      atomic.Bool
	stubborn  atomic.Bool
	unread    atomic.Bool // it cannot be looked at
	deaf      atomic.Bool // changes are not announced
	installed atomic.Int32
	changed   func(who string)
}

func (f *fakeTable) Install(time.Time) error {
	if f.stubborn.Load() {
		return errors.New("no room")
	}
	f.installed.Add(1)
	f.gone.Store(false)
	return nil
}
func (f *fakeTable) Verify() (bool, error) {
	if f.unread.Load() {
		return false, errors.New("no answer")
	}
	return !f.gone.Load(), nil
}
func (f *fakeTable) Uninstall() error { return nil }
func (f *fakeTable) Watch(ctx context.Context, ready func(), onChange func(string)) error {
	if f.deaf.Load() {
		return errors.New("no buffer")
	}
	f.changed = onChange
	ready()
	<-ctx.Done()
	return nil
}

func TestLostTableIsMadeAgainWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		table := &fakeTable{}
		g := &guard{table: table, clock: time.Now, log: slog.New(slog.NewTextHandler(&log, nil)), changed: make(chan string, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		go g.watch(ctx)
		go g.run(ctx)
		synctest.Wait()

		table.gone.Store(true)
		table.changed("nft, pid 7")
		synctest.Wait()
		if table.gone.Load() || !strings.Contains(log.String(), "nft, pid 7") {
			t.Errorf("it was not made again at once, or the log does not say who took it away: %s", log.String())
		}
		table.gone.Store(true) // and nobody says so
		time.Sleep(time.Second)
		if table.gone.Load() {
			t.Error("a loss without notice is not mended within a second")
		}
		table.stubborn.Store(true)
		table.gone.Store(true)
		time.Sleep(time.Second)
		synctest.Wait()
		if why := g.broken.Load(); why == nil || !strings.Contains(*why, "no room") {
			t.Error("status cannot say that the table is gone")
		}
		table.stubborn.Store(false)
		time.Sleep(time.Second)
		synctest.Wait()
		if g.broken.Load() != nil || table.gone.Load() {
			t.Error("it did not try on")
		}
		if got := g.rebuilt.Load(); got != 3 || int32(got) != table.installed.Load() {
			t.Errorf("it counts %d tables made again, of %d", got, table.installed.Load())
		}
		cancel()
		synctest.Wait()
	})
}

// A trouble that lasts is told of once, and once that it is over.
func TestGuardSaysATroubleOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		begin, end  func(*fakeTable)
		begun, over string
	}{
		"cannot be made again": {
			func(f *fakeTable) { f.stubborn.Store(true); f.gone.Store(true) }, func(f *fakeTable) { f.stubborn.Store(false) },
			"could not be made again", "was made again"},
		"comes back by itself": {
			func(f *fakeTable) { f.stubborn.Store(true); f.gone.Store(true) }, func(f *fakeTable) { f.gone.Store(false) },
			"could not be made again", "as it was again"},
		"cannot be read": {
			func(f *fakeTable) { f.unread.Store(true) }, func(f *fakeTable) { f.unread.Store(false) },
			"could not be read", "can be read again"},
		"is not announced": {
			func(f *fakeTable) { f.deaf.Store(true) }, func(f *fakeTable) { f.deaf.Store(false) },
			"are not announced", "are announced again"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log strings.Builder
			table := &fakeTable{}
			g := &guard{table: table, clock: time.Now, log: slog.New(slog.NewTextHandler(&log, nil)), changed: make(chan string, 1)}
			ctx, cancel := context.WithCancel(t.Context())
			var tasks sync.WaitGroup
			for range 2 { // it may come again
				tt.begin(table)
				tasks.Go(func() { g.watch(ctx) })
				tasks.Go(func() { g.run(ctx) })
				time.Sleep(25 * time.Second)
				tt.end(table)
				time.Sleep(25 * time.Second)
				cancel()
				tasks.Wait()
				ctx, cancel = context.WithCancel(t.Context())
			}
			cancel()
			if begun, over := strings.Count(log.String(), tt.begun), strings.Count(log.String(), tt.over); begun != 2 || over != 2 {
				t.Errorf("%s: the log says %d times that it began and %d times that it was over, want twice each:\n%s", name, begun, over, log.String())
			}
		})
	}
}
