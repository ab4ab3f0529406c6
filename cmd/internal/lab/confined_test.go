package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// Once it has started, no thread of the daemon has more than CAP_NET_ADMIN or
// can get more, and it sees no files but its own.
func TestConfined(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	metrics := filepath.Join(t.TempDir(), "m")
	d := l.StartDaemon("--metrics", "unix:"+metrics)
	mustFetch(t, l)
	if out, _, _ := l.Program(lab.Gateway, nil, "status", "--socket", d.Socket, "-o", "json"); !strings.Contains(out, `"confined":"landlock"`) {
		t.Errorf("status says %s", out)
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", d.PID()))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("threads: %v %v", tasks, err)
	}
	const none, netAdmin = "0000000000000000", "0000000000001000"
	for _, path := range tasks {
		status, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for _, want := range []string{"CapInh:\t" + none, "CapPrm:\t" + netAdmin, "CapEff:\t" + netAdmin,
			"CapBnd:\t" + netAdmin, "CapAmb:\t" + none, "NoNewPrivs:\t1"} {
			if !strings.Contains(string(status), want+"\n") {
				t.Errorf("a thread has not %q:\n%s", want, status)
			}
		}
	}
	d.Stop()
	for _, socket := range []string{d.Socket, metrics} {
		if _, err := os.Stat(socket); err == nil {
			t.Errorf("the socket %s is still there", socket)
		}
	}
}

// What the daemon does with files after its start works all the same: reload,
// also of files that are new, and a new audit log, whoever makes it.
func TestConfinedReloadAndRotation(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	etc := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(etc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The file is a link to another directory, as configuration managers make them.
	write("store/f.toml", "")
	config := filepath.Join(etc, "ftpinhole", "f.toml")
	write("ftpinhole/README", "")
	if err := os.Symlink(filepath.Join(etc, "store/f.toml"), config); err != nil {
		t.Fatal(err)
	}
	d := l.StartDaemon("--config", config)
	reload := func() (stderr string, code int) {
		t.Helper()
		_, stderr, code = l.Program(lab.Gateway, nil, "reload", "--socket", d.Socket)
		return stderr, code
	}
	write("store/f.toml", "ports = [21, 2121]\n")
	write("ftpinhole/conf.d/new.toml", "pinhole_timeout = '9s'\n")
	if stderr, code := reload(); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if rules, err := l.Ruleset(); err != nil || !strings.Contains(rules, "tcp dport { 21, 2121 }") {
		t.Errorf("the new port is not read: %v\n%s", err, rules)
	}

	// One of somebody else's is refused, and the error says whose it is.
	if err := os.Chown(filepath.Join(etc, "store/f.toml"), 64021, -1); err != nil {
		t.Fatal(err)
	}
	if stderr, code := reload(); code != 3 || !strings.Contains(stderr, "belongs to user 64021 and has the mode 0600") {
		t.Errorf("exit %d, want 3; it says %s", code, stderr)
	}
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	write("another/f.toml", "")
	if err := os.Symlink(filepath.Join(etc, "another/f.toml"), config); err != nil {
		t.Fatal(err)
	}
	if stderr, code := reload(); code != 3 || !strings.Contains(stderr, "restart it if "+filepath.Dir(config)+" is new") {
		t.Errorf("exit %d, want 3; it says %s", code, stderr)
	}

	for round, made := range []bool{false, true} { // by the daemon, by logrotate
		if err := os.Rename(d.AuditPath, fmt.Sprintf("%s.%d", d.AuditPath, round)); err != nil {
			t.Fatal(err)
		}
		if made {
			if err := os.WriteFile(d.AuditPath, nil, 0o640); err != nil {
				t.Fatal(err)
			}
		}
		d.Signal(syscall.SIGUSR1)
		patience.Until(t, "a record in the new audit log", func() bool {
			mustFetch(t, l)
			return len(d.AuditRecords()) > 0
		})
		info, err := os.Stat(d.AuditPath)
		if err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("the new audit log: %v %v", info, err)
		}
	}
	d.Stop()
	out, stderr, code := l.Program(lab.Gateway, nil, "audit", "--state-dir", d.StateDir, "-o", "jsonl")
	if code != 0 || !strings.Contains(out, `"action":"use"`) {
		t.Errorf("the trail (exit %d): %s%s", code, out, stderr)
	}
}

// What the daemon keeps of a rewritten session is written after its start too.
func TestConfinedTranslation(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	n := lab.NAT{"dnat", "longer"}
	l.Translate(n)
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon()
	if err := lab.Programs()[0].Run(l, lab.Variants()[0], lab.Download, n.Ends(4).Published, transferLimit); err != nil {
		t.Error(err)
	}
	if log := d.Stderr(); strings.Contains(log, "permission denied") {
		t.Error("the daemon may not do what it needs to")
	}
	d.Stop()
}
