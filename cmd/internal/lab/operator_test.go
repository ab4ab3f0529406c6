package lab_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// open lets data flow through a pinhole, or says why not.
func open(l *lab.Lab, s *lab.Session, command string) error {
	data, err := s.Passive(command)
	if err != nil {
		return err
	}
	c, err := l.Dial(lab.Client, lab.Address(lab.Client, 4), data, patience.Limit)
	if err != nil {
		return err
	}
	return c.Close()
}

// A reload keeps sessions and pinholes, takes new settings, and refuses a bad
// configuration as a whole.
func TestReload(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	path := filepath.Join(t.TempDir(), "f.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("pinhole_timeout = '30s'\n")
	d := l.StartDaemon("--config", path)
	s, data := pinhole(t, l)

	write("ports = [21, 2121]\n[policy]\nmodes = ['active']\n")
	if out, stderr, code := l.Program(lab.Gateway, nil, "reload", "--socket", d.Socket); code != 0 {
		t.Fatalf("exit %d: %s%s", code, out, stderr)
	}
	c, err := l.Dial(lab.Client, lab.Address(lab.Client, 4), data, patience.Limit)
	if err != nil {
		t.Fatalf("the pinhole from before the reload: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	rules, err := l.Ruleset()
	if err != nil || !strings.Contains(rules, "tcp dport { 21, 2121 }") {
		t.Errorf("the new port is not read: %v\n%s", err, rules)
	}
	if data, err = s.Passive("PASV"); err != nil {
		t.Fatal(err)
	}
	if c, err := l.Dial(lab.Client, lab.Address(lab.Client, 4), data, time.Second); err == nil {
		c.Close()
		t.Error("the new policy is not in effect")
	}

	// The log's level changes too, after the reload is told of.
	reloaded := func() int { return strings.Count(d.Stderr(), "the configuration was reloaded") }
	for i, level := range []string{"warn", "warn", "info", "info"} {
		before := reloaded()
		write("log_level = '" + level + "'\nports = [21, 2121]\n[policy]\nmodes = ['active']\n")
		if _, stderr, code := l.Program(lab.Gateway, nil, "reload", "--socket", d.Socket); code != 0 {
			t.Fatalf("exit %d: %s", code, stderr)
		}
		if told, want := reloaded()-before, []int{1, 0, 0, 1}[i]; told != want {
			t.Errorf("reload %d, to level %s, was told of %d times, want %d", i, level, told, want)
		}
	}

	for text, want := range map[string]string{
		"prots = 5\n":        `unknown key "prots"`,
		"queue_num = 3000\n": "queue_num cannot change",
	} {
		write(text)
		_, stderr, code := l.Program(lab.Gateway, nil, "reload", "--socket", d.Socket)
		if code != 3 || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit %d, want 3; it says %q, want %q", text, code, stderr, want)
		}
	}
	write("")
	if _, stderr, code := l.Program(lab.Gateway, nil, "reload", "--socket", d.Socket); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if err := open(l, s, "EPSV"); err != nil {
		t.Errorf("the session does not work after the reloads: %v", err)
	}
	d.Stop()
}

// The operator shuts one pinhole, and all of them.
func TestCloseAndFlush(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon()
	for _, verb := range []string{"close", "flush"} {
		_, data := pinhole(t, l)
		id := d.WaitOpen(t, data.Port()).Pinhole.ID
		args := []string{verb, "--socket", d.Socket}
		if verb == "close" {
			args = append(args, id)
		}
		if out, stderr, code := l.Program(lab.Gateway, nil, args...); code != 0 {
			t.Fatalf("%s: exit %d: %s%s", verb, code, out, stderr)
		}
		if c, err := l.Dial(lab.Client, lab.Address(lab.Client, 4), data, time.Second); err == nil {
			c.Close()
			t.Errorf("%s: the port is still open", verb)
		}
		patience.Until(t, "a close record by the operator", func() bool {
			return slices.ContainsFunc(lab.Pinholes(d.AuditRecords(), "close"), func(r lab.Record) bool {
				return r.Pinhole.ID == id && r.Pinhole.Reason == "closed_by_operator"
			})
		})
	}
	if _, _, code := l.Program(lab.Gateway, nil, "close", "--socket", d.Socket, "no-such"); code != 1 {
		t.Errorf("close of an id that is not there: exit %d, want 1", code)
	}
	d.Stop()
}

// Law 1: while another program holds up the kernel's nf_tables, sessions that
// negotiate wait for it and work, and the others do not even wait. A busy machine
// may let one wait by chance; a daemon that holds it up does so each time. Not in
// parallel: it would hold up the other tests' kernels too.
func TestLaw1SlowKernel(t *testing.T) {
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon()
	login := func() *lab.Session {
		t.Helper()
		s, err := l.Login(lab.Client, lab.Address(lab.Client, 4), lab.Address(lab.Server, 4))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	negotiates, other := login(), login()

	var load strings.Builder
	load.WriteString("table inet slow\ndelete table inet slow\ntable inet slow { set s { type ipv4_addr . inet_service; elements = { ")
	for i := range 200_000 {
		if i > 0 {
			load.WriteString(", ")
		}
		load.WriteString("10.9." + strconv.Itoa(i>>8&255) + "." + strconv.Itoa(i&255) + " . " + strconv.Itoa(1+i>>16))
	}
	load.WriteString(" }\n}\n}\n")
	file := filepath.Join(t.TempDir(), "slow.nft")
	if err := os.WriteFile(file, []byte(load.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		held, slowest := underLoad(t, l, d, file, negotiates, other)
		t.Logf("a line that negotiates was held for %v; the slowest answer to another session: %v", held, slowest)
		if held < 100*time.Millisecond {
			t.Error("the kernel was not slow: this tests nothing")
		}
		if slowest < held/2 {
			return
		}
	}
	t.Error("a session that does not negotiate waits as well")
}

// underLoad has both sessions work while nft loads a file, and returns the
// longest that each waited for an answer.
func underLoad(t *testing.T, l *lab.Lab, d *lab.Daemon, file string, negotiates, other *lab.Session) (held, slowest time.Duration) {
	t.Helper()
	loaded := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() {
		defer close(loaded)
		if _, err := l.Exec(lab.Gateway, "nft", "-f", file); err != nil {
			t.Error(err)
		}
	})
	meanwhile := func(longest *time.Duration, say func() error) error {
		for {
			select {
			case <-loaded:
				return nil
			default:
			}
			begun := time.Now()
			if err := say(); err != nil {
				return err
			}
			*longest = max(*longest, time.Since(begun))
		}
	}
	both.Go(func() {
		err := meanwhile(&held, func() error {
			_, err := negotiates.Passive("PASV")
			return err
		})
		if err == nil {
			err = open(l, negotiates, "EPSV")
		}
		if err != nil && !strings.Contains(d.Stderr(), silentKernel) {
			t.Errorf("a session that negotiates: %v", err) // law 1 excepts two seconds of silence
		}
	})
	both.Go(func() {
		if err := meanwhile(&slowest, func() error { return other.Expect("NOOP", 200) }); err != nil {
			t.Errorf("another session: %v", err)
		}
	})
	both.Wait()
	return held, slowest
}
