package lab_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// Must hold: IPv4 and IPv6 sessions at the same time; two clients at once;
// ten transfers in one session.
func TestManyTransfersAtOnce(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon()
	want, err := os.ReadFile(l.Served("small.bin"))
	if err != nil {
		t.Fatal(err)
	}
	second := netip.MustParseAddr("10.0.1.3")
	var all sync.WaitGroup
	for _, from := range []netip.Addr{lab.Address(lab.Client, 4), second, lab.Address(lab.Client, 6)} {
		all.Go(func() {
			family, command := 4, "PASV"
			if from.Is6() {
				family, command = 6, "EPSV"
			}
			s, err := l.Login(lab.Client, from, lab.Address(lab.Server, family))
			if err != nil {
				t.Errorf("%v: %v", from, err)
				return
			}
			for range 10 {
				data, err := s.Passive(command)
				if err != nil {
					t.Errorf("%v: %v", from, err)
					return
				}
				got, err := s.RetrieveFrom(from, data, "small.bin")
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%v: %d bytes of %d: %v", from, len(got), len(want), err)
					return
				}
			}
			if err := s.Expect("QUIT", 221); err != nil {
				t.Errorf("%v: %v", from, err)
			}
		})
	}
	all.Wait()
	records := d.WaitClosed(t, 30)
	if n := len(lab.Pinholes(records, "open")); n != 30 {
		t.Errorf("%d pinholes were opened, want 30", n)
	}
	for _, record := range lab.Pinholes(records, "close") {
		if record.Pinhole.Reason != "finished" || record.Pinhole.BytesToClient < len(want) {
			t.Errorf("want finished with at least %d bytes: %s", len(want), record.Raw)
		}
	}
}

// What one client may reach, another may not. Law 4.
func TestPinholeIsForOneClient(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	l.StartDaemon()
	s, err := l.Login(lab.Client, lab.Address(lab.Client, 4), lab.Address(lab.Server, 4))
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Passive("PASV")
	if err != nil {
		t.Fatal(err)
	}
	thief, err := l.Dial(lab.Client, netip.MustParseAddr("10.0.1.3"), data, 500*time.Millisecond)
	if err == nil {
		thief.Close()
		t.Error("another client got through the pinhole")
	}
	if _, err := s.Retrieve(data, "small.bin"); err != nil {
		t.Errorf("the client itself, after that: %v", err)
	}
}

// Must hold: a 100 MB transfer moves no data packet through the queue.
func TestDataStaysInTheKernel(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	l.BigFile()
	d := l.StartDaemon()
	queued := func(name string) int {
		before, err := l.Queued()
		if err != nil {
			t.Fatal(err)
		}
		if out, err := l.Exec(lab.Client, "curl", "-sS", "--max-time", inSeconds(transferLimit), "-o", os.DevNull, "ftp://10.0.2.2/"+name); err != nil {
			t.Fatalf("%s: %v %s", name, err, out)
		}
		after, err := l.Queued()
		if err != nil {
			t.Fatal(err)
		}
		return after - before
	}
	small, big := queued("hello.txt"), queued("big.bin")
	t.Logf("control packets queued: %d for 22 bytes, %d for 100 MB", small, big)
	if small == 0 {
		t.Error("nothing went through the queue: it is not the daemon's")
	}
	// Both sessions say the same; ACKs may differ a little.
	if big > small+20 {
		t.Errorf("%d packets were queued for 100 MB and %d for 22 bytes: data went through the queue", big, small)
	}
	closed := lab.Pinholes(d.WaitClosed(t, 2), "close")
	if got := closed[len(closed)-1].Pinhole.BytesToClient; got < 100_000_000 {
		t.Errorf("the close record counts %d bytes, want at least 100 MB", got)
	}
}

// Users are told "bind failed, falling back": both modes and all four
// commands in one session.
func TestModesMixedInOneSession(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon()
	s, err := l.Login(lab.Client, lab.Address(lab.Client, 4), lab.Address(lab.Server, 4))
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"PASV", "PORT", "EPSV", "EPRT", "PORT", "PASV"} {
		var got []byte
		if command == "PASV" || command == "EPSV" {
			data, err := s.Passive(command)
			if err != nil {
				t.Fatal(err)
			}
			got, err = s.Retrieve(data, "hello.txt")
			if err != nil {
				t.Fatalf("%s: %v", command, err)
			}
		} else if got, err = s.RetrieveActive(command, "hello.txt"); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		if len(got) != 22 {
			t.Errorf("%s: %d bytes, want 22", command, len(got))
		}
	}
	if n := len(lab.Pinholes(d.WaitClosed(t, 6), "deny")); n != 0 {
		t.Errorf("%d negotiations were denied", n)
	}
}

// Each file needs a port of its own, and clients open five sessions at once:
// all five have agreed on a port before the first of them is used.
func TestFiveSessionsOfOneClient(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon()
	var sessions []*lab.Session
	var ports []netip.AddrPort
	for range 5 {
		s, err := l.Login(lab.Client, lab.Address(lab.Client, 4), lab.Address(lab.Server, 4))
		if err != nil {
			t.Fatal(err)
		}
		data, err := s.Passive("PASV")
		if err != nil {
			t.Fatal(err)
		}
		sessions, ports = append(sessions, s), append(ports, data)
	}
	// A record is in the file within a second, the pinhole before that.
	patience.Until(t, "five pinholes are recorded", func() bool {
		return len(lab.Pinholes(d.AuditRecords(), "open")) == 5
	})
	for i, s := range sessions {
		if got, err := s.Retrieve(ports[i], "small.bin"); err != nil || len(got) != 65536 {
			t.Errorf("session %d, passive: %d bytes: %v", i+1, len(got), err)
		}
	}
	for i, s := range sessions {
		if got, err := s.RetrieveActive("PORT", "small.bin"); err != nil || len(got) != 65536 {
			t.Errorf("session %d, active: %d bytes: %v", i+1, len(got), err)
		}
	}
}

// lftp fetches a folder with five sessions.
func TestFolderInFiveSessions(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon()
	if err := os.MkdirAll(l.Served("many"), 0o755); err != nil {
		t.Fatal(err)
	}
	const files = 20
	for i := range files {
		content := bytes.Repeat([]byte{byte(i)}, 10_000+i)
		if err := os.WriteFile(l.Served(fmt.Sprintf("many/%d", i)), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := t.TempDir()
	if out, err := l.Exec(lab.Client, "timeout", "30", "lftp", "-c",
		"set net:max-retries 1; open ftp://10.0.2.2; mirror --parallel=5 many "+got); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	for i := range files {
		content, err := os.ReadFile(filepath.Join(got, strconv.Itoa(i)))
		if err != nil || !bytes.Equal(content, bytes.Repeat([]byte{byte(i)}, 10_000+i)) {
			t.Errorf("file %d: %d bytes arrived, or others: %v", i, len(content), err)
		}
	}
	records := d.WaitClosed(t, files+1)
	sessions := make(map[uint64]bool)
	for _, r := range lab.Pinholes(records, "use") {
		sessions[r.FlowID] = true
	}
	if len(sessions) < 5 {
		t.Errorf("there were %d sessions, want 5", len(sessions))
	}
	if denied := lab.Pinholes(records, "deny"); len(denied) > 0 {
		t.Errorf("denied: %s", denied[0].Raw)
	}
}
