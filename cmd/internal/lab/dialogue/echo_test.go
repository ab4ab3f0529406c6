package dialogue_test

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/lab/dialogue"
)

// segmentSize is the smallest that Linux takes from its peer
// (include/net/tcp.h, TCP_MIN_MSS); the timestamp option takes 12 bytes of it.
const segmentSize = 88

// Must hold: the echo attack against real GNU inetutils ftpd opens nothing
// (CVE-2000-0150). The name of a file that is not there comes back in the
// error, and small segments make one begin with it.
func TestEchoAttack(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("inetutils", lab.Server)
	d := l.StartDaemon()
	at := netip.AddrPortFrom(lab.Address(lab.Server, 4), dialogue.Port)
	// The attacker's aim is a service that is there.
	listener, err := l.Listen(lab.Server, at)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	text := fmt.Sprintf("227 Entering Passive Mode (%s,195,135)", strings.ReplaceAll(at.Addr().String(), ".", ","))

	smallSegments(t, l)
	s, err := l.Login(lab.Client, lab.Address(lab.Client, 4), at.Addr())
	if err != nil {
		t.Fatal(err)
	}
	echoed := 0
	for pad := range segmentSize + 1 {
		for _, verb := range []string{"RETR", "SIZE"} {
			code, reply, err := s.Command(verb + " " + strings.Repeat("a", pad) + text)
			if err != nil {
				t.Fatal(err)
			}
			if code/100 != 5 {
				t.Fatalf("%s: %s", verb, reply)
			}
			if strings.Contains(reply, text) {
				echoed++
			}
		}
	}
	for _, line := range []string{text, "SITE " + text, "HELP " + text, "CWD " + text} {
		code, reply, err := s.Command(line)
		if err != nil || code/100 == 2 {
			t.Fatalf("%s: %q %v", line, reply, err)
		}
		if strings.Contains(reply, text) {
			echoed++
		}
	}
	aligned := segmentsThatBegin(t, l)
	t.Logf("%d replies echoed the 227, %d segments began with it", echoed, aligned)
	if echoed == 0 || aligned == 0 {
		t.Error("this server echoes nothing: there was no attack")
	}
	conn, err := l.Dial(lab.Client, netip.Addr{}, at, refusal)
	if err == nil {
		conn.Close()
	}
	if err == nil || errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the echo opened %v", at)
	}
	if opened := lab.Pinholes(d.AuditRecords(), "open"); len(opened) != 0 {
		t.Errorf("the echo opened a pinhole: %s", opened[0].Raw)
	}

	// The session itself is as good as before.
	data, err := s.Passive("PASV")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Retrieve(data, "hello.txt"); err != nil || len(got) != 22 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if opened := lab.Pinholes(d.WaitClosed(t, 1), "open"); len(opened) != 1 || opened[0].Pinhole.DestPort != data.Port() {
		t.Errorf("want one open record, for port %d: %v", data.Port(), opened)
	}
}

// smallSegments makes the server's segments small, one of them a packet, and
// counts those that begin with "227 ".
func smallSegments(t *testing.T, l *lab.Lab) {
	t.Helper()
	if _, err := l.Exec(lab.Server, "ip", "link", "set", "uplink", "gso_max_segs", "1"); err != nil {
		t.Fatal(err)
	}
	rules := fmt.Sprintf(`table ip small {
		counter begins {
		}
		chain forward {
			type filter hook forward priority -300
			tcp flags syn tcp option maxseg size set %d
			tcp sport 21 @ih,0,32 %#x counter name begins
		}
	}`, segmentSize, "227 ")
	if _, err := l.Exec(lab.Gateway, "nft", rules); err != nil {
		t.Fatal(err)
	}
}

func segmentsThatBegin(t *testing.T, l *lab.Lab) int {
	t.Helper()
	out, err := l.Exec(lab.Gateway, "nft", "list", "counter", "ip", "small", "begins")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`packets (\d+)`).FindStringSubmatch(out)
	if match == nil {
		t.Fatalf("no packet count in %q", out)
	}
	n, err := strconv.Atoi(match[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
