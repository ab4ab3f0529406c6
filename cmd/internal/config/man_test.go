package config

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Must hold: ftpinhole.toml(5) has every key that exists, and no others. What
// it calls the default is, and its example is one.
func TestManPage(t *testing.T) {
	text, err := os.ReadFile("../../../docs/man/ftpinhole.toml.5")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(string(text), `\(dq`, `"`)
	var got []string
	base := Default()
	for _, m := range regexp.MustCompile(`(?m)^\.It Ic ([a-z0-9_.]+)(?: , ([a-z0-9_.]+)| No = Li (.+))?$`).FindAllStringSubmatch(page, -1) {
		got = append(got, m[1])
		if m[2] != "" {
			got = append(got, m[2])
		}
		if m[3] == "" {
			continue
		}
		c, err := with(m[1], m[3])
		if err != nil {
			t.Errorf("%s: %v", m[1], err)
			continue
		}
		if diff := cmp.Diff(base, c, cmpopts.IgnoreFields(Config{}, "Policy")); diff != "" {
			t.Errorf("%s (-default +on the page):\n%s", m[1], diff)
		}
		want, _ := base.NewPolicy()
		if policy, err := c.NewPolicy(); err != nil || !reflect.DeepEqual(want, policy) {
			t.Errorf("%s: the policy is not the default one: %v", m[1], err)
		}
	}
	want := slices.DeleteFunc(keysOf(reflect.TypeFor[Config](), ""), func(key string) bool { return key == "policy.rule" })
	want = append(want, "policy.rule.clients", "policy.rule.servers")
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-exists +on the page):\n%s", diff)
	}
	_, example, _ := strings.Cut(page, ".Bd -literal -offset indent\n")
	example, _, found := strings.Cut(example, ".Ed\n")
	l := loader{config: Default()}
	if err := l.document("example.toml", []byte(example)); !found || err != nil || l.validate() != nil {
		t.Errorf("the example: %v %v", err, l.validate())
	}
}
