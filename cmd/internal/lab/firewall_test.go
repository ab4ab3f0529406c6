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

// Must hold: a session without the operator's accept line ends in a `blocked`
// record that names the mend.
func TestMissingAcceptLineIsNamed(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("drop")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon("--pinhole-timeout", "3s")
	_, data := pinhole(t, l)
	if c, err := l.Dial(lab.Client, netip.Addr{}, data, time.Second); err == nil {
		c.Close()
		t.Fatal("a data connection passed although the firewall drops it")
	}
	closed := lab.Pinholes(d.WaitClosed(t, 1), "close")
	for _, record := range closed {
		if record.Pinhole.Reason != "blocked" {
			t.Errorf("reason %q, want blocked: %s", record.Pinhole.Reason, record.Raw)
		}
		for what, text := range map[string]string{"record": record.Raw, "log": d.Stderr()} {
			if !strings.Contains(text, "ftpinhole rules nft") {
				t.Errorf("the %s does not name the mend: %s", what, text)
			}
		}
	}
}

// The operator's firewall may be iptables.
func TestIptablesFirewall(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("iptables")
	l.StartServer("vsftpd", lab.Server)
	everyVariant := func(limit time.Duration, check func(lab.Variant, error)) {
		for _, v := range lab.Variants() {
			check(v, lab.Programs()[0].Run(l, v, lab.Download, lab.Address(lab.Server, v.Family), limit))
		}
	}
	everyVariant(time.Second, func(v lab.Variant, err error) {
		if err == nil {
			t.Errorf("%v passed without the daemon", v)
		}
	})
	l.StartDaemon()
	everyVariant(transferLimit, func(_ lab.Variant, err error) {
		if err != nil {
			t.Error(err)
		}
	})
}

// The server may be on the gateway itself: hooks input and output.
func TestServerOnTheGateway(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Gateway)
	l.StartDaemon("--hooks", "forward,input,output")
	for _, v := range lab.Variants() {
		if err := lab.Programs()[0].Run(l, v, lab.Download, lab.Address(lab.Gateway, v.Family), transferLimit); err != nil {
			t.Error(err)
		}
	}
}

// The client may be on the gateway itself. Active mode then opens a port of
// the gateway, and works only with local_active.
func TestClientOnTheGateway(t *testing.T) {
	t.Parallel()
	run := func(l *lab.Lab, v lab.Variant, limit time.Duration) error {
		return lab.Programs()[0].RunIn(l, lab.Gateway, v, lab.Download, lab.Address(lab.Server, v.Family), limit)
	}
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon("--hooks", "forward,input,output")
	for _, v := range lab.Variants() {
		if v.Active {
			if run(l, v, time.Second) == nil {
				t.Errorf("%v passed without local_active", v)
			}
		} else if err := run(l, v, transferLimit); err != nil {
			t.Error(err)
		}
	}
	d.Stop()

	config := filepath.Join(t.TempDir(), "ftpinhole.toml")
	if err := os.WriteFile(config, []byte("local_active = true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.StartDaemon("--hooks", "forward,input,output", "--config", config)
	for _, v := range lab.Variants() {
		if err := run(l, v, transferLimit); err != nil {
			t.Error(err)
		}
	}
}
