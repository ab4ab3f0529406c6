package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// stalledAfter is how long a shard may be silent before the daemon gives
	// up, so that the queue rules' bypass takes over.
	stalledAfter = 5 * time.Second
	// looks is how many looks at the beats that time is made of.
	looks = 5
)

// ErrStalled means that a part of the packet path stopped answering.
var ErrStalled = errors.New("the packet path has stalled")

// beats count the ticks of each shard.
type beats []atomic.Uint64

// silent returns the first shard that has not ticked since was read, or -1 if
// each of them has.
func (b beats) silent(was []uint64) int {
	for i := range b {
		if b[i].Load() == was[i] {
			return i
		}
	}
	return -1
}

func (b beats) read() []uint64 {
	now := make([]uint64, len(b))
	for i := range b {
		now[i] = b[i].Load()
	}
	return now
}

// Turning returns nil once each shard has ticked, and so the reader of its queue
// is not kept waiting. It returns an error that wraps ErrStalled if one has not
// within the time. A reader that ended ends Run.
//
// The clock alone does not prove a stall: it goes on while the process is
// stopped, its cgroup frozen or its virtual machine paused, and nobody ticks
// then. So the time consists of several looks, each of them a while after the one
// before: whatever the pause takes away, it is one of them, and a shard that lives
// ticks before the next. On a starved machine the looks come late as well.
func (g *Gateway) Turning(ctx context.Context, within time.Duration) error {
	was := g.beats.read()
	for range looks {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(within / looks):
		}
		if g.beats.silent(was) < 0 {
			return nil
		}
	}
	if i := g.beats.silent(was); i >= 0 {
		return fmt.Errorf("%w: queue %d", ErrStalled, g.config.QueueNum+uint16(i))
	}
	return nil
}

// watchdog gives up when a shard no longer turns.
func (g *Gateway) watchdog(ctx context.Context, cancel context.CancelCauseFunc) {
	for ctx.Err() == nil {
		if err := g.Turning(ctx, stalledAfter); err != nil {
			cancel(err)
			return
		}
	}
}
