package queue

import "sync/atomic"

// A Packet waits in the kernel for its verdict, which is always to go on. It
// gets exactly one, however often and from however many goroutines Accept is
// called; the packets that are still waiting when the queue is closed get
// theirs from Close.
type Packet struct {
	ID      uint32 // the kernel's number for it
	Hook    uint8  // enum nf_inet_hooks, include/uapi/linux/netfilter.h
	Mark    uint32 // 0 if it has none
	Payload []byte // from the IP header on; the packet's own memory

	verdict  acceptor
	accepted atomic.Bool
}

// acceptor tells the kernel to let a packet go on.
type acceptor interface {
	accept(id uint32)
}

// Accept lets the packet go on. It reports whether this call did it: false if
// the packet had its verdict already. It does not fail: what goes wrong
// between here and the kernel is in Stats.
func (p *Packet) Accept() bool {
	if !p.accepted.CompareAndSwap(false, true) {
		return false
	}
	p.verdict.accept(p.ID)
	return true
}

// Accepted reports whether the packet had its verdict.
func (p *Packet) Accepted() bool { return p.accepted.Load() }
