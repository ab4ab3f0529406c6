package lab_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
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
		if err := l.SetReadDeadline(patience.Deadline()); err != nil {
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
	m := patience.NewMeter()
	for n := 1; n <= 3; n++ {
		if got, want := hear(), "WATCHDOG=1\nSTATUS=ready: 0 sessions, 0 pinholes open"; got != want {
			t.Errorf("systemd heard %q, want %q", got, want)
		}
		m.Within(t, time.Duration(n)*time.Second, fmt.Sprintf("feed %d of a watchdog of a second comes", n))
	}
	d.Stop()
	for got := hear(); got != "STOPPING=1"; got = hear() {
		if !strings.HasPrefix(got, "WATCHDOG=1") {
			t.Errorf("systemd heard %q before the end", got)
		}
	}
}
