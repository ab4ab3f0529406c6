package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// verdicts counts what the kernel would be told.
type verdicts struct {
	mu sync.Mutex
	of map[uint32]int
}

func (v *verdicts) accept(id uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.of[id]++
}

func fakeQueue(log *slog.Logger) (*Queue, *verdicts) {
	v := &verdicts{of: map[uint32]int{}}
	q := newQueue(Config{Num: 7, Log: log})
	q.verdict = v
	return q, v
}

func message(id uint32, payload string) nfqueue.Attribute {
	hook, mark, b := uint8(2), uint32(5), []byte(payload)
	a := nfqueue.Attribute{PacketID: &id, Hook: &hook, Mark: &mark, Payload: &b}
	if payload == "" {
		a.Payload = nil
	}
	return a
}

func TestAcceptOnce(t *testing.T) {
	v := &verdicts{of: map[uint32]int{}}
	p := &Packet{ID: 3, verdict: v}
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if p.Accept() {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || v.of[3] != 1 || !p.Accepted() {
		t.Errorf("%d calls claim the verdict, the kernel got %d", won.Load(), v.of[3])
	}
}

// Law 2: every queued packet gets exactly one verdict, on every path.
func TestLaw2EveryPath(t *testing.T) {
	tests := []struct {
		name   string
		handle func(*Packet)
	}{
		{"accepts", func(p *Packet) { p.Accept() }},
		{"accepts twice", func(p *Packet) { p.Accept(); p.Accept() }},
		{"panics", func(*Packet) { panic("at the disco") }},
		{"panics with an error", func(*Packet) { panic(errors.New("no")) }},
		{"runtime error", func(p *Packet) { _ = p.Payload[1<<20] }},
		{"accepts and panics", func(p *Packet) { p.Accept(); panic("late") }},
		{"panics behind a deferred accept", func(p *Packet) { defer p.Accept(); panic("early") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q, v := fakeQueue(slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- q.Run(ctx, tt.handle) }()
			for id := uint32(1); id <= 3; id++ {
				if stop := q.receive(message(id, "payload")); stop != 0 {
					t.Error("the reader was stopped")
				}
			}
			q.receive(message(4, ""))
			q.receive(nfqueue.Attribute{})
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run = %v", err)
			}
			q.receive(message(5, "after Run")) // passes unseen
			if diff := cmp.Diff(map[uint32]int{1: 1, 2: 1, 3: 1, 4: 1, 5: 1}, v.of); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
			s := q.Stats()
			if s.Received != 5 || s.Bare != 1 || s.Malformed != 1 {
				t.Errorf("stats %+v", s)
			}
			if want := strings.Contains(tt.name, "panic") || tt.name == "runtime error"; want != (s.Panics == 3) {
				t.Errorf("%d panics counted", s.Panics)
			}
		})
	}
}

func TestPacketFields(t *testing.T) {
	q, _ := fakeQueue(slog.New(slog.DiscardHandler))
	var got *Packet
	q.handle = func(p *Packet) { got = p }
	close(q.running)
	q.receive(message(9, "abc"))
	if got == nil || got.ID != 9 || got.Hook != 2 || got.Mark != 5 || string(got.Payload) != "abc" || got.Accepted() {
		t.Errorf("packet %+v", got)
	}
}

func TestPanicIsLoggedOnceASecond(t *testing.T) {
	var out bytes.Buffer
	q, _ := fakeQueue(slog.New(slog.NewTextHandler(&out, nil)))
	q.handle = func(*Packet) { panic("at the disco") }
	close(q.running)
	for id := range uint32(100) {
		q.receive(message(id, "x"))
	}
	if n := strings.Count(out.String(), "packet handler panicked"); n < 1 || n > 3 {
		t.Errorf("%d log lines for 100 panics", n)
	}
	if !strings.Contains(out.String(), "at the disco") || !strings.Contains(out.String(), "TestPanicIsLogged") {
		t.Errorf("log without the panic or its stack: %s", out.String())
	}
}

func TestRunTwice(t *testing.T) {
	q, _ := fakeQueue(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Run(ctx, func(*Packet) {}); err != nil {
		t.Fatal(err)
	}
	if err := q.Run(ctx, func(*Packet) {}); !errors.Is(err, ErrStopped) {
		t.Errorf("second Run = %v", err)
	}
}

func TestErrorsOfTheSocket(t *testing.T) {
	tests := []struct {
		err   error
		stops bool
		want  Stats
	}{
		{&netlink.OpError{Op: "receive", Err: unix.ENOENT}, false, Stats{Late: 1}},
		{&netlink.OpError{Op: "receive", Err: os.NewSyscallError("recvmsg", unix.ENOBUFS)}, false, Stats{Overruns: 1}},
		{&netlink.OpError{Op: "receive", Err: unix.EINVAL}, false, Stats{Errors: 1}},
		{errors.New("message truncated"), false, Stats{Errors: 1}},
		{&netlink.OpError{Op: "receive", Err: os.NewSyscallError("recvmsg", unix.EBADF)}, true, Stats{}},
		{&netlink.OpError{Op: "receive", Err: fmt.Errorf("recvmsg: %w", os.ErrClosed)}, true, Stats{}},
	}
	for _, tt := range tests {
		t.Run(tt.err.Error(), func(t *testing.T) {
			q, _ := fakeQueue(slog.New(slog.DiscardHandler))
			if got := q.fail(tt.err) != 0; got != tt.stops {
				t.Errorf("stops the reader: %v", got)
			}
			if diff := cmp.Diff(tt.want, q.Stats()); diff != "" {
				t.Errorf("stats (-want +got):\n%s", diff)
			}
			if tt.stops {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if err := q.Run(ctx, func(*Packet) {}); !errors.Is(err, ErrStopped) {
					t.Errorf("Run = %v, want ErrStopped", err)
				}
			}
		})
	}
}

func TestParseKernel(t *testing.T) {
	const text = "    7   4711     3 2 65531     1     2      999  1\n 2100 12     0 2 65531     0     0        5  1\n"
	got, err := parseKernel(text, 7)
	if want := (Kernel{Port: 4711, Waiting: 3, Dropped: 1, UserDropped: 2, Sequence: 999}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := parseKernel(text, 2100); err != nil || got.Port != 12 {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := parseKernel(text, 8); !errors.Is(err, ErrNotBound) {
		t.Errorf("err = %v", err)
	}
	if _, err := parseKernel("nonsense\n", 8); err == nil || errors.Is(err, ErrNotBound) {
		t.Errorf("err = %v", err)
	}
}
