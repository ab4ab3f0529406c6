package control

import (
	"sync"
	"sync/atomic"

	"ftpinhole/conntrack"
)

// feedBuffer is how many records wait for one watcher; more are skipped.
const feedBuffer = 2048

// Feed passes audit records to those who watch, as they happen. Its zero value
// is ready for use, from many goroutines.
type Feed struct {
	watchers atomic.Int64 // len(subs), so that nothing is done when nobody watches

	mu   sync.Mutex
	subs map[*Subscription]struct{}
}

// Watchers is how many watch at the moment.
func (f *Feed) Watchers() int { return int(f.watchers.Load()) }

// Publish hands a record to every watcher. It never waits for one: who is too
// slow is told how many records it has missed.
func (f *Feed) Publish(r conntrack.Record) {
	if f.Watchers() > 0 {
		f.publish(r)
	}
}

// publish is apart since its argument escapes to the heap.
func (f *Feed) publish(r conntrack.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		s.put(&r)
	}
}

// Subscribe begins to watch.
func (f *Feed) Subscribe() *Subscription {
	s := &Subscription{feed: f, ready: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = make(map[*Subscription]struct{})
	}
	f.subs[s] = struct{}{}
	f.watchers.Add(1)
	return s
}

// Subscription is one watcher's place in a feed.
type Subscription struct {
	feed  *Feed
	ready chan struct{} // has one element while there may be something to take

	mu      sync.Mutex
	queue   []*conntrack.Record // shared with other watchers: not to be changed
	skipped uint64
}

// put holds the lock for an append, as Take does for a swap: nobody waits.
func (s *Subscription) put(r *conntrack.Record) {
	s.mu.Lock()
	if len(s.queue) < feedBuffer {
		s.queue = append(s.queue, r)
	} else {
		s.skipped++
	}
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Ready tells that Take may have something.
func (s *Subscription) Ready() <-chan struct{} { return s.ready }

// Take returns what waits, and how many records that came after it were
// skipped for lack of room. The records may be read only.
func (s *Subscription) Take() (records []*conntrack.Record, skipped uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	records, skipped = s.queue, s.skipped
	s.queue, s.skipped = nil, 0
	return records, skipped
}

// Close ends the watch. It may be called once.
func (s *Subscription) Close() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	delete(s.feed.subs, s)
	s.feed.watchers.Add(-1)
}
