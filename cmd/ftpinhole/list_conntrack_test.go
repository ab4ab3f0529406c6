package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/patience"
)

// What conntrack v1.4.7 printed for the kernel's FTP helper.
func TestExpectationLine(t *testing.T) {
	for _, tt := range []struct {
		e    expectation
		want string
	}{
		{
			expectation{
				left: 298*time.Second + 999*time.Millisecond, src: netip.MustParseAddr("10.0.2.2"), dst: netip.MustParseAddrPort("10.0.1.3:51721"),
				client: netip.MustParseAddrPort("10.0.1.3:54767"), server: netip.MustParseAddrPort("10.0.2.2:21"),
			},
			"298 proto=6 src=10.0.2.2 dst=10.0.1.3 sport=0 dport=51721 mask-src=255.255.255.255 mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.0.1.3 master-dst=10.0.2.2 sport=54767 dport=21 class=0 helper=ftp",
		},
		{
			expectation{
				src: netip.MustParseAddr("fd00:0:0:1::2"), dst: netip.MustParseAddrPort("[fd00:0:0:2::2]:58575"),
				client: netip.MustParseAddrPort("[fd00:0:0:1::2]:38293"), server: netip.MustParseAddrPort("[fd00:0:0:2::2]:21"),
			},
			"0 proto=6 src=fd00:0:0:1::2 dst=fd00:0:0:2::2 sport=0 dport=58575 mask-src=ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff mask-dst=ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff sport=0 dport=65535 master-src=fd00:0:0:1::2 master-dst=fd00:0:0:2::2 sport=38293 dport=21 class=0 helper=ftp",
		},
	} {
		got, err := tt.e.line()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, asKernel(got)); diff != "" {
			t.Errorf("(-conntrack +ours):\n%s", diff)
		}
	}
	if line, err := (expectation{}).line(); err == nil {
		t.Errorf("an expectation without addresses: %q", line)
	}
}

// asKernel puts the kernel's helper in our place.
func asKernel(line string) string { return strings.Replace(line, "helper=ftpinhole", "helper=ftp", 1) }

// The kernel's own helper makes expectations in a namespace, and the program
// conntrack shows them: ours must look the same.
func TestExpectationLineLive(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	for _, name := range []string{"nft", "conntrack", "ip"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%v; scripts/packages installs it", err)
		}
	}
	// The thread is locked and dies with the goroutine, and the namespace with it.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	run := func(name string, arg ...string) string {
		t.Helper()
		out, err := exec.Command(name, arg...).Output()
		if err != nil {
			t.Fatalf("%s %v: %v", name, arg, err)
		}
		return string(out)
	}
	run("ip", "link", "set", "lo", "up")
	rules := exec.Command("nft", "-f", "-")
	rules.Stdin = strings.NewReader(`table inet t {
	ct helper ftp { type "ftp" protocol tcp; }
	chain c { type filter hook output priority 0; tcp dport 21 ct helper set "ftp"; }
}`)
	if out, err := rules.CombinedOutput(); err != nil {
		t.Skipf("the kernel's FTP helper cannot be had: %v: %s", err, out)
	}
	events := exec.Command("conntrack", "-E", "expect")
	shown, err := events.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = events.Process.Kill(); _ = events.Wait() }()
	patience.Until(t, "conntrack -E listens", func() bool { return subscribed(t) })

	want := negotiate(t, "127.0.0.1:21", "227 Entering Passive Mode (127,0,0,1,200,9)", 200<<8+9)
	listed := run("conntrack", "-L", "expect")
	if diff := cmp.Diff(ours(t, want, listed), listed); diff != "" {
		t.Errorf("(-ours +conntrack):\n%s", diff)
	}
	reader := bufio.NewReader(shown)
	line, err := reader.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fmt.Sprintf("%9s %s", "[NEW]", ours(t, want, line)), line); diff != "" {
		t.Errorf("(-ours +conntrack):\n%s", diff)
	}

	run("conntrack", "-F", "expect")
	if line, err = reader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fmt.Sprintf("%9s %s", "[DESTROY]", ours(t, want, line)), line); diff != "" {
		t.Errorf("(-ours +conntrack):\n%s", diff)
	}

	want = negotiate(t, "[::1]:21", "229 Entering Extended Passive Mode (|||50009|)", 50009)
	listed = run("conntrack", "-L", "expect", "-f", "ipv6")
	if diff := cmp.Diff(ours(t, want, listed), listed); diff != "" {
		t.Errorf("(-ours +conntrack):\n%s", diff)
	}
}

// subscribed says whether anybody in the thread's network namespace listens to
// netfilter's events: conntrack does not say when it does.
func subscribed(t *testing.T) bool {
	t.Helper()
	sockets, err := os.ReadFile("/proc/thread-self/net/netlink")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sockets)) {
		// net/netlink/af_netlink.c, netlink_seq_show: the protocol is the second
		// column, the groups are the fourth.
		fields := strings.Fields(line)
		if len(fields) > 3 && fields[1] == strconv.Itoa(unix.NETLINK_NETFILTER) && strings.Trim(fields[3], "0") != "" {
			return true
		}
	}
	return false
}

// negotiate speaks a session's control line and gives the pinhole for it.
func negotiate(t *testing.T, at, reply string, port uint16) expectation {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		t.Cleanup(func() { c.Close() })
		_, _ = io.WriteString(c, "220 ready\r\n") // the helper reads only what follows a whole line
		_, _ = bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, reply+"\r\n")
	}()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	replies := bufio.NewReader(c)
	for _, command := range []string{"", "PASV\r\n"} {
		if _, err := io.WriteString(c, command); err != nil {
			t.Fatal(err)
		}
		if _, err := replies.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	client, server := netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(at)
	return expectation{src: client.Addr(), dst: netip.AddrPortFrom(server.Addr(), port), client: client, server: server}
}

// ours is the expectation in our words, with the time that the kernel gave.
func ours(t *testing.T, e expectation, kernel string) string {
	t.Helper()
	left, err := strconv.Atoi(regexp.MustCompile(`\d+`).FindString(kernel))
	if err != nil {
		t.Fatalf("%v in %q", err, kernel)
	}
	e.left = time.Duration(left) * time.Second
	line, err := e.line()
	if err != nil {
		t.Fatal(err)
	}
	return asKernel(line) + "\n"
}
