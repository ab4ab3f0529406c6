package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"ftpinhole/cmd/internal/control"
	"ftpinhole/cmd/internal/patience"
)

// systemd hears each half of the watchdog's time that the packet path turns,
// and nothing while it does not.
func TestFeedWatchdog(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := func(wait time.Duration) string {
		t.Helper()
		if err := l.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1024)
		n, _ := l.Read(b)
		return string(b[:n])
	}
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "40000")
	var stalled atomic.Bool
	asked := make(chan time.Duration)
	turning := func(_ context.Context, within time.Duration) error {
		if stalled.Load() {
			asked <- within
			return errors.New("it hangs")
		}
		return nil
	}
	st := control.Status{Ready: true, Sessions: 3, Pinholes: control.PinholeCounts{Open: 2}}
	go feedWatchdog(t.Context(), turning, func() control.Status { return st }, slog.New(slog.DiscardHandler))
	for range 3 {
		if got, want := heard(patience.Limit), "WATCHDOG=1\nSTATUS=ready: 3 sessions, 2 pinholes open"; got != want {
			t.Fatalf("systemd heard %q, want %q", got, want)
		}
	}
	stalled.Store(true)
	if within := <-asked; within != 10*time.Millisecond {
		t.Errorf("the packet path must turn within %v, want 10ms", within)
	}
	for heard(time.Millisecond) != "" { // what was said before it hung
	}
	<-asked
	<-asked
	if got := heard(time.Millisecond); got != "" {
		t.Errorf("of a packet path that hangs systemd heard %q", got)
	}
	stalled.Store(false)
	if heard(patience.Limit) == "" {
		t.Error("systemd heard nothing when the packet path turned again")
	}
}

// Without a watchdog nothing is fed.
func TestNoWatchdog(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "")
	feedWatchdog(t.Context(), nil, nil, slog.New(slog.DiscardHandler)) // returns
}

func TestStatusText(t *testing.T) {
	t.Parallel()
	for want, st := range map[string]control.Status{
		`STATUS=not ready: the table is lost\u000aREADY=1`: {Reason: "the table is lost\nREADY=1"},
		"STATUS=not ready: no reason is known":             {},
		"STATUS=ready: 0 sessions, 0 pinholes open":        {Ready: true},
	} {
		if got := statusText(st); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
