package flows

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/patience"
)

// inNetNS moves the test's goroutine, and what it starts with os/exec, into a
// network namespace of its own that ends with the test: the thread is locked
// and dies with the goroutine.
func inNetNS(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	command(t, "", "ip", "link", "set", "lo", "up")
}

func command(t testing.TB, stdin, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// ruleset marks connections to ports 2121 and 2122, and lets nobody answer on
// 2122. Loopback is tracked only because a rule asks for the state.
const ruleset = `
table inet test {
	chain output {
		type filter hook output priority 0
		ct state new tcp dport { 2121, 2122 } ct mark set 0x30000000
	}
	chain input {
		type filter hook input priority 0
		tcp dport 2122 drop
	}
}
`

const testMark = 0x10000000

// serve accepts on address and sends back what comes, until the test ends.
func serve(t *testing.T, address string) {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 4096)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if _, err := conn.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience.Limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// echo sends n bytes and reads them back.
func echo(t *testing.T, conn net.Conn, n int) {
	t.Helper()
	_ = conn.SetDeadline(patience.Deadline())
	buf := make([]byte, n)
	if _, err := conn.Write(buf); err != nil {
		t.Fatal(err)
	}
	for got := 0; got < n; {
		m, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got += m
	}
}
