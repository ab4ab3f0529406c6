package lab_test

import (
	"encoding/json"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// --backend expect is taken at its word: where the kernel can, by a daemon that
// says so, and elsewhere with exit code 5 and what to do. check knows before.
func TestBackendThatIsInsistedOn(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	out, _, _ := l.Program(lab.Gateway, nil, "check", "-o", "json")
	var rows []struct{ Name, Detail string }
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var can, known bool
	for _, r := range rows {
		if r.Name == "backend" {
			can, known = strings.HasPrefix(r.Detail, "expect:"), true
		}
	}
	if !known {
		t.Fatalf("check has no row for the backend: %s", out)
	}
	if can {
		d := l.StartDaemon("--backend", "expect")
		status, _, code := l.Program(lab.Gateway, nil, "status", "--socket", d.Socket)
		if code != 0 || !strings.Contains(status, "expect, table present") {
			t.Errorf("exit code %d: %s", code, status)
		}
		d.Stop()
		return
	}
	_, stderr, code := l.Program(lab.Gateway, nil, runArgs(t, "--backend", "expect")...)
	if code != 5 || !strings.Contains(stderr, "nfnetlink_cthelper") || !strings.Contains(stderr, "backend nft") {
		t.Errorf("exit code %d, want 5 and what to do:\n%s", code, stderr)
	}
	if rules, err := l.Ruleset(); err != nil || rules != "" {
		t.Errorf("left behind: %v\n%s", err, rules)
	}
}
