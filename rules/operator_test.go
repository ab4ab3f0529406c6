package rules_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"ftpinhole/rules"
)

func TestOperatorRules(t *testing.T) {
	for _, test := range []struct {
		kind string
		mark uint32
		want string
	}{
		{rules.Nft, 0x10000000, "ct mark and 0x10000000 == 0x10000000 accept"},
		{rules.Nft, 0x8, "ct mark and 0x8 == 0x8 accept"},
		{rules.Iptables, 0x10000000, "-m connmark --mark 0x10000000/0x10000000 -j ACCEPT"},
	} {
		got, err := rules.OperatorRules(test.kind, test.mark)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for line := range strings.Lines(got) {
			found = found || !strings.HasPrefix(line, "#") && strings.HasSuffix(strings.TrimSpace(line), test.want)
		}
		if !found {
			t.Errorf("%s: no line %q outside of comments in\n%s", test.kind, test.want, got)
		}
	}
	for _, bad := range []struct {
		kind string
		mark uint32
		want string
	}{
		{"pf", 0x10000000, "ask for nft or iptables"},
		{rules.Nft, 0, "0x10000000"},
	} {
		if got, err := rules.OperatorRules(bad.kind, bad.mark); err == nil || got != "" || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%q, %#x: got %q, %v", bad.kind, bad.mark, got, err)
		}
	}
}

// shell returns a function that runs scripts in a network namespace of the
// test's own.
func shell(t *testing.T) func(script, stdin string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	ns := fmt.Sprintf("fphrules-%08x", rand.Uint32())
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		t.Skipf("no network namespace to be had: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "delete", ns).CombinedOutput(); err != nil {
			t.Errorf("namespace left behind: %v: %s", err, out)
		}
	})
	return func(script, stdin string) string {
		t.Helper()
		cmd := exec.Command("ip", "netns", "exec", ns, "sh", "-ec", script)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s\ninput:\n%s", script, err, out, stdin)
		}
		return string(out)
	}
}

// nft takes the text as a whole, and with a base chain of that name the line
// ends up in it.
func TestOperatorRulesInNft(t *testing.T) {
	run := shell(t)
	text, err := rules.OperatorRules(rules.Nft, 0x10000000)
	if err != nil {
		t.Fatal(err)
	}
	run("nft -c -f -", text)
	run("nft -f -", "table inet filter {\n chain forward {\n type filter hook forward priority filter; policy drop;\n }\n }\n")
	run("nft -f -", text)
	got := run("nft list chain inet filter forward", "")
	if !strings.Contains(got, "policy drop") || !strings.Contains(got, "0x10000000 accept") {
		t.Errorf("chain is now\n%s", got)
	}
}

// A shell takes the text as a whole, and iptables then has the rule.
func TestOperatorRulesInIptables(t *testing.T) {
	run := shell(t)
	text, err := rules.OperatorRules(rules.Iptables, 0x10000000)
	if err != nil {
		t.Fatal(err)
	}
	run("sh -e", text)
	for _, tool := range []string{"iptables", "ip6tables"} {
		run(tool+" -C FORWARD -m connmark --mark 0x10000000/0x10000000 -j ACCEPT", "")
		run(tool+"-save | "+tool+"-restore --test", "")
	}
}
