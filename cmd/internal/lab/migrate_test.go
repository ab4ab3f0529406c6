package lab_test

import (
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// Moving from the kernel's helper and back, as the page has it.
func TestMigrate(t *testing.T) {
	t.Parallel()
	for _, reader := range []struct{ name, kind, iptables string }{
		{"nftables", "nftables", "nft"},
		{"iptables-nft", "iptables", "nft"},
		{"iptables-legacy", "iptables", "legacy"},
	} {
		t.Run(reader.name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			l.Fresh()
			chooseIptables(t, l, reader.iptables)
			l.StartServer("vsftpd", lab.Server)
			shell(t, l, lab.Fresh, block{text: "sysctl -w net.ipv4.ip_forward=1"})
			for _, b := range blocks(t, "quick-start.md") {
				if b.choice == "The program alone" {
					shell(t, l, lab.Fresh, b)
				}
			}
			migrate(t, l, reader.kind)
		})
	}
}

func migrate(t *testing.T, l *lab.Lab, kind string) {
	t.Helper()
	var steps []block
	var before block
	for _, b := range blocks(t, "migrate.md") {
		switch {
		case b.choice != "" && b.choice != kind:
		case strings.HasSuffix(b.kind, " before"):
			before = b
		default:
			steps = append(steps, b)
		}
	}
	load := func(b block) {
		t.Helper()
		if kind == "nftables" {
			b.text = "nft -f - <<RULES\nflush ruleset\n" + b.text + "RULES\n"
		}
		shell(t, l, lab.Fresh, b)
	}

	load(before)
	everyVariantPasses(t, l, 4)
	stop := func() {}
	for _, b := range steps {
		switch {
		case b.kind == "sh foreground":
			stop = foreground(t, l, b)
			everyVariantPasses(t, l, 4)
		case b.kind == "sh":
			shell(t, l, lab.Fresh, b)
		case strings.HasSuffix(b.kind, " after"):
			stop()
			load(b)
			if fetch(l, "2") == nil {
				t.Error("a transfer passes with neither the helper nor the daemon")
			}
		default:
			t.Errorf("under %q, a block of the kind %q", b.section, b.kind)
		}
	}
	stop()

	// And back.
	if kind == "iptables" {
		shell(t, l, lab.Fresh, block{text: "iptables -F; iptables -t raw -F"})
	}
	load(before)
	everyVariantPasses(t, l, 4)
	out, err := l.Exec(lab.Fresh, "ftpinhole", "check")
	for _, want := range []string{"attaches the kernel's FTP helper to port 21", "lets everybody connect to port 50000"} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("check does not say that a rule %s: %v\n%s", want, err, out)
		}
	}
}
