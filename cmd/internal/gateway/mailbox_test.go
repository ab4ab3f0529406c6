package gateway

import (
	"sync"
	"testing"
)

func TestMailboxKeepsTheOrderOfEachSender(t *testing.T) {
	const senders, each = 4, 1000
	type message struct{ sender, n int }
	m := newMailbox[message]()
	var tasks sync.WaitGroup
	for sender := range senders {
		tasks.Go(func() {
			for n := range each {
				m.put(message{sender, n})
			}
		})
	}
	var next [senders]int
	for got := 0; got < senders*each; {
		<-m.ready
		for _, msg := range m.take() {
			if msg.n != next[msg.sender] {
				t.Fatalf("message %d of sender %d came, want %d", msg.n, msg.sender, next[msg.sender])
			}
			next[msg.sender]++
			got++
		}
	}
	tasks.Wait()
}

func TestMailboxNeedsNoReader(t *testing.T) {
	m := newMailbox[int]()
	for i := range 1000 {
		m.put(i)
	}
	<-m.ready
	if got := len(m.take()); got != 1000 {
		t.Errorf("%d messages wait, want 1000", got)
	}
	if len(m.take()) != 0 {
		t.Error("messages came twice")
	}
}
