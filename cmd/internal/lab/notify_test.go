package lab_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
)

// systemd hears when the daemon is ready, that its packet path turns, and that
// it stops, also from the confined daemon. Not in parallel: the socket's name
// is in the environment.
func TestSystemdIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hear := func() string {
		t.Helper()
		b := make([]byte, 1024)
		if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(b)
		if err != nil {
			t.Fatalf("systemd hears nothing: %v", err)
		}
		return string(b[:n])
	}
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "1000000")
	gateway := lab.New(t)
	d := gateway.StartDaemon()
	if got, want := hear(), "READY=1\nSTATUS=ready: 0 sessions, 0 pinholes open"; got != want {
		t.Errorf("systemd heard %q first, want %q", got, want)
	}
	for begun, n := time.Now(), 1; n <= 3; n++ {
		if got, want := hear(), "WATCHDOG=1\nSTATUS=ready: 0 sessions, 0 pinholes open"; got != want {
			t.Errorf("systemd heard %q, want %q", got, want)
		}
		if late := time.Since(begun); late > time.Duration(n)*time.Second {
			t.Errorf("feed %d came after %v, too late for a watchdog of a second", n, late)
		}
	}
	d.Stop()
	for got := hear(); got != "STOPPING=1"; got = hear() {
		if !strings.HasPrefix(got, "WATCHDOG=1") {
			t.Errorf("systemd heard %q before the end", got)
		}
	}
}
