package nft_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ftpinhole/rules"
	"ftpinhole/rules/nft"
)

// namespace is a network namespace of a test's own.
type namespace string

func newNamespace(t testing.TB, role string) namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	ns := namespace(fmt.Sprintf("fphnft-%s-%08x", role, rand.Uint32()))
	if out, err := exec.Command("ip", "netns", "add", string(ns)).CombinedOutput(); err != nil {
		t.Skipf("no network namespace to be had: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "delete", string(ns)).CombinedOutput(); err != nil {
			t.Errorf("namespace left behind: %v: %s", err, out)
		}
	})
	// Without duplicate address detection IPv6 works at once.
	ns.run(t, "ip link set lo up; echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad", "")
	return ns
}

// try runs a script in the namespace.
func (ns namespace) try(script, stdin string) (string, error) {
	cmd := exec.Command("ip", "netns", "exec", string(ns), "sh", "-ec", script)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s%s", script, err, out, stderr.String())
	}
	return string(out), err
}

func (ns namespace) run(t testing.TB, script, stdin string) string {
	t.Helper()
	out, err := ns.try(script, stdin)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// do calls f on a thread in the namespace. Sockets that f opens stay in it.
func (ns namespace) do(t testing.TB, f func()) {
	t.Helper()
	if err := ns.enter(f); err != nil {
		t.Fatalf("enter namespace %s: %v", ns, err)
	}
}

func (ns namespace) enter(f func()) error {
	done := make(chan error)
	go func() {
		// The thread is never unlocked, so that it ends with the goroutine
		// and nothing else runs on it in the wrong namespace.
		runtime.LockOSThread()
		fd, err := unix.Open("/run/netns/"+string(ns), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	return <-done
}

// table dials a table in the namespace, uninstalled.
func (ns namespace) table(t testing.TB, c nft.Config) *nft.Table {
	t.Helper()
	var table *nft.Table
	var err error
	ns.do(t, func() { table, err = nft.Dial(c) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return table
}

// installed dials and installs a table.
func (ns namespace) installed(t testing.TB, c nft.Config) *nft.Table {
	t.Helper()
	table := ns.table(t, c)
	if err := table.Install(time.Now()); err != nil {
		t.Fatal(err)
	}
	return table
}

// forward is the plainest config.
func forward() nft.Config {
	return nft.Config{Ports: []uint16{21}, Hooks: []nft.Hook{nft.Forward}, QueueNum: 2100, Queues: 2}
}

func pinhole(id, src, dst string) rules.Pinhole {
	return rules.Pinhole{
		ID: id, Src: netip.MustParseAddr(src), Dst: netip.MustParseAddrPort(dst), Timeout: 30 * time.Second,
	}
}

func add(t testing.TB, table *nft.Table, p rules.Pinhole) {
	t.Helper()
	if err := table.Add(p, time.Now()); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, table *nft.Table, id string) {
	t.Helper()
	if _, err := table.Remove(id); err != nil {
		t.Fatal(err)
	}
}

// elements returns the lines of the elements that the kernel holds.
func (ns namespace) elements(t testing.TB) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(ns.run(t, "nft list table inet ftpinhole", "")) {
		if strings.Contains(line, "comment") {
			out.WriteString(line)
		}
	}
	return out.String()
}
