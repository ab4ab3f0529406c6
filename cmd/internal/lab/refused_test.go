package lab_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/lab"
)

// Must hold: no CAP_NET_ADMIN: exit 4 and what to do.
func TestWithoutCapability(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	wrapper := []string{"setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"}
	_, stderr, code := l.Program(lab.Gateway, wrapper, runArgs(t)...)
	if code != 4 {
		t.Errorf("exit code %d, want 4", code)
	}
	if !strings.Contains(stderr, "CAP_NET_ADMIN") {
		t.Errorf("the error does not name CAP_NET_ADMIN:\n%s", stderr)
	}
	t.Log(stderr)
}

// Must hold: queue number taken: a clear error that names it. The table is not
// touched then: the queue is bound before.
func TestQueueTaken(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	before, err := l.Ruleset()
	if err != nil {
		t.Fatal(err)
	}
	bindQueue(t, l, 2100)
	_, stderr, code := l.Program(lab.Gateway, nil, runArgs(t)...)
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if !strings.Contains(stderr, "2100") {
		t.Errorf("the error does not name queue 2100:\n%s", stderr)
	}
	if after, err := l.Ruleset(); err != nil || after != before {
		t.Errorf("the ruleset is another than before: %v\n%s", err, after)
	}
	t.Log(stderr)
}

// bindQueue takes a queue in the gateway until the test ends.
func bindQueue(t *testing.T, l *lab.Lab, number uint16) {
	t.Helper()
	var conn *netlink.Conn
	err := l.Do(lab.Gateway, func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	// linux/netfilter/nfnetlink_queue.h: NFQNL_MSG_CONFIG with NFQA_CFG_CMD,
	// NFQNL_CFG_CMD_BIND, after a struct nfgenmsg that names the queue.
	const msgConfig, cfgCmd, cmdBind = 2, 1, 1
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_QUEUE<<8 | msgConfig),
			Flags: netlink.Request | netlink.Acknowledge,
		},
		Data: []byte{unix.AF_UNSPEC, 0, byte(number >> 8), byte(number), 8, 0, cfgCmd, 0, cmdBind, 0, 0, 0},
	})
	if err != nil {
		t.Fatalf("bind queue %d: %v", number, err)
	}
}

// Must hold: config with an unknown key: exit 3, line and key.
func TestUnknownConfigKey(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	config := filepath.Join(t.TempDir(), "ftpinhole.toml")
	text := "# a comment\nqueue_num = 2100\nprots = [21]\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := l.Program(lab.Gateway, nil, runArgs(t, "--config", config)...)
	if code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	for _, want := range []string{"prots", "3", config} {
		if !strings.Contains(stderr, want) {
			t.Errorf("the error does not name %q:\n%s", want, stderr)
		}
	}
	t.Log(stderr)
}
