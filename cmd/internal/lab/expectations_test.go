package lab_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// Must hold: after kill -9 and restart no foreign expectation was touched, and
// ours are gone, by their time or with the next daemon.
func TestExpectationsOfAKilledDaemon(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	if !expects(t, l) {
		t.Skip("this kernel has no user-space helpers (nfnetlink_cthelper); " +
			"TestSessionOutlivesKilledDaemon does it with sets, and scripts/test-kernels this on Debian's kernels")
	}
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	foreign := kernelExpects(t, l)
	arguments := []string{"--backend", "expect", "--pinhole-timeout", "20s"}
	d := l.StartDaemon(arguments...)

	s, data := pinhole(t, l)
	if seconds := expiresIn(t, l, d); seconds < 1 || seconds > 20 || seconds != math.Trunc(seconds) {
		t.Errorf("list: the pinhole has %v s left, of 20; the kernel tells whole ones", seconds)
	}
	d.Kill()
	if all := expected(t, l); !expectsPort(all, data.Port()) || !expectsPort(all, foreign) {
		t.Errorf("without a daemon, the ports %d and %d:\n%s", data.Port(), foreign, all)
	}
	patience.Until(t, "the pinhole of the killed daemon ends by its time", func() bool {
		return !expectsPort(expected(t, l), data.Port())
	})

	d = d.Restart(arguments...)
	_, data = pinhole(t, l)
	d.Kill()
	if all := expected(t, l); !expectsPort(all, data.Port()) {
		t.Fatalf("the second daemon's port %d is not expected:\n%s", data.Port(), all)
	}
	d = d.Restart(append(arguments, "--pinhole-timeout", "30s")...)
	if all := expected(t, l); expectsPort(all, data.Port()) || !expectsPort(all, foreign) {
		t.Errorf("the third daemon leaves ours (%d), or not the foreign one (%d):\n%s", data.Port(), foreign, all)
	}
	// The session of the first daemon goes on with the third, in the same way.
	data, err := s.Passive("PASV")
	if err != nil {
		t.Fatal(err)
	}
	if all := expected(t, l); !expectsPort(all, data.Port()) {
		t.Errorf("the third daemon's port %d is not expected:\n%s", data.Port(), all)
	}
	if _, err := s.Retrieve(data, "hello.txt"); err != nil {
		t.Error(err)
	}
	d.Stop()
	if all := expected(t, l); strings.Count(all, "\n") != 1 || !expectsPort(all, foreign) {
		t.Errorf("after the stop there is more, or less, than the foreign one (%d):\n%s", foreign, all)
	}
}

// expected is what conntrack lists of the gateway's expectations, a line each.
func expected(t *testing.T, l *lab.Lab) string {
	t.Helper()
	out, err := l.Exec(lab.Gateway, "conntrack", "-L", "expect")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func expectsPort(listing string, port uint16) bool {
	return strings.Contains(listing, fmt.Sprintf(" sport=0 dport=%d ", port))
}

// expiresIn is what `list` says of the one pinhole that is open.
func expiresIn(t *testing.T, l *lab.Lab, d *lab.Daemon) float64 {
	t.Helper()
	out, _, _ := l.Program(lab.Gateway, nil, "list", "pinholes", "-o", "json", "--socket", d.Socket)
	var list []struct {
		Backend   string
		ExpiresIn float64 `json:"expires_in_s"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0].Backend != "expect" {
		t.Fatalf("list: %v, want one expectation: %s", err, out)
	}
	return list[0].ExpiresIn
}

// kernelExpects has the kernel's own FTP helper expect a data connection of a
// session on a port that is none of ours, and returns the data port.
func kernelExpects(t *testing.T, l *lab.Lab) uint16 {
	t.Helper()
	const control, data = 2121, 50123
	for _, rule := range []string{`table inet foreign {
		ct helper ftp {
			type "ftp" protocol tcp
		}
		chain attach {
			type filter hook prerouting priority -150
			tcp dport 2121 ct helper set "ftp"
		}
	}`, "insert rule inet firewall judge tcp dport 2121 accept"} {
		if _, err := l.Exec(lab.Gateway, "nft", rule); err != nil {
			t.Fatal(err)
		}
	}
	at := netip.AddrPortFrom(lab.Address(lab.Server, 4), control)
	listener, err := l.Listen(lab.Server, at)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := l.Dial(lab.Client, lab.Address(lab.Client, 4), at, patience.Limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	// Its helper reads no line before it has seen the end of another.
	reader := bufio.NewReader(client)
	for _, line := range []string{"220 ready", fmt.Sprintf("227 Entering Passive Mode (10,0,2,2,%d,%d)", data>>8, data&255)} {
		if _, err := fmt.Fprintf(server, "%s\r\n", line); err != nil {
			t.Fatal(err)
		}
		if _, err := reader.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	patience.Until(t, "the kernel's helper expects a connection", func() bool {
		return expectsPort(expected(t, l), data)
	})
	return data
}
