package lab_test

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// block is what stands between two fences of a page.
type block struct {
	section, choice string // the headings that it is under, ## and ###
	kind            string // what is behind the opening fence
	text            string
}

// blocks reads a page of docs/.
func blocks(t *testing.T, name string) []block {
	t.Helper()
	page, err := os.ReadFile("../../../docs/" + name)
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

// shell runs a block as one types it, in the folder of the sources. A first
// build takes a while, on a slow machine minutes.
func shell(t *testing.T, l *lab.Lab, where lab.Where, b block) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience.Limit)
	defer cancel()
	cmd := l.Command(ctx, where, "bash", "-ec", b.text)
	cmd.Dir = "../../.."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("under %q:\n%s%v\n%s", b.section, b.text, err, out)
	}
	return string(out)
}

// foreground runs a block in a terminal of its own, until the daemon is ready.
// What it returns is Ctrl-C.
func foreground(t *testing.T, l *lab.Lab, b block) func() {
	t.Helper()
	var out strings.Builder
	cmd := l.Command(context.WithoutCancel(t.Context()), lab.Fresh, "bash", "-ec", b.text)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	patience.Until(t, "the daemon is ready", func() bool {
		_, err := l.Exec(lab.Fresh, "ftpinhole", "status")
		return err == nil
	})
	return func() {
		t.Helper()
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

// chooseIptables makes iptables the variant nft or legacy on a fresh gateway.
func chooseIptables(t *testing.T, l *lab.Lab, variant string) {
	t.Helper()
	for _, tool := range []string{"iptables", "ip6tables"} {
		if _, err := l.Exec(lab.Fresh, "update-alternatives", "--set", tool, "/usr/sbin/"+tool+"-"+variant); err != nil {
			t.Fatal(err)
		}
	}
}

// everyVariantPasses downloads a file in each way that FTP has.
func everyVariantPasses(t *testing.T, l *lab.Lab, families ...int) {
	t.Helper()
	for _, family := range families {
		for _, v := range lab.Variants() {
			if v.Family != family {
				continue
			}
			if err := lab.Programs()[0].Run(l, v, lab.Download, lab.Address(lab.Server, family), transferLimit); err != nil {
				t.Error(err)
			}
		}
	}
}
