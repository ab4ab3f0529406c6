package control

import (
	"context"
	"time"
)

// restShare is how many times as long as it took to make a list nobody has the
// next one made: lists take the daemon from the packets.
const restShare = 9

// turns lets callers do something one after the other, with a rest between
// them, so that it takes a tenth of the time at the most however many ask.
type turns struct {
	free chan time.Time // has the time from which on the next may; empty during a turn
}

func newTurns() *turns {
	t := &turns{make(chan time.Time, 1)}
	t.free <- time.Time{}
	return t
}

// take waits for its turn and does f, unless the context ends before.
func (t *turns) take(ctx context.Context, f func()) error {
	var next time.Time
	select {
	case next = <-t.free:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { t.free <- next }()
	select {
	case <-time.After(time.Until(next)):
	case <-ctx.Done():
		return ctx.Err()
	}
	begun := time.Now()
	f()
	now := time.Now()
	next = now.Add(restShare * now.Sub(begun))
	return nil
}
