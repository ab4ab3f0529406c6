package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ftpinhole/cmd/internal/audit"
	"ftpinhole/cmd/internal/patience"
	"ftpinhole/conntrack"
)

// feedServer serves a feed; stop ends the server and waits for it.
func feedServer(t *testing.T, change func(*Server)) (path string, feed *Feed, s *Server, stop func()) {
	t.Helper()
	feed = &Feed{}
	path = filepath.Join(t.TempDir(), "s")
	s, err := Listen(path, &daemon{}, quiet, WithFeed(feed))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx); close(ended) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return path, feed, s, stop
}

func watch(t *testing.T, path string) *Events {
	t.Helper()
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func TestEvents(t *testing.T) {
	path, feed, _, stop := feedServer(t, nil)
	e := watch(t, path)
	sent := conntrack.Record{Time: time.Unix(1, 0), Action: conntrack.Open, FlowID: 7, User: "\x1b[2J\n\xff"}
	const n = 500
	for range n {
		feed.Publish(sent)
	}
	want := strings.TrimSuffix(string(audit.Append(nil, &sent)), "\n")
	for i := range n {
		ev, err := e.Next()
		if err != nil || string(ev.Line) != want || ev.Skipped != 0 {
			t.Fatalf("event %d: %q, %d skipped, %v", i, ev.Line, ev.Skipped, err)
		}
	}
	// What was published before the daemon stops still comes.
	feed.Publish(sent)
	stop()
	if ev, err := e.Next(); err != nil || string(ev.Line) != want {
		t.Errorf("the last event: %q, %v", ev.Line, err)
	}
	if _, err := e.Next(); !errors.Is(err, ErrStopped) || !errors.Is(err, ErrNoDaemon) {
		t.Errorf("after the end: %v", err)
	}
}

func TestEventsEndWithTheirContext(t *testing.T) {
	path, feed, _, _ := feedServer(t, nil)
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	e, err := c.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := e.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	patience.Until(t, "the end of the subscription", func() bool { return feed.Watchers() == 0 })
}

// The server's timeouts for requests do not end a stream, and both sides know
// that the other is there. The client's patience is longer than a starved machine
// makes a sign of life late.
func TestEventsOutliveTimeouts(t *testing.T) {
	t.Parallel()
	const clientPatience = 6 * time.Second
	path, feed, _, _ := feedServer(t, func(s *Server) {
		s.http.ReadTimeout, s.http.WriteTimeout, s.http.IdleTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
		s.beat = 20 * time.Millisecond
	})
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	c.patience = clientPatience
	e, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	time.AfterFunc(clientPatience+time.Second, func() { feed.Publish(conntrack.Record{Action: conntrack.Open}) })
	if _, err := e.Next(); err != nil {
		t.Errorf("a second more than its patience was quiet: %v", err)
	}
}

func TestSilentDaemon(t *testing.T) {
	t.Parallel()
	path, _, _, _ := feedServer(t, func(s *Server) { s.beat = time.Hour })
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	c.patience = 2 * time.Second // the daemon has to begin to answer within it
	e, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Next(); err == nil || !strings.Contains(err.Error(), "gone silent") {
		t.Errorf("a daemon without a sign of life: %v", err)
	}
}

// A client that reads nothing holds nobody up, is told what it missed when it
// reads again, and is cut off when it does not.
func TestStalledWatcher(t *testing.T) {
	path, feed, s, _ := feedServer(t, func(s *Server) { s.stall = patience.Limit })
	r := conntrack.Record{Action: conntrack.Open, Path: strings.Repeat("\x01", 1024)}
	slow, other := watch(t, path), watch(t, path)
	s.stall = 200 * time.Millisecond
	stalled := watch(t, path)

	// Nobody reads yet: if this waited for a watcher, none would miss a record.
	const n = feedBuffer + 4096
	for range n {
		feed.Publish(r)
	}
	var readers sync.WaitGroup
	for _, e := range []*Events{slow, other} {
		readers.Go(func() {
			var seen, skipped uint64
			for seen+skipped < n {
				ev, err := e.Next()
				if err != nil {
					t.Errorf("after %d records and %d skipped: %v", seen, skipped, err)
					return
				}
				if ev.Skipped > 0 {
					skipped += ev.Skipped
				} else {
					seen++
				}
			}
			if seen+skipped != n || skipped == 0 {
				t.Errorf("%d records and %d skipped of %d", seen, skipped, n)
			}
		})
	}
	readers.Wait()
	patience.Until(t, "the end of the stalled watcher", func() bool { return feed.Watchers() == 2 })
	for {
		if _, err := stalled.Next(); err != nil {
			if !errors.Is(err, ErrStopped) {
				t.Errorf("the stalled watcher: %v", err)
			}
			return
		}
	}
}

// A client that hangs up is noticed without a record, whatever it sent before.
func TestDeadWatcher(t *testing.T) {
	path, feed, _, _ := feedServer(t, func(s *Server) { s.beat = 20 * time.Millisecond })
	for _, more := range []string{"", "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n", "\x00\xff"} {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n%s", more)
		patience.Until(t, "the watcher", func() bool { return feed.Watchers() == 1 })
		c.Close()
		patience.Until(t, "its end", func() bool { return feed.Watchers() == 0 })
	}
}

func TestTooManyWatchers(t *testing.T) {
	path, feed, s, _ := feedServer(t, nil)
	var held []*Events
	for range maxWatchers {
		held = append(held, watch(t, path))
	}
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Events(t.Context()); err == nil || !strings.Contains(err.Error(), "too many watch") {
		t.Errorf("watcher %d: %v", maxWatchers+1, err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("status beside %d watchers: %v", maxWatchers, err)
	}
	held[0].Close()
	patience.Until(t, "a free place", func() bool { return feed.Watchers() == maxWatchers-1 })
	watch(t, path)
	if s.watchers.mostReaders >= s.watchers.most {
		t.Error("readers can lock the administrator out")
	}
}

func TestNothingToWatch(t *testing.T) {
	c, err := Dial(start(t, &daemon{}, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Events(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be watched") {
		t.Errorf("a daemon without a feed: %v", err)
	}
}

// A daemon that sends what is none ends the stream with an error.
func TestBadStream(t *testing.T) {
	for name, body := range map[string]string{
		"not JSON": "hello\n", "half a line": `{"skipped":1`, "nothing": "",
		"too long": `{"x":"` + strings.Repeat("x", maxEvent) + "\"}\n", "skipped is no number": `{"skipped":"x"}` + "\n",
	} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 4096))
				_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n"+body)
				c.Close()
			}
		}()
		if ev, err := watch(t, path).Next(); err == nil {
			t.Errorf("%s: %q, %d skipped", name, ev.Line, ev.Skipped)
		}
		l.Close()
	}
}
