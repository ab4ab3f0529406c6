package lab_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
)

// fail = "closed": after the daemon's death control packets wait for the next
// one. With "open" they pass, see TestSessionOutlivesKilledDaemon.
func TestFailClosed(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	path := filepath.Join(t.TempDir(), "f.toml")
	if err := os.WriteFile(path, []byte("fail = 'closed'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := l.StartDaemon("--config", path)
	s, data := pinhole(t, l)
	if _, err := s.Retrieve(data, "hello.txt"); err != nil {
		t.Fatal(err)
	}
	d.Kill()
	if err := s.Send("NOOP"); err != nil {
		t.Fatal(err)
	}
	_ = s.Conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	if n, err := s.Conn.Read(make([]byte, 100)); err == nil {
		t.Fatalf("%d bytes passed without a daemon", n)
	}
	if c, err := l.Dial(lab.Client, lab.Address(lab.Client, 4), netip.AddrPortFrom(lab.Address(lab.Server, 4), 21), time.Second); err == nil {
		c.Close()
		t.Error("a new session passed without a daemon")
	}

	d = d.Restart("--config", path)
	if code, text, err := s.Reply(); code != 200 || err != nil { // TCP has sent it again
		t.Fatalf("the NOOP from before: %d %q %v", code, text, err)
	}
	if err := open(l, s, "PASV"); err != nil {
		t.Errorf("the session does not work after the restart: %v", err)
	}
	d.Stop()
	if err := s.Expect("NOOP", 200); err != nil {
		t.Errorf("after a clean stop: %v", err)
	}
}
