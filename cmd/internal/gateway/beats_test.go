package gateway

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ftpinhole/cmd/internal/config"
)

// watched is a gateway of two shards under a watchdog.
func watched(t *testing.T) (g *Gateway, ctx context.Context, stop func()) {
	g = &Gateway{config: config.Default(), beats: make(beats, 2)}
	ctx, cancel := context.WithCancelCause(t.Context())
	go g.watchdog(ctx, cancel)
	return g, ctx, func() {
		cancel(nil)
		synctest.Wait()
	}
}

func TestWatchdogGivesUpOnAStalledShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, ctx, stop := watched(t)
		defer stop()
		for range 20 { // both turn
			g.beats[0].Add(1)
			g.beats[1].Add(1)
			time.Sleep(time.Second)
		}
		if ctx.Err() != nil {
			t.Fatal("it gave up on shards that turn")
		}
		stalled := time.Now()
		for ctx.Err() == nil && time.Since(stalled) < time.Minute { // one stands still
			g.beats[0].Add(1)
			time.Sleep(100 * time.Millisecond)
		}
		if err := context.Cause(ctx); !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), "2101") {
			t.Errorf("got %v, want that queue 2101 has stalled", err)
		}
		if took := time.Since(stalled); took < stalledAfter-time.Second || took > stalledAfter+2*time.Second {
			t.Errorf("it gave up after %v, want about %v", took, stalledAfter)
		}
	})
}

// A pause of the whole process makes every beat old, and nobody has stalled: in
// the bubble the clock jumps as it does for a process that goes on.
func TestWatchdogOutlivesAPause(t *testing.T) {
	for _, pause := range []time.Duration{time.Second, 4 * time.Second, 6500 * time.Millisecond, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			g := &Gateway{config: config.Default(), beats: make(beats, 2)}
			done := make(chan error, 1)
			go func() { done <- g.Turning(t.Context(), 5*pause) }()
			// The look that the pause delays finds no beat; the shards tick after it.
			time.Sleep(pause + pause/10)
			g.beats[0].Add(1)
			g.beats[1].Add(1)
			if err := <-done; err != nil {
				t.Errorf("after a pause of %v: %v", pause, err)
			}
		})
	}
}

// systemd's watchdog has a time of its own.
func TestTurningTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gateway{config: config.Default(), beats: make(beats, 2)}
		g.beats[0].Add(7)
		began := time.Now()
		if err := g.Turning(t.Context(), 2*time.Second); !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), "2100") {
			t.Errorf("got %v, want that queue 2100 has stalled", err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("it took %v, want 2s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.Turning(ctx, time.Second); err != nil {
			t.Errorf("at the end: %v", err)
		}
	})
}
