package lab_test

import (
	"slices"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// Must hold: the quick start is tried as a new user would, word for word, on
// a machine with nothing prepared but Debian's packages. The ### headings of
// one of its sections are alternatives.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	page := blocks(t, "quick-start.md")
	tried := make([]bool, len(page))
	for _, reader := range []struct {
		name     string
		choices  []string
		iptables string // what the command iptables is on this machine
	}{
		{"nftables", []string{"The program alone", "nftables", "In the foreground"}, "nft"},
		{"iptables-nft", []string{"The program alone", "iptables", "In the foreground"}, "nft"},
		{"iptables-legacy", []string{"The program alone", "iptables", "In the foreground"}, "legacy"},
		{"package", []string{"The Debian package", "nftables", "In the foreground"}, "nft"},
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
			chooseIptables(t, l, reader.iptables)
			l.StartServer("vsftpd", lab.Server)
			follow(t, l, steps)
		})
	}
	for i, b := range page {
		if !tried[i] && b.choice != "As a service" { // scripts/package-life tries that, where there is a systemd
			t.Errorf("nobody has tried what stands under %q, %q:\n%s", b.section, b.choice, b.text)
		}
	}
}

// follow does what the quick start says, and looks whether FTP passes then, and
// only then.
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
	everyVariantPasses(t, l, 4, 6)
}
