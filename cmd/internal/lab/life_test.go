package lab_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

const curlOnce = "ftp://10.0.2.2/hello.txt"

func fetch(l *lab.Lab, seconds string) error {
	_, err := l.Exec(lab.Client, "curl", "-sS", "--max-time", seconds, curlOnce)
	return err
}

func mustFetch(t *testing.T, l *lab.Lab) {
	t.Helper()
	if err := fetch(l, inSeconds(transferLimit)); err != nil {
		t.Fatal(err)
	}
}

// pinhole logs in, agrees on a passive port and leaves the pinhole open.
func pinhole(t *testing.T, l *lab.Lab) (*lab.Session, netip.AddrPort) {
	t.Helper()
	return pinholeBy(t, l, 4, "PASV")
}

// pinholeBy is pinhole in a family, by PASV or EPSV.
func pinholeBy(t *testing.T, l *lab.Lab, family int, command string) (*lab.Session, netip.AddrPort) {
	t.Helper()
	s, err := l.Login(lab.Client, lab.Address(lab.Client, family), lab.Address(lab.Server, family))
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Passive(command)
	if err != nil {
		t.Fatal(err)
	}
	return s, data
}

// Must hold: after a clean stop no table, rule or process is left. And `nft
// list ruleset` and `nft -j list ruleset` work while the daemon runs, with a
// pinhole open.
func TestCleanStopLeavesNothing(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	before, err := l.Ruleset("-s")
	if err != nil {
		t.Fatal(err)
	}
	d := l.StartDaemon()
	mustFetch(t, l)
	_, data := pinhole(t, l)

	text, err := l.Ruleset()
	if err != nil {
		t.Error(err)
	}
	for _, want := range []string{"table inet ftpinhole", "pinholes4", "pinholes6",
		fmt.Sprintf("10.0.1.2 . 10.0.2.2 . %d", data.Port())} {
		if !strings.Contains(text, want) {
			t.Errorf("nft list ruleset lacks %q:\n%s", want, text)
		}
	}
	listing, err := l.Ruleset("-j")
	if err != nil {
		t.Error(err)
	}
	if !json.Valid([]byte(listing)) || !strings.Contains(listing, "ftpinhole") {
		t.Errorf("nft -j list ruleset is not JSON with our table:\n%s", listing)
	}

	d.Stop()
	after, err := l.Ruleset("-s")
	if err != nil {
		t.Fatal(err)
	}
	if after != before {
		t.Errorf("the ruleset before the daemon:\n%s\nand after it:\n%s", before, after)
	}
	if queues, err := l.Exec(lab.Gateway, "cat", "/proc/net/netfilter/nfnetlink_queue"); err != nil || queues != "" {
		t.Errorf("queues that are still bound: %q %v", queues, err)
	}
	if pids, err := l.Exec(lab.Gateway, "ip", "netns", "pids", l.Name+"-gateway"); err != nil || len(strings.Fields(pids)) > 1 {
		t.Errorf("processes in the gateway, besides the one that looks: %q %v", pids, err)
	}
	if _, err := os.Stat(d.Socket); err == nil {
		t.Error("the control socket is still there")
	}
	if fetch(l, "2") == nil {
		t.Error("a transfer passed after the daemon was stopped")
	}
	closed := lab.Pinholes(d.WaitClosed(t, 2), "close")
	if last := closed[len(closed)-1]; last.Pinhole.Reason != "stopped" {
		t.Errorf("the open pinhole was not closed with reason stopped: %s", last.Raw)
	}
}

// If the table is lost to `nft flush ruleset`, it is back within a second with
// the pinholes that were open.
func TestFlushedTableComesBack(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon()
	s, data := pinhole(t, l)
	if _, err := l.Exec(lab.Gateway, "nft", "flush", "ruleset"); err != nil {
		t.Fatal(err)
	}
	element := fmt.Sprintf("10.0.1.2 . 10.0.2.2 . %d", data.Port())
	patience.Within(t, readyAgain, "the pinhole is back in the kernel", func() bool {
		text, err := l.Ruleset()
		return err == nil && strings.Contains(text, element)
	})
	l.Firewall("accept-line") // it was flushed as well
	if _, err := s.Retrieve(data, "small.bin"); err != nil {
		t.Errorf("the pinhole that was open: %v", err)
	}
	mustFetch(t, l)
	patience.Within(t, readyAgain, "status is ready", func() bool { return d.Status() == 0 })
}

// readyAgain is the second that is promised, and time for nft to be run.
const readyAgain = 1500 * time.Millisecond

// A second daemon in the same network namespace is refused with a clear
// error, also with another queue, and harms nothing.
func TestSecondDaemonIsRefused(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon()
	for _, more := range [][]string{nil, {"--queue-num", "3000"}} {
		_, stderr, code := l.Program(lab.Gateway, nil, runArgs(t, more...)...)
		want := fmt.Sprintf("another ftpinhole runs in this network namespace already (pid %d)", d.PID())
		if code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, want 1; it says %q, want %q", more, code, stderr, want)
		}
		mustFetch(t, l)
	}
	if d.Status() != 0 {
		t.Error("the first daemon is no longer ready")
	}
}

// runArgs are those of a daemon with its files in a folder of its own.
func runArgs(t *testing.T, more ...string) []string {
	dir := t.TempDir()
	return append([]string{"run", "--socket", filepath.Join(dir, "s"),
		"--audit-log", filepath.Join(dir, "a.json"), "--state-dir", filepath.Join(dir, "d")}, more...)
}

// Law 6: the daemon's death breaks no session; after a restart, sessions that
// are still open work again.
func TestSessionOutlivesKilledDaemon(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon()
	s, _ := pinhole(t, l)
	d.Kill()
	if err := s.Expect("NOOP", 200); err != nil {
		t.Fatalf("the session without a daemon: %v", err)
	}
	d = d.Restart()
	for _, command := range []string{"PASV", "EPSV"} {
		data, err := s.Passive(command)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Retrieve(data, "hello.txt"); err != nil || len(got) != 22 {
			t.Fatalf("%s in the same session after the restart: %d bytes, %v", command, len(got), err)
		}
	}
	if got, err := s.RetrieveActive("PORT", "hello.txt"); err != nil || len(got) != 22 {
		t.Fatalf("PORT in the same session after the restart: %d bytes, %v", len(got), err)
	}
	mustFetch(t, l)
	d.Stop()
	if text, err := l.Ruleset(); err != nil || strings.Contains(text, "ftpinhole") {
		t.Errorf("after the stop: %v\n%s", err, text)
	}
}
