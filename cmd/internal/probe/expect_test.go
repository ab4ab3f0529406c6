package probe

import (
	"os/exec"
	"strings"
	"testing"
)

// The backend follows the configuration, and what this kernel can.
func TestBackend(t *testing.T) {
	inNetNS(t)
	can := tryExpectation() == nil
	for _, tt := range []struct {
		backend     string
		level       Level
		expects     bool
		detail, why string
	}{
		{"nft", OK, false, "nft: ", "configuration"},
		{"auto", OK, can, map[bool]string{true: "expect: ", false: "nft: "}[can], map[bool]string{true: "related", false: "cannot"}[can]},
		{"expect", map[bool]Level{true: OK, false: Error}[can], can, "", map[bool]string{true: "related", false: "cannot"}[can]},
	} {
		cfg := defaults()
		cfg.Backend = tt.backend
		row, expects := expectations(cfg)
		if row.Level != tt.level || expects != tt.expects || !strings.HasPrefix(row.Detail, tt.detail) || !strings.Contains(row.Detail, tt.why) {
			t.Errorf("%s: %+v, expects %v", tt.backend, row, expects)
		}
		if row.Level == Error && (row.Cause != Missing || !strings.Contains(row.Mend, "modprobe nfnetlink_cthelper")) {
			t.Errorf("%s: %+v", tt.backend, row)
		}
	}
	out, err := exec.Command("conntrack", "-L").CombinedOutput()
	if err != nil || strings.Contains(string(out), "192.0.2.") {
		t.Errorf("what was tried is still there (%v):\n%s", err, out)
	}
}

// What is expected passes where related does, and needs no line.
func TestExpectedNeedsNoLine(t *testing.T) {
	const related = "ct state established,related accept"
	for _, tt := range []struct {
		name, ruleset string
		shell         string
		level         Level
	}{
		{name: "related", ruleset: base("inet", "forward", related), level: OK},
		{name: "established only", ruleset: base("inet", "forward", "ct state established accept"), level: Error},
		{name: "the line only", ruleset: base("inet", "forward", line), level: OK},
		{name: "firewalld", ruleset: strings.Replace(base("inet", "forward", related), "fw {", "firewalld {", 1), level: OK},
		{name: "related is dropped first", ruleset: base("inet", "forward", "ct state related drop\n"+related), level: Error},
		{name: "iptables", shell: "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", level: OK},
		{name: "iptables, established only", shell: "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT", level: Error},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNetNS(t)
			if tt.ruleset != "" {
				nft(t, tt.ruleset)
			}
			if tt.shell != "" {
				shell(t, tt.shell)
			}
			k, err := dialKernel()
			if err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			rs, err := k.ruleset()
			if err != nil {
				t.Fatal(err)
			}
			if row := highest(acceptLines(rs, defaults(), true)); row.Level != tt.level {
				t.Errorf("%+v, want %v", row, tt.level)
			}
		})
	}
}
