package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"
)

// Config says which queue is read, and how.
type Config struct {
	Num        uint16
	MaxLen     uint32       // packets that may wait in the kernel; 0 means 4096
	ReadBuffer int          // bytes of the netlink socket's buffer; 0 means 8 MiB
	NetNS      int          // file descriptor of a network namespace; 0 means the current one
	Log        *slog.Logger // nil: nothing is logged

	// FailClosed is for the packets of sessions that must not pass as they are:
	// those that cannot be read are dropped, and TCP sends them again.
	// They come in segments as they are on the line, not as large as the kernel
	// holds them: see AcceptAs.
	FailClosed bool
}

// A Queue is a netfilter queue that is bound to this process. When it is
// full, packets go on unseen (fail open), unless it fails closed. Its methods
// are safe for concurrent use.
type Queue struct {
	num        uint16
	failClosed bool
	nf         *nfqueue.Nfqueue
	judge      judge // the Queue itself, except in tests without a kernel
	log        *slog.Logger
	counters   counters

	handle  func(*Packet) // set before running is closed
	running chan struct{} // closed by Run; packets wait for it
	started atomic.Bool
	passing atomic.Bool   // Run has ended: packets pass unread
	stopped chan struct{} // closed when the reader has ended by itself
	stop    sync.Once

	closing   chan struct{}
	closeOnce sync.Once
	closeErr  error

	lastID    atomic.Uint32
	lastPanic time.Time // when a stack was logged; the reader's only
}

// Run hands each packet to handle, one after the other, until ctx is done
// (then it returns nil) or Close is called, and can be called once. The handler must see to it that
// each packet gets its verdict, itself or later; after a panic in it Run does that.
// After Run has returned, packets are accepted unseen until Close, so that
// the rules can be taken away without holding up anyone. Where the queue fails
// closed, both are dropped. It does not wait for a handler that is still busy.
func (q *Queue) Run(ctx context.Context, handle func(*Packet)) error {
	if !q.started.CompareAndSwap(false, true) {
		return fmt.Errorf("queue %d: %w: Run was called before", q.num, ErrStopped)
	}
	q.handle = handle
	close(q.running)
	defer q.passing.Store(true)
	select {
	case <-ctx.Done():
		return nil
	case <-q.closing:
		return nil
	case <-q.stopped:
		return fmt.Errorf("queue %d: %w: close it and open it again", q.num, ErrStopped)
	}
}

// receive is go-nfqueue's hook. It never lets go of the reading goroutine.
func (q *Queue) receive(a nfqueue.Attribute) int {
	if a.PacketID == nil {
		q.counters.malformed.Add(1)
		return 0
	}
	q.counters.received.Add(1)
	q.lastID.Store(*a.PacketID)
	p := &Packet{ID: *a.PacketID, judge: q.judge}
	if a.Hook != nil {
		p.Hook = *a.Hook
	}
	if a.Mark != nil {
		p.Mark = *a.Mark
	}
	if a.Payload == nil || len(*a.Payload) == 0 {
		q.counters.bare.Add(1)
		q.pass(p)
		return 0
	}
	p.Payload = *a.Payload
	select {
	case <-q.running:
	case <-q.closing: // Close sees to all that wait
		return 0
	}
	if q.passing.Load() {
		q.pass(p)
		return 0
	}
	q.deliver(p)
	return 0
}

// pass gives a packet that nobody has read its verdict.
func (q *Queue) pass(p *Packet) {
	if q.failClosed {
		p.Drop()
		return
	}
	p.Accept()
}

// deliver calls the handler, whose panic costs no more than this packet's inspection.
func (q *Queue) deliver(p *Packet) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		q.pass(p)
		q.counters.panics.Add(1)
		if now := time.Now(); now.Sub(q.lastPanic) >= time.Second { // whoever can cause it must not fill the log
			q.lastPanic = now
			q.log.Error("packet handler panicked", "queue", q.num, "panic", fmt.Sprint(v),
				"panics", q.counters.panics.Load(), "stack", string(debug.Stack()))
		}
	}()
	q.handle(p)
}

// fail is go-nfqueue's error function: it goes on unless the socket is gone.
func (q *Queue) fail(err error) int {
	select {
	case <-q.closing:
		return 1
	default:
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		q.counters.late.Add(1)
	case errors.Is(err, unix.ENOBUFS):
		q.counters.overruns.Add(1)
	case gone(err):
		q.log.Error("netfilter queue socket is gone", "queue", q.num, "error", err)
		q.stop.Do(func() { close(q.stopped) })
		return 1
	default:
		q.counters.errors.Add(1)
		q.log.Debug("reading the netfilter queue", "queue", q.num, "error", err)
		time.Sleep(time.Millisecond) // an error that stays must not spin
	}
	return 0
}

// verdict sends one verdict. The kernel's answer, if it has a complaint,
// arrives at fail.
func (q *Queue) verdict(id uint32, verdict int, as []byte) {
	// A message that could not be sent did not reach the kernel: a second try
	// is not a second verdict.
	var err error
	for range 3 {
		select {
		case <-q.closing: // Close sees to it
			return
		default:
		}
		if err = q.send(id, verdict, as); err == nil {
			q.counters.judged(verdict, as)
			return
		}
	}
	select {
	case <-q.closing:
	default:
		q.counters.errors.Add(1)
		q.log.Warn("verdict was not sent", "queue", q.num, "error", err)
	}
}

func (q *Queue) send(id uint32, verdict int, as []byte) error {
	if as == nil {
		return q.nf.SetVerdict(id, verdict)
	}
	return q.nf.SetVerdictWithOption(id, verdict, nfqueue.WithAlteredPacket(as))
}

// Close lets the packets that wait go on, or drops them if the queue fails
// closed, and unbinds the queue. It returns when no handler is running any
// more. Further calls do nothing.
func (q *Queue) Close() error {
	q.closeOnce.Do(func() {
		close(q.closing)
		verdict := nfqueue.NfAccept
		if q.failClosed {
			verdict = nfqueue.NfDrop
		}
		// All up to this number, which is far beyond what was read: ids count
		// up, and are compared modulo 2^32 (nfq_id_after in nfnetlink_queue.c).
		if err := q.nf.SetVerdictBatch(q.lastID.Load()+1<<30, verdict); err != nil {
			q.log.Warn("waiting packets were not released", "queue", q.num, "error", err)
		}
		if err := q.nf.Close(); err != nil {
			q.closeErr = fmt.Errorf("closing queue %d: %w", q.num, err)
		}
	})
	return q.closeErr
}
