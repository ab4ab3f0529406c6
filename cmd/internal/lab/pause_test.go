package lab_test

import (
	"syscall"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
)

// Law 6: a daemon that is stopped for a while (a debugger, a frozen cgroup, a
// paused virtual machine) goes on afterwards, and its sessions with it.
func TestLaw6PausedDaemonGoesOn(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon()
	s, _ := pinhole(t, l)
	for range 3 {
		d.Signal(syscall.SIGSTOP)
		time.Sleep(6500 * time.Millisecond)
		d.Signal(syscall.SIGCONT)
		// Nothing but the packets of this session wakes it.
		data, err := s.Passive("PASV")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Retrieve(data, "hello.txt"); err != nil || len(got) != 22 {
			t.Fatalf("after the pause: %d bytes, %v", len(got), err)
		}
		// The watchdog has looked again by then.
		time.Sleep(2 * time.Second)
		if status := d.Status(); status != 0 {
			t.Fatalf("after the pause its status is %d, want 0 (ready)", status)
		}
	}
}
