package config

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const page = "../../../docs/configuration.md"

// row is a key as the page has it.
type row struct{ deflt, values string }

// documented are the keys of the page's tables.
func documented(t *testing.T) map[string]row {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]row)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)` \\| `(.+?)` \\| (.*?) ?\\|").FindAllStringSubmatch(string(text), -1) {
		if _, twice := rows[m[1]]; twice {
			t.Errorf("%s is there twice", m[1])
		}
		rows[m[1]] = row{deflt: m[2], values: m[3]}
	}
	return rows
}

// with is the configuration that sets one key.
func with(key, value string) (Config, error) {
	l := loader{config: Default()}
	doc := fmt.Sprintf("%s = %s\n", key, value)
	if table, name, ok := strings.Cut(key, "rule."); ok {
		doc = fmt.Sprintf("[[%srule]]\n%s = %s\n", table, name, value)
	}
	if err := l.document("f.toml", []byte(doc)); err != nil {
		return Config{}, err
	}
	return l.config, l.validate()
}

// Must hold: every key that exists is documented, and every one documented
// exists.
func TestPageHasEveryKey(t *testing.T) {
	want := slices.DeleteFunc(keysOf(reflect.TypeFor[Config](), ""), func(key string) bool { return key == "policy.rule" })
	want = append(want, "policy.rule.clients", "policy.rule.servers")
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(documented(t)))); diff != "" {
		t.Errorf("(-exists +on the page):\n%s", diff)
	}
}

// What the page calls the default changes nothing.
func TestPageHasTheDefaults(t *testing.T) {
	base := Default()
	strict, err := base.NewPolicy()
	if err != nil {
		t.Fatal(err)
	}
	for key, r := range documented(t) {
		c, err := with(key, r.deflt)
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		c.Policy.Rules = nil // the page's default of what a rule matches is all
		if diff := cmp.Diff(base, c, cmpopts.IgnoreFields(Config{}, "Policy")); diff != "" {
			t.Errorf("%s (-default +on the page):\n%s", key, diff)
		}
		if policy, err := c.NewPolicy(); err != nil || !reflect.DeepEqual(strict, policy) {
			t.Errorf("%s: the policy is not the default one: %v", key, err)
		}
	}
}

// A range on the page is where values end.
func TestPageHasTheRanges(t *testing.T) {
	tried := 0
	for key, r := range documented(t) {
		var least, most int
		if n, _ := fmt.Sscanf(r.values, "%d to %d", &least, &most); n != 2 || strings.Contains(r.values, "ports") {
			continue
		}
		tried++
		for value, allowed := range map[int]bool{least - 1: false, least: true, most: true, most + 1: false} {
			if _, err := with(key, fmt.Sprint(value)); (err == nil) != allowed {
				t.Errorf("%s = %d: %v; the page says %s", key, value, err, r.values)
			}
		}
	}
	if tried < 10 {
		t.Errorf("%d ranges were found on the page", tried)
	}
}

// The page's example is one.
func TestPageExample(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(examples) == 0 {
		t.Error("there is none")
	}
	for _, example := range examples {
		l := loader{config: Default()}
		if err := l.document("example.toml", example[1]); err != nil {
			t.Error(err)
		}
		if err := l.validate(); err != nil {
			t.Error(err)
		}
	}
}
