package probe

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inNetNS moves the test's goroutine, and what it starts with os/exec, into a
// network namespace of its own that ends with the test: the thread is locked
// and dies with the goroutine.
func inNetNS(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	for _, tool := range []string{"ip", "nft", "iptables-nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	shell(t, "ip link set lo up")
}

func shell(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func nft(t *testing.T, ruleset string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(ruleset)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

func defaults() Config {
	return Config{
		Ports: []uint16{21, 2121}, Hooks: []string{"forward"},
		QueueNum: 2100, Queues: 4, Mark: 0x10000000, Table: "ftpinhole", Backend: "nft",
	}
}

// named gives the rows of one name.
func named(rows []Row, name string) []Row {
	var some []Row
	for _, r := range rows {
		if r.Name == name {
			some = append(some, r)
		}
	}
	return some
}

// worst gives the row of a name with the highest level.
func worst(t *testing.T, cfg Config, name string) Row {
	t.Helper()
	rows := named(Run(context.Background(), cfg), name)
	if len(rows) == 0 {
		t.Fatalf("no row %q", name)
	}
	row := highest(rows)
	if row.Level != OK && (row.Detail == "" || row.Mend == "") {
		t.Errorf("row without detail or mend: %+v", row)
	}
	return row
}

func highest(rows []Row) Row {
	row := rows[0]
	for _, r := range rows {
		if r.Level > row.Level {
			row = r
		}
	}
	return row
}
