package flows

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/patience"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// await reads events until one fits, and gives back all that it read.
func await(t *testing.T, l *Listener, what string, fits func(Event) bool) []Event {
	t.Helper()
	var seen []Event
	for deadline := time.After(patience.Limit); ; {
		select {
		case ev, ok := <-l.Events():
			if !ok {
				t.Fatalf("events ended before %s; got %v", what, seen)
			}
			seen = append(seen, ev)
			if fits(ev) {
				return seen
			}
		case <-deadline:
			t.Fatalf("no %s; got %v", what, seen)
		}
	}
}

func listen(t *testing.T, cfg Config) *Listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l, err := Listen(ctx, cfg)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); l.Wait() })
	return l
}

func TestEventsOfMarkedFlow(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			inNetNS(t)
			command(t, ruleset, "nft", "-f", "-")
			serve(t, net.JoinHostPort(host, "2121"))
			l := listen(t, Config{Mask: testMark})

			conn := dial(t, net.JoinHostPort(host, "2121"))
			client := netip.MustParseAddrPort(conn.LocalAddr().String())
			server := netip.MustParseAddrPort(conn.RemoteAddr().String())
			kindState := func(k Kind, s State) func(Event) bool {
				return func(ev Event) bool { return ev.Kind == k && ev.Flow.State == s }
			}
			first := await(t, l, "NEW", kindState(New, SynSent))[0].Flow
			if first.Client != client || first.Server != server || first.ReplySrc != server || first.ReplyDst != client {
				t.Errorf("NEW of %+v, want %v to %v", first, client, server)
			}
			if first.Mark != 0x30000000 || first.ID == 0 || first.Counted {
				t.Errorf("NEW of %+v, want mark, id, and no counters", first)
			}
			await(t, l, "ESTABLISHED", kindState(Update, Established))
			conn.Close()
			last := await(t, l, "TIME_WAIT", kindState(Update, TimeWait))
			if end := last[len(last)-1].Flow; end.ID != first.ID || !end.State.Over() {
				t.Errorf("end of %+v, want id %d", end, first.ID)
			}

			// DESTROY comes minutes later by itself.
			c := dialKernel(t)
			if err := c.Delete(first); err != nil {
				t.Fatal(err)
			}
			await(t, l, "DESTROY", func(ev Event) bool { return ev.Kind == Destroy && ev.Flow.ID == first.ID })
			if n := l.Undecoded() + l.Overruns(); n != 0 {
				t.Errorf("%d messages undecoded or lost", n)
			}
		})
	}
}

func TestResetIsClose(t *testing.T) {
	inNetNS(t)
	command(t, ruleset, "nft", "-f", "-")
	serve(t, "127.0.0.1:2121")
	l := listen(t, Config{Mask: testMark})
	conn := dial(t, "127.0.0.1:2121")
	echo(t, conn, 10)
	_ = conn.SetLinger(0)
	conn.Close()
	await(t, l, "CLOSE", func(ev Event) bool { return ev.Kind == Update && ev.Flow.State == Close && ev.Flow.State.Over() })
}

func TestNoEventsOfOthers(t *testing.T) {
	inNetNS(t)
	command(t, ruleset, "nft", "-f", "-")
	serve(t, "127.0.0.1:8080") // no mark
	serve(t, "127.0.0.1:2121") // a mark without our bit
	others := listen(t, Config{Mask: 0x40000000})
	ours := listen(t, Config{Mask: testMark})
	for range 30 {
		dial(t, "127.0.0.1:8080").Close()
	}
	dial(t, "127.0.0.1:2121")
	for _, ev := range await(t, ours, "the marked flow", func(Event) bool { return true }) {
		if ev.Flow.Server.Port() != 2121 {
			t.Errorf("event of an unmarked flow: %+v", ev)
		}
	}
	select {
	case ev := <-others.Events():
		t.Errorf("event without the mask's bit: %+v", ev)
	case <-time.After(100 * time.Millisecond):
	}
}

func TestOverrunWhenBufferIsSmall(t *testing.T) {
	inNetNS(t)
	command(t, ruleset, "nft", "-f", "-")
	serve(t, "127.0.0.1:2121")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l, err := open(Config{Mask: testMark, ReadBuffer: 1}) // the kernel makes it 2,304
	if err != nil {
		t.Fatal(err)
	}
	if cap(l.events) != queueLength+1 {
		t.Errorf("room for %d events, and none for an overrun", cap(l.events))
	}
	for range 20 { // nobody reads yet
		dial(t, "127.0.0.1:2121").Close()
	}
	go func() { defer close(l.done); l.run(ctx) }()
	t.Cleanup(func() { l.conn.Close(); <-l.done })
	await(t, l, "an overrun", func(ev Event) bool { return ev.Kind == Overrun })
	if l.Overruns() == 0 {
		t.Error("overrun not counted")
	}
	// It goes on: connections are seen. So small a buffer holds not all of their
	// events where the reader is slow: some of them are.
	later := make(map[netip.AddrPort]bool)
	for begun := time.Now(); time.Since(begun) < patience.Limit; {
		later[netip.MustParseAddrPort(dial(t, "127.0.0.1:2121").LocalAddr().String())] = true
		for waited := time.After(100 * time.Millisecond); waited != nil; {
			select {
			case ev := <-l.Events():
				if later[ev.Flow.Client] {
					return
				}
			case <-waited:
				waited = nil
			}
		}
	}
	t.Errorf("none of %d connections after it was seen", len(later))
}

func TestOverrunWhenReaderIsSlow(t *testing.T) {
	l := &Listener{events: make(chan Event, queueLength+1)}
	for i := range queueLength + 10 { // must not block
		l.deliver(Event{Kind: New, Flow: Flow{ID: uint32(i)}})
	}
	if l.Overruns() != 10 {
		t.Errorf("%d overruns, want 10", l.Overruns())
	}
	for i := range queueLength {
		if ev := <-l.events; ev.Kind != New || ev.Flow.ID != uint32(i) {
			t.Fatalf("event %d is %+v", i, ev)
		}
	}
	if ev := <-l.events; ev.Kind != Overrun {
		t.Errorf("after the lost events: %+v, want an overrun", ev)
	}
	l.deliver(Event{Kind: Destroy})
	if ev := <-l.events; ev.Kind != Destroy {
		t.Errorf("after the overrun: %+v", ev)
	}
}

func TestListenEndsWithContext(t *testing.T) {
	inNetNS(t)
	ctx, cancel := context.WithCancel(context.Background())
	l, err := Listen(ctx, Config{Mask: testMark})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	l.Wait()
	if ev, ok := <-l.Events(); ok {
		t.Errorf("event %+v after the end", ev)
	}
}

func TestListenInOtherNamespace(t *testing.T) {
	inNetNS(t)
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	command(t, ruleset, "nft", "-f", "-")
	serve(t, "127.0.0.1:2121")
	// From here on another goroutine, outside of the namespace.
	got := make(chan *Listener, 1)
	go func() { got <- listen(t, Config{Mask: testMark, NetNS: fd}) }()
	l := <-got
	dial(t, "127.0.0.1:2121")
	await(t, l, "NEW", func(ev Event) bool { return ev.Kind == New })
}

func TestListenNeedsCapability(t *testing.T) {
	inNetNS(t)
	dropCapabilities(t)
	if _, err := Listen(context.Background(), Config{Mask: testMark}); !errors.Is(err, unix.EPERM) {
		t.Errorf("Listen without CAP_NET_ADMIN: %v, want EPERM", err)
	}
}

// dropCapabilities is for this thread, which the test never gives back.
func dropCapabilities(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
}

// A flow that a program put into conntrack is told from one that a packet made.
func TestFlowThatWasBrought(t *testing.T) {
	inNetNS(t)
	command(t, ruleset, "nft", "-f", "-")
	serve(t, "127.0.0.1:2121")
	l := listen(t, Config{Mask: testMark})
	isNew := func(ev Event) bool { return ev.Kind == New }
	dial(t, "127.0.0.1:2121")
	if ev := await(t, l, "NEW", isNew)[0]; ev.Brought {
		t.Errorf("a packet's: %+v", ev)
	}
	command(t, "", "conntrack", "-I", "-p", "tcp", "-s", "10.0.1.2", "-d", "10.0.2.2", "--sport", "40000", "--dport", "21",
		"--state", "ESTABLISHED", "-t", "60", "-m", "0x30000000")
	for _, ev := range await(t, l, "NEW of a program", func(ev Event) bool { return isNew(ev) && ev.Flow.Server.Port() == 21 }) {
		if want := ev.Kind == New && ev.Flow.Server.Port() == 21; ev.Brought != want {
			t.Errorf("%+v, want %v", ev, want)
		}
	}
}
