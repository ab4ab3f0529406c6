package queue

import (
	"sync/atomic"

	"github.com/florianl/go-nfqueue/v2"
)

// A Packet waits in the kernel for its verdict. It gets exactly one, however
// often and from however many goroutines Accept, AcceptAs and Drop are called;
// the packets that are still waiting when the queue is closed get theirs from
// Close.
type Packet struct {
	ID      uint32 // the kernel's number for it
	Hook    uint8  // enum nf_inet_hooks, include/uapi/linux/netfilter.h
	Mark    uint32 // 0 if it has none
	Payload []byte // from the IP header on; the packet's own memory

	judge  judge
	judged atomic.Bool
}

// judge tells the kernel a verdict: nfqueue.NfAccept or nfqueue.NfDrop. Unless
// as is nil, the packet goes on with these bytes.
type judge interface {
	verdict(id uint32, verdict int, as []byte)
}

// maxPayload is how long a packet can be in a verdict, in bytes: an attribute's
// length has 16 bits and counts its header of four.
const maxPayload = 0xffff - 4

// Accept lets the packet go on. It reports whether this call did it: false if
// the packet had its verdict already. It does not fail: what goes wrong
// between here and the kernel is in Stats.
func (p *Packet) Accept() bool { return p.decide(nfqueue.NfAccept, nil) }

// AcceptAs lets the packet go on with these bytes instead of its own, from the
// IP header on, longer or shorter; they are not needed any more when it
// returns. Their checksums must be whole: the kernel takes them as they are
// (nfqnl_mangle in net/netfilter/nfnetlink_queue.c). What the kernel cannot
// take, nothing or over 65,531 bytes, drops the packet.
//
// Of several segments in one packet (GSO) more than one must remain, or the
// kernel loses them behind us (tcp_gso_segment in net/ipv4/tcp_offload.c), and
// TCP sends them again. A queue that fails closed gets none of these.
//
// It reports what Accept does.
func (p *Packet) AcceptAs(payload []byte) bool {
	if len(payload) == 0 || len(payload) > maxPayload {
		return p.Drop()
	}
	return p.decide(nfqueue.NfAccept, payload)
}

// Drop ends the packet; TCP will send it again. It reports what Accept does.
func (p *Packet) Drop() bool { return p.decide(nfqueue.NfDrop, nil) }

func (p *Packet) decide(verdict int, as []byte) bool {
	if !p.judged.CompareAndSwap(false, true) {
		return false
	}
	p.judge.verdict(p.ID, verdict, as)
	return true
}

// Judged reports whether the packet had its verdict.
func (p *Packet) Judged() bool { return p.judged.Load() }
