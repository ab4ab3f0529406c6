package queue

import (
	"sync"
	"testing"
)

// A queue that is full and fails closed: what does not fit does not arrive.
func TestFullQueueThatFailsClosedDrops(t *testing.T) {
	num := number()
	q := open(t, Config{Num: num, NetNS: namespace(t, num), MaxLen: 8, FailClosed: true})
	d := newDatagrams(t)
	free := make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	run(t, q, func(p *Packet) {
		<-free
		p.Accept()
	})
	t.Cleanup(release) // or Close waits for the handler
	for range 100 {
		d.next++
		_, _ = d.from.Write([]byte{0, 0, 0, byte(d.next)}) // a sender is told when its datagram is dropped
	}
	if k, err := ReadKernel(num); err != nil || k.Waiting != 8 || k.Dropped != 92 {
		t.Errorf("kernel says %+v, %v", k, err)
	}
	release()
	d.expect(t, 8)
}
