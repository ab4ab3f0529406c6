package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/probe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestCheckExitCode(t *testing.T) {
	row := func(l probe.Level, c probe.Cause) probe.Row { return probe.Row{Level: l, Cause: c} }
	for _, tt := range []struct {
		name string
		rows []probe.Row
		want int
	}{
		{"ok", []probe.Row{row(probe.OK, probe.Other)}, exitOK},
		{"warning", []probe.Row{row(probe.Warning, probe.Missing)}, exitOK},
		{"error", []probe.Row{row(probe.Error, probe.Other), row(probe.OK, 0)}, exitFailed},
		{"config", []probe.Row{row(probe.Error, probe.BadConfig)}, exitConfig},
		{"permission", []probe.Row{row(probe.Error, probe.Permission)}, exitNotPermitted},
		{"kernel", []probe.Row{row(probe.Error, probe.Missing)}, exitKernel},
		{"kernel after another", []probe.Row{row(probe.Error, probe.Other), row(probe.Error, probe.Missing)}, exitKernel},
		{"permission, then kernel", []probe.Row{row(probe.Error, probe.Permission), row(probe.Error, probe.Missing)}, exitNotPermitted},
	} {
		got := exitOK
		if err := verdict(tt.rows); err != nil {
			got = exitCode(err)
		}
		if got != tt.want {
			t.Errorf("%s: exit %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestCheckOutput(t *testing.T) {
	var b bytes.Buffer
	if err := printRows(&b, []probe.Row{
		{Name: "nft", Detail: "fine"},
		{Name: "accept line", Level: probe.Error, Detail: "chain \x1b[2J drops", Mend: "add\nit"},
	}); err != nil {
		t.Fatal(err)
	}
	const want = `ok       nft          fine
error    accept line  chain \u001b[2J drops
                      -> add\u000ait
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// check runs the verb and gives its exit code and its rows' levels.
func check(t *testing.T, config string) (code int, levels map[string]string, stderr string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code = execute(context.Background(), []string{"check", "--config", path, "-o", "json"}, &out, &errs)
	var rows []struct{ Name, Level, Detail, Mend string }
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	levels = make(map[string]string)
	for _, r := range rows {
		if r.Level != "ok" && (r.Detail == "" || r.Mend == "") {
			t.Errorf("a row without its mend: %+v", r)
		}
		levels[r.Name] = r.Level
	}
	return code, levels, errs.String()
}

func TestCheckBadConfig(t *testing.T) {
	code, levels, stderr := check(t, "\nportz = [21]\n")
	if code != exitConfig || levels["config"] != "error" || !strings.Contains(stderr, `f.toml:2: unknown key "portz"`) {
		t.Errorf("exit %d, %v, %s", code, levels, stderr)
	}
}

func TestCheckLive(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip(err)
	}
	// The thread is locked and dies with the goroutine, and the namespace with it.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	run := func(arg ...string) {
		t.Helper()
		if out, err := exec.Command("nft", arg...).CombinedOutput(); err != nil {
			t.Fatalf("nft %v: %v\n%s", arg, err, out)
		}
	}
	if code, levels, stderr := check(t, ""); code != exitOK || levels["config"] != "ok" || levels["accept line"] != "ok" {
		t.Errorf("exit %d, %v, %s", code, levels, stderr)
	}
	run("add table inet fw")
	run("add chain inet fw f { type filter hook forward priority 0; policy drop; }")
	if code, levels, stderr := check(t, ""); code != exitFailed || levels["accept line"] != "error" || !strings.Contains(stderr, "one error") {
		t.Errorf("exit %d, %v, %s", code, levels, stderr)
	}
	// The bit is the configuration's.
	run("add rule inet fw f ct mark and 0x08000000 == 0x08000000 accept")
	if code, _, _ := check(t, ""); code != exitFailed {
		t.Errorf("exit %d with the line of another bit", code)
	}
	if code, levels, stderr := check(t, "mark = 0x08000000\n"); code != exitOK {
		t.Errorf("exit %d, %v, %s", code, levels, stderr)
	}
	// Nothing works without the capability, and the check says why.
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&hdr, &none[0]); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := execute(context.Background(), []string{"check"}, &out, &errs)
	if code != exitNotPermitted || !strings.Contains(out.String(), "CAP_NET_ADMIN is missing") {
		t.Errorf("exit %d without capabilities: %s %s", code, out.String(), errs.String())
	}
}
