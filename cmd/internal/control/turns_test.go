package control

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// However many ask, and however often: one at a time, a tenth of the time.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var busy atomic.Int64
		var at atomic.Int32
		var all sync.WaitGroup
		for range maxReaders {
			all.Go(func() {
				for ctx.Err() == nil {
					_ = turns.take(ctx, func() { // it ends with the context
						if at.Add(1) != 1 {
							t.Error("two at a time")
						}
						time.Sleep(7 * time.Millisecond)
						busy.Add(7)
						at.Add(-1)
					})
				}
			})
		}
		all.Wait()
		if n := busy.Load(); n > 1007 || n < 900 {
			t.Errorf("%d ms of 10 s", n)
		}
	})
}

// Who gives up while waiting leaves the turn to the next.
func TestTurnsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		if err := turns.take(t.Context(), func() { time.Sleep(time.Second) }); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := turns.take(ctx, func() { t.Error("it does not rest") }); err == nil {
			t.Error("no error although it gave up")
		}
		begun := time.Now()
		if err := turns.take(t.Context(), func() {}); err != nil || time.Since(begun) != 8*time.Second {
			t.Errorf("the next waits %v: %v", time.Since(begun), err)
		}
	})
}
