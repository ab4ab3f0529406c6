package expect

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ftpinhole/rules"
)

const (
	soon = 2 * time.Minute        // patience with what should come: only a test that fails takes so long
	drop = 300 * time.Millisecond // patience with what should be dropped
)

// inNetNS moves the test's goroutine, and what it starts with os/exec, into a
// network namespace of its own that ends with the test: the thread is locked
// and dies with the goroutine.
func inNetNS(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	command(t, "", "ip", "link", "set", "lo", "up")
}

func command(t *testing.T, stdin, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// registered is a backend with a helper in the kernel of no other test's name.
// The kernel's own FTP helper stands in where there are no user-space helpers:
// it sees no FTP here, and expectations are made through ctnetlink all the same.
func registered(t *testing.T) *Backend {
	t.Helper()
	inNetNS(t)
	b := dialed(t, Config{Helper: fmt.Sprintf("fph-%08x", rand.Uint32()), Queue: 2100, Max: 4, Timeout: 30 * time.Second})
	err := b.Register()
	if errors.Is(err, ErrUnsupported) {
		b.config.Helper, b.config.Timeout = "ftp", 300*time.Second
		return b
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The namespace and its table go later: with the thread.
		command(t, "", "nft", "flush", "ruleset")
		if err := b.Unregister(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func dialed(t *testing.T, c Config) *Backend {
	t.Helper()
	b, err := Dial(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// attach puts the helper on connections to ports 21 and 2121, and drops what
// comes in and is neither control connection, established nor related.
func (b *Backend) attach(t *testing.T, nat string) {
	t.Helper()
	command(t, fmt.Sprintf(`
table inet test {
	ct helper ours {
		type "%s" protocol tcp
	}
	chain attach {
		type filter hook output priority -150
		tcp dport { 21, 2121 } ct helper set "ours"
	}
	chain input {
		type filter hook input priority filter; policy drop
		tcp dport { 21, 22, 2121 } accept
		ct state established,related accept
	}
}
%s`, b.config.Helper, nat), "nft", "-f", "-")
}

// watch calls each for every event from now on, until the test ends.
func watch(t *testing.T, b *Backend, each func(Event)) {
	t.Helper()
	namespace, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer namespace.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		// Watch has to be called in the namespace, and this goroutine is not.
		runtime.LockOSThread()
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			ended <- err
			return
		}
		ended <- b.Watch(ctx, func() { close(ready) }, each)
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// listen accepts connections until the test ends, and keeps them open. Whom
// they came from is sent to the channel.
func listen(t *testing.T, address string) <-chan netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	from := make(chan netip.AddrPort, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			from <- conn.RemoteAddr().(*net.TCPAddr).AddrPort()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return from
}

// control opens a control connection, and gives its original direction.
func control(t *testing.T, from, to string) rules.Tuple {
	t.Helper()
	conn, err := try(from, to, soon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return rules.Tuple{Src: conn.LocalAddr().(*net.TCPAddr).AddrPort(), Dst: netip.MustParseAddrPort(to)}
}

// try connects from an address, and if that has one, its port.
func try(from, to string, limit time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: limit}
	if a, err := netip.ParseAddr(from); err == nil {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
	} else {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))
	}
	return d.Dial("tcp", to)
}

// passes tells whether a connection does that may.
func passes(t *testing.T, from, to string) bool {
	t.Helper()
	return connects(t, from, to, soon)
}

// leaks tells whether a connection passes that must not.
func leaks(t *testing.T, from, to string) bool {
	t.Helper()
	return connects(t, from, to, drop)
}

func connects(t *testing.T, from, to string, limit time.Duration) bool {
	t.Helper()
	conn, err := try(from, to, limit)
	if err == nil {
		t.Cleanup(func() { conn.Close() })
	}
	return err == nil
}

func add(t *testing.T, b *Backend, p rules.Pinhole) {
	t.Helper()
	if err := b.Add(p, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// removed removes a pinhole and checks whether its SYN came.
func removed(t *testing.T, b *Backend, id string, want bool) {
	t.Helper()
	arrived, err := b.Remove(id)
	if err != nil || arrived != want {
		t.Errorf("remove %s: arrived %v, %v, want %v", id, arrived, err, want)
	}
}

// left is how many expectations there are, and the seconds that the first has.
func left(t *testing.T, b *Backend) (n int, seconds uint32) {
	t.Helper()
	all, err := b.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) > 0 {
		seconds = all[0].Timeout
	}
	return len(all), seconds
}
