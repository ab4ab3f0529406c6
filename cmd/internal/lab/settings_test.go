package lab_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
)

// configured starts a daemon with a configuration file.
func configured(t *testing.T, l *lab.Lab, text string) *lab.Daemon {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return l.StartDaemon("--config", path)
}

// Observing records what would have been opened, and opens nothing.
func TestObserveOpensNothing(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon("--observe")
	_, data := pinhole(t, l)
	if c, err := l.Dial(lab.Client, lab.Address(lab.Client, 4), data, time.Second); err == nil {
		c.Close()
		t.Error("a data connection came through")
	}
	if opened := d.WaitOpen(t, data.Port()); !strings.Contains(opened.Raw, `"observed":true`) {
		t.Errorf("the record is %s, want an open that was observed only", opened.Raw)
	}
	d.Stop()
}

// active_source_port = 20 lets servers in that connect from there as RFC 959
// 3.2 has it (vsftpd), and no others (pyftpdlib).
func TestActiveSourcePort(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]bool{"vsftpd": true, "pyftpdlib": false} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			l.Firewall("accept-line")
			l.StartServer(server, lab.Server)
			d := configured(t, l, "[policy]\nactive_source_port = 20\n")
			limit := map[bool]string{true: inSeconds(transferLimit), false: "4"}[want]
			out, err := l.Exec(lab.Client, "curl", "-sS", "--max-time", limit, "--ftp-port", "-", "--disable-eprt", "ftp://10.0.2.2/")
			if got := err == nil && strings.Contains(out, "small.bin"); got != want {
				t.Errorf("the listing came: %v, want %v (%v)", got, want, err)
			}
			d.Stop()
		})
	}
}

// A rule for some clients stands over the policy for all.
func TestRuleForOneClient(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := configured(t, l, "[[policy.rule]]\nclients = ['10.0.1.3']\nmodes = ['active']\n")
	for client, want := range map[string]bool{"10.0.1.2": true, "10.0.1.3": false} {
		from := netip.MustParseAddr(client)
		s, err := l.Login(lab.Client, from, lab.Address(lab.Server, 4))
		if err != nil {
			t.Fatal(err)
		}
		data, err := s.Passive("PASV")
		if err != nil {
			t.Fatal(err)
		}
		limit := map[bool]time.Duration{true: transferLimit, false: time.Second}[want]
		c, err := l.Dial(lab.Client, from, data, limit)
		if err == nil {
			c.Close()
		}
		if got := err == nil; got != want {
			t.Errorf("%s: a data connection came through: %v, want %v (%v)", client, got, want, err)
		}
	}
	d.Stop()
	denied := false
	for _, r := range d.AuditRecords() {
		denied = denied || r.Pinhole.Action == "deny" && r.Pinhole.Reason == "mode_not_allowed" && r.SrcIP == "10.0.1.3"
	}
	if !denied {
		t.Error("the refusal is not recorded")
	}
}

// Beside the kernel's helper on the same port the daemon does not start, unless
// it is told to or observes; and check sees it the same way.
func TestKernelHelperIsRefused(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("kernel-helper")
	_, stderr, code := l.Program(lab.Gateway, nil, runArgs(t)...)
	if code != 1 || !strings.Contains(stderr, "allow_kernel_helper") || !strings.Contains(stderr, "helper") {
		t.Errorf("exit %d, want 1; it says %q", code, stderr)
	}
	l.StartDaemon("--observe").Stop()
	configured(t, l, "allow_kernel_helper = true\n").Stop()

	if _, err := l.Exec(lab.Gateway, "nft", "insert", "rule", "inet", "firewall", "judge", "ct mark and 0x10000000 == 0x10000000 accept"); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{"": 1, "observe = true\n": 0, "allow_kernel_helper = true\n": 0} {
		path := filepath.Join(t.TempDir(), "f.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, _, code := l.Program(lab.Gateway, nil, "check", "--config", path)
		if code != want || !strings.Contains(out, "attaches the kernel's FTP helper to port 21") {
			t.Errorf("check with %q: exit %d, want %d\n%s", text, code, want, out)
		}
	}
}

// Nor does a reload add a port that the kernel's helper serves.
func TestReloadRefusesAPortOfTheKernelHelper(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("kernel-helper")
	path := filepath.Join(t.TempDir(), "f.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ports = [2121]\n")
	d := l.StartDaemon("--config", path)
	write("ports = [2121, 21]\n")
	_, stderr, code := l.Program(lab.Gateway, nil, "reload", "--socket", d.Socket)
	if code != 3 || !strings.Contains(stderr, "attaches the kernel's FTP helper to port 21") || !strings.Contains(stderr, "allow_kernel_helper") {
		t.Errorf("exit %d, want 3; it says %q", code, stderr)
	}
	if status, _, _ := l.Program(lab.Gateway, nil, "status", "--socket", d.Socket); !strings.Contains(status, "port 2121 ") {
		t.Errorf("the refused port is in effect:\n%s", status)
	}
	write("ports = [2121, 21]\nallow_kernel_helper = true\n")
	if _, stderr, code := l.Program(lab.Gateway, nil, "reload", "--socket", d.Socket); code != 0 {
		t.Errorf("exit %d; it says %q", code, stderr)
	}
	d.Stop()
}
