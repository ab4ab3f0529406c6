package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Where is one of the three namespaces of a lab.
type Where string

// The three namespaces. Fresh is the gateway as Lab.Fresh has made it.
const (
	Client  Where = "client"
	Gateway Where = "gateway"
	Server  Where = "server"
	Fresh   Where = "fresh"
)

// Servers are the kinds of server that StartServer knows and that every
// transfer is tried with.
func Servers() []string { return []string{"vsftpd", "proftpd", "pure-ftpd", "pyftpdlib", "inetutils"} }

// Address gives the address of a namespace in family 4 or 6, as the client and
// the server reach each other. The gateway's is the one on the client's side.
func Address(where Where, family int) netip.Addr {
	addresses := map[Where][2]string{
		Client:  {"10.0.1.2", "fd00:0:0:1::2"},
		Gateway: {"10.0.1.1", "fd00:0:0:1::1"},
		Server:  {"10.0.2.2", "fd00:0:0:2::2"},
	}[where]
	if family == 6 {
		return netip.MustParseAddr(addresses[1])
	}
	return netip.MustParseAddr(addresses[0])
}

// Lab is one set of namespaces. It belongs to the test that made it.
type Lab struct {
	Name string
	Dir  string // served files are in Dir/srv/ftp

	t      testing.TB
	script string
}

// New makes a lab with an unused name, which goes when the test ends. Without
// root the test is skipped; anything else that is missing makes it fail.
func New(t testing.TB) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces take root: run scripts/test as root")
	}
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	prefix := os.Getenv("FTPINHOLE_LAB_PREFIX")
	if prefix == "" {
		prefix = "ft"
	}
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	l := &Lab{
		Name:   prefix + "-" + hex.EncodeToString(random[:]),
		t:      t,
		script: filepath.Join(root, "scripts", "lab"),
	}
	t.Cleanup(func() {
		if t.Failed() {
			l.logServers()
		}
		// The context of the test is done by now.
		if out, err := exec.Command(l.script, "down", l.Name).CombinedOutput(); err != nil {
			t.Errorf("lab down: %v\n%s", err, out)
		}
	})
	l.run("up", l.Name)
	l.Dir = strings.TrimSpace(l.run("dir", l.Name))
	return l
}

// moduleRoot is the nearest folder upwards that has a go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod in this folder or above: run the tests inside of the module")
		}
		dir = parent
	}
}

// run calls scripts/lab; an error ends the test.
func (l *Lab) run(args ...string) string {
	l.t.Helper()
	out, err := exec.Command(l.script, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("lab %s: %v (is all there that scripts/packages installs?)\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Firewall loads the gateway's firewall: drop, accept-line, iptables,
// kernel-helper or open, as scripts/lab explains them.
func (l *Lab) Firewall(kind string) {
	l.t.Helper()
	l.run("firewall", l.Name, kind)
}

// Fresh makes the gateway a fresh machine: it does not route, ftpinhole was
// never on it, and what is written to its files goes with the lab.
func (l *Lab) Fresh() {
	l.t.Helper()
	l.run("fresh", l.Name)
}

// StartServer starts a server that serves Dir/srv/ftp to anonymous, who may
// write in upload/.
func (l *Lab) StartServer(kind string, where Where) {
	l.t.Helper()
	l.run("server", l.Name, kind, string(where))
}

// BigFile adds big.bin, 100 MB, to what is served.
func (l *Lab) BigFile() {
	l.t.Helper()
	l.run("big", l.Name)
}

// Served is the path of a served file as the test sees it.
func (l *Lab) Served(name string) string { return filepath.Join(l.Dir, "srv/ftp", name) }

// Command prepares a program to run in a namespace; ctx ends it.
func (l *Lab) Command(ctx context.Context, where Where, name string, args ...string) *exec.Cmd {
	all := append([]string{"exec", l.Name, string(where), name}, args...)
	cmd := exec.CommandContext(ctx, l.script, all...)
	cmd.WaitDelay = time.Second
	return cmd
}

// Exec runs a program in a namespace and returns what it printed. The error
// holds what it wrote to stderr.
func (l *Lab) Exec(where Where, name string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := l.Command(l.t.Context(), where, name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s in the %s namespace: %w: %s", name, where, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}

// Ruleset is what nft lists in the gateway, with or without -j.
func (l *Lab) Ruleset(args ...string) (string, error) {
	return l.Exec(Gateway, "nft", append(args, "list", "ruleset")...)
}

// Queued is how many packets the gateway's queues were given since they were
// bound, all queues together.
func (l *Lab) Queued() (int, error) {
	out, err := l.Exec(Gateway, "cat", "/proc/net/netfilter/nfnetlink_queue")
	if err != nil {
		return 0, err
	}
	total := 0
	for line := range strings.Lines(out) {
		// net/netfilter/nfnetlink_queue.c, seq_show: id_sequence is the eighth.
		fields := strings.Fields(line)
		if len(fields) < 8 {
			return 0, fmt.Errorf("nfnetlink_queue: unexpected line %q", line)
		}
		sequence, err := strconv.Atoi(fields[7])
		if err != nil {
			return 0, err
		}
		total += sequence
	}
	return total, nil
}

// logServers shows the last of what the servers wrote.
func (l *Lab) logServers() {
	logs, _ := filepath.Glob(filepath.Join(l.Dir, "*.log"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil || len(text) == 0 {
			continue
		}
		l.t.Logf("%s:\n%s", filepath.Base(path), tail(string(text)))
	}
}
