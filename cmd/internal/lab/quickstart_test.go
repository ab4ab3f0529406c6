package lab_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
)

const quickStart = "../../../docs/quick-start.md"

// block is what stands between two fences of a page.
type block struct {
	section, choice string // the headings that it is under, ## and ###
	kind            string // sh, sh client or sh foreground
	text            string
}

// blocks reads a page. The ### headings of one section are alternatives.
func blocks(t *testing.T, path string) []block {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	var section, choice string
	inside := false
	for line := range strings.Lines(string(page)) {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && !inside:
			all = append(all, block{section: section, choice: choice, kind: strings.TrimSpace(fence)})
			inside = true
		case isFence:
			inside = false
		case inside:
			all[len(all)-1].text += line
		case strings.HasPrefix(line, "### "):
			choice = strings.TrimSpace(line[4:])
		case strings.HasPrefix(line, "## "):
			section, choice = strings.TrimSpace(line[3:]), ""
		}
	}
	return all
}

// Must hold: the quick start is tried as a new user would, word for word, on
// a machine with nothing prepared but Debian's packages.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	page := blocks(t, quickStart)
	tried := make([]bool, len(page))
	for _, reader := range []struct {
		name     string
		choices  []string
		iptables string // what the command iptables is on this machine
	}{
		{"nftables", []string{"nftables"}, ""},
		{"iptables-nft", []string{"iptables"}, "nft"},
		{"iptables-legacy", []string{"iptables"}, "legacy"},
	} {
		var steps []block
		for i, b := range page {
			if b.choice == "" || slices.Contains(reader.choices, b.choice) {
				steps = append(steps, b)
				tried[i] = true
			}
		}
		t.Run(reader.name, func(t *testing.T) {
			l := lab.New(t)
			l.Fresh()
			if reader.iptables != "" {
				for _, tool := range []string{"iptables", "ip6tables"} {
					if _, err := l.Exec(lab.Fresh, "update-alternatives", "--set", tool, "/usr/sbin/"+tool+"-"+reader.iptables); err != nil {
						t.Fatal(err)
					}
				}
			}
			l.StartServer("vsftpd", lab.Server)
			follow(t, l, steps)
		})
	}
	for i, b := range page {
		if !tried[i] {
			t.Errorf("nobody has tried what stands under %q, %q:\n%s", b.section, b.choice, b.text)
		}
	}
}

// follow does what a page says, and looks whether FTP passes then, and only
// then.
func follow(t *testing.T, l *lab.Lab, steps []block) {
	t.Helper()
	for _, b := range steps {
		switch b.kind {
		case "sh":
			shell(t, l, lab.Fresh, b)
		case "sh client":
			if out := shell(t, l, lab.Client, b); strings.Count(out, "hello.txt") != strings.Count(b.text, "curl") {
				t.Errorf("a listing is missing:\n%s", out)
			}
		case "sh foreground":
			if fetch(l, "2") == nil {
				t.Error("a transfer passes without the daemon")
			}
			stop := foreground(t, l, b)
			defer stop()
		default:
			t.Errorf("under %q, a block of the kind %q: it is sh, sh client or sh foreground", b.section, b.kind)
		}
	}
	for _, v := range lab.Variants() {
		if err := lab.Programs()[0].Run(l, v, lab.Download, lab.Address(lab.Server, v.Family), transferLimit); err != nil {
			t.Error(err)
		}
	}
}

// shell runs a block as one types it, in the folder of the sources.
func shell(t *testing.T, l *lab.Lab, where lab.Where, b block) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := l.Command(ctx, where, "bash", "-ec", b.text)
	cmd.Dir = "../../.."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("under %q:\n%s%v\n%s", b.section, b.text, err, out)
	}
	return string(out)
}

// foreground runs a block in a terminal of its own, until it is ready. What it
// returns is Ctrl-C.
func foreground(t *testing.T, l *lab.Lab, b block) func() {
	t.Helper()
	var out strings.Builder
	cmd := l.Command(context.WithoutCancel(t.Context()), lab.Fresh, "bash", "-ec", b.text)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, 20*time.Second, "the daemon is ready", func() bool {
		_, err := l.Exec(lab.Fresh, "ftpinhole", "status")
		return err == nil
	})
	return func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		if err := cmd.Wait(); err != nil {
			t.Errorf("after Ctrl-C: %v\n%s", err, out.String())
		}
		ruleset, err := l.Ruleset()
		if err != nil || strings.Contains(ruleset, "ftpinhole") {
			t.Errorf("left in the kernel: %v\n%s", err, ruleset)
		}
	}
}
