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

	"github.com/florianl/go-nfqueue/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/patience"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// verdicts keeps what the kernel would be told: a word for each verdict.
type verdicts struct {
	mu sync.Mutex
	of map[uint32]string
}

func (v *verdicts) verdict(id uint32, verdict int, as []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case verdict == nfqueue.NfDrop && as == nil:
		v.of[id] += "drop "
	case verdict == nfqueue.NfAccept && as == nil:
		v.of[id] += "accept "
	case verdict == nfqueue.NfAccept:
		v.of[id] += fmt.Sprintf("accept as %.8q ", as)
	default:
		v.of[id] += fmt.Sprintf("verdict %d ", verdict)
	}
}

func fakeQueue(cfg Config) (*Queue, *verdicts) {
	v := &verdicts{of: map[uint32]string{}}
	cfg.Num = 7
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	q := newQueue(cfg)
	q.judge = v
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

// Of many verdicts at once one wins, whichever, and says so.
func TestOneVerdict(t *testing.T) {
	v := &verdicts{of: map[uint32]string{}}
	p := &Packet{ID: 3, judge: v}
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 18 {
		wg.Go(func() {
			verdict := [...]func() bool{p.Accept, p.Drop, func() bool { return p.AcceptAs([]byte("other")) }}[i%3]
			if verdict() {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || strings.Count(v.of[3], "accept")+strings.Count(v.of[3], "drop") != 1 || !p.Judged() {
		t.Errorf("%d calls claim the verdict, the kernel got %q", won.Load(), v.of[3])
	}
}

func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*Packet) bool
		want string
	}{
		{"accept", (*Packet).Accept, "accept "},
		{"drop", (*Packet).Drop, "drop "},
		{"other bytes", func(p *Packet) bool { return p.AcceptAs([]byte("other")) }, `accept as "other" `},
		{"as many as the kernel takes", func(p *Packet) bool { return p.AcceptAs(make([]byte, 65531)) }, `accept as "\x00\x00\x00\x00\x00\x00\x00\x00" `},
		{"too many for the kernel", func(p *Packet) bool { return p.AcceptAs(make([]byte, 65532)) }, "drop "},
		{"no bytes", func(p *Packet) bool { return p.AcceptAs(nil) }, "drop "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := &verdicts{of: map[uint32]string{}}
			p := &Packet{ID: 3, judge: v}
			if p.Judged() || !tt.do(p) || !p.Judged() || tt.do(p) || p.Accept() || p.Drop() {
				t.Error("the first verdict is not the only one")
			}
			if v.of[3] != tt.want {
				t.Errorf("the kernel got %q, want %q", v.of[3], tt.want)
			}
		})
	}
}

// Law 2: every queued packet gets exactly one verdict, on every path.
func TestLaw2EveryPath(t *testing.T) {
	const unread = "" // as packets that nobody has read: accepted, or dropped where the queue fails closed
	tests := []struct {
		name   string
		handle func(*Packet)
		want   string
	}{
		{"accepts", func(p *Packet) { p.Accept() }, "accept "},
		{"accepts twice", func(p *Packet) { p.Accept(); p.Accept() }, "accept "},
		{"accepts as other bytes", func(p *Packet) { p.AcceptAs([]byte("other")); p.Accept() }, `accept as "other" `},
		{"drops", func(p *Packet) { p.Drop(); p.Accept() }, "drop "},
		{"panics", func(*Packet) { panic("at the disco") }, unread},
		{"panics with an error", func(*Packet) { panic(errors.New("no")) }, unread},
		{"runtime error", func(p *Packet) { _ = p.Payload[1<<20] }, unread},
		{"accepts and panics", func(p *Packet) { p.Accept(); panic("late") }, "accept "},
		{"drops and panics", func(p *Packet) { p.Drop(); panic("late") }, "drop "},
		{"panics behind a deferred accept", func(p *Packet) { defer p.Accept(); panic("early") }, "accept "},
	}
	for i := range 2 * len(tests) {
		tt, failClosed := tests[i/2], i%2 == 1
		t.Run(fmt.Sprintf("%s, fails closed %v", tt.name, failClosed), func(t *testing.T) {
			q, v := fakeQueue(Config{FailClosed: failClosed})
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
			q.receive(message(5, "after Run"))
			untouched := "accept "
			if failClosed {
				untouched = "drop "
			}
			want := tt.want
			if want == unread {
				want = untouched
			}
			if diff := cmp.Diff(map[uint32]string{1: want, 2: want, 3: want, 4: untouched, 5: untouched}, v.of); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
			s := q.Stats()
			if s.Received != 5 || s.Bare != 1 || s.Malformed != 1 {
				t.Errorf("stats %+v", s)
			}
			if panics := strings.Contains(tt.name, "panic") || tt.name == "runtime error"; panics != (s.Panics == 3) {
				t.Errorf("%d panics counted", s.Panics)
			}
		})
	}
}

func TestPacketFields(t *testing.T) {
	q, _ := fakeQueue(Config{})
	var got *Packet
	q.handle = func(p *Packet) { got = p }
	close(q.running)
	q.receive(message(9, "abc"))
	if got == nil || got.ID != 9 || got.Hook != 2 || got.Mark != 5 || string(got.Payload) != "abc" || got.Judged() {
		t.Errorf("packet %+v", got)
	}
}

func TestPanicIsLoggedOnceASecond(t *testing.T) {
	var out bytes.Buffer
	q, _ := fakeQueue(Config{Log: slog.New(slog.NewTextHandler(&out, nil))})
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
	q, _ := fakeQueue(Config{})
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
			q, _ := fakeQueue(Config{})
			if got := q.fail(tt.err) != 0; got != tt.stops {
				t.Errorf("stops the reader: %v", got)
			}
			if diff := cmp.Diff(tt.want, q.Stats()); diff != "" {
				t.Errorf("stats (-want +got):\n%s", diff)
			}
			if tt.stops {
				ctx, cancel := context.WithTimeout(t.Context(), patience.Limit)
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
