package gateway

import "sync"

// mailbox passes messages to one reader. Sending never blocks; what may be
// under way at once is bounded by the tracker's limits, not here.
type mailbox[T any] struct {
	mu    sync.Mutex
	queue []T
	ready chan struct{} // has one element while queue may have some
}

func newMailbox[T any]() *mailbox[T] {
	return &mailbox[T]{ready: make(chan struct{}, 1)}
}

func (m *mailbox[T]) put(v T) {
	m.mu.Lock()
	m.queue = append(m.queue, v)
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// take returns everything that waits.
func (m *mailbox[T]) take() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.queue
	m.queue = nil
	return all
}
