//go:build guest

// What changes the whole machine: it is done in the guests of scripts/test-kernels
// only, and not beside other tests.

package lab_test

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// The clock jumps a day ahead, and two back. What is open stays open, and ends by
// its time.
func TestClockJump(t *testing.T) {
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon("--pinhole-timeout", "8s")
	s, data := pinhole(t, l)
	var m *patience.Meter
	for i, days := range []int{1, -2, 1} {
		jump(t, time.Duration(days)*24*time.Hour)
		if _, err := s.Retrieve(data, "hello.txt"); err != nil {
			t.Fatalf("%d days later: %v", days, err)
		}
		d.WaitClosed(t, i+1)
		if code := d.Status(); code != 0 {
			t.Errorf("%d days later status has exit code %d", days, code)
		}
		m = patience.NewMeter() // before the pinhole is open
		var err error
		if data, err = s.Passive("EPSV"); err != nil {
			t.Fatal(err)
		}
	}
	jump(t, -24*time.Hour)
	records := d.WaitClosed(t, 4)
	jump(t, 24*time.Hour)
	if took := m.Since(); took < 7*time.Second { // the kernel counts in ticks
		t.Errorf("the last one was open for %v, want 8 s", took)
	}
	m.Within(t, 12*time.Second, "the last one, of 8 s, is closed")
	for i, closed := range lab.Pinholes(records, "close") {
		if want := []string{"finished", "finished", "finished", "expired"}[i]; closed.Pinhole.Reason != want {
			t.Errorf("want %s: %s", want, closed.Raw)
		}
	}
}

// jump sets the clock, until the test ends.
func jump(t *testing.T, by time.Duration) {
	t.Helper()
	set := func(by time.Duration) {
		now := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
			t.Error(err)
		}
	}
	set(by)
	t.Cleanup(func() { set(-by) })
}

// While conntrack's table is full the kernel drops what begins. A data
// connection that tries again passes as soon as there is room.
func TestConntrackTableFull(t *testing.T) {
	const path = "/proc/sys/net/netfilter/nf_conntrack_max"
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon()
	s, data := pinhole(t, l)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	room := func(most []byte) {
		if err := os.WriteFile(path, most, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	room([]byte("1"))
	defer room(before)
	transfer := make(chan error, 1)
	go func() {
		_, err := s.Retrieve(data, "hello.txt")
		transfer <- err
	}()
	select {
	case err := <-transfer:
		t.Fatalf("the table was not full: %v", err)
	case <-time.After(2 * time.Second):
	}
	room(before)
	if err := <-transfer; err != nil {
		t.Error(err)
	}
	if closed := lab.Pinholes(d.WaitClosed(t, 1), "close"); closed[0].Pinhole.Reason != "finished" {
		t.Errorf("want finished: %s", closed[0].Raw)
	}
}
