package config

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ftpinhole/rules"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var keyLine = regexp.MustCompile(`(?m)^#(\[|[a-z_0-9]+ = )`)

// uncommented is the reference with every key in force. Prose has a space
// behind its #, keys have none.
func uncommented(reference string) []byte {
	return keyLine.ReplaceAll([]byte(reference), []byte("$1"))
}

func load(t *testing.T, doc []byte) (Config, places) {
	t.Helper()
	l := loader{config: Default()}
	if err := l.document("reference.toml", doc); err != nil {
		t.Fatal(err)
	}
	if err := l.validate(); err != nil {
		t.Fatal(err)
	}
	return l.config, l.places
}

// The reference as it stands changes nothing, and says the defaults.
func TestReferenceHasTheDefaults(t *testing.T) {
	reference, err := os.ReadFile("reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Load("reference.toml", true); err != nil {
		t.Error(err)
	} else if diff := cmp.Diff(Default(), got); diff != "" {
		t.Errorf("as it stands (-default +got):\n%s", diff)
	}
	got, _ := load(t, uncommented(string(reference)))
	got.Policy.Rules = nil // an example, not a default
	if diff := cmp.Diff(Default(), got, cmpopts.IgnoreFields(Config{}, "Policy")); diff != "" {
		t.Errorf("uncommented (-default +got):\n%s", diff)
	}
	base := Default()
	want, err := base.NewPolicy()
	if err != nil {
		t.Fatal(err)
	}
	policy, err := got.NewPolicy()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(want, policy) {
		t.Errorf("the policy is %+v, by default %+v", policy, want)
	}
}

// Every key that exists is in the reference.
func TestReferenceIsComplete(t *testing.T) {
	reference, err := os.ReadFile("reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, places := load(t, uncommented(string(reference)))
	got := slices.Sorted(maps.Keys(places.keys))
	var want []string
	want = append(want, keysOf(reflect.TypeFor[Config](), "")...)
	want = append(want, "policy.rule[0].clients", "policy.rule[0].modes", "policy.rule[0].servers")
	want = slices.DeleteFunc(want, func(k string) bool { return k == "policy.rule" })
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-exists +in the reference):\n%s", diff)
	}
}

// keysOf lists the keys of a struct and its tables, as go-toml sees them.
func keysOf(typ reflect.Type, table string) []string {
	var keys []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		name := f.Tag.Get("toml")
		switch {
		case name == "-":
		case f.Anonymous:
			keys = append(keys, keysOf(f.Type, table)...)
		case f.Type == reflect.TypeFor[rules.Config]() || slices.Contains([]reflect.Type{reflect.TypeFor[NAT](), reflect.TypeFor[Limits](), reflect.TypeFor[Audit]()}, f.Type):
			keys = append(keys, keysOf(f.Type, name+".")...)
		default:
			keys = append(keys, table+name)
		}
	}
	return keys
}

// The reference's own words: its path is the default one.
func TestReferenceNamesItsPath(t *testing.T) {
	reference, err := os.ReadFile("reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(reference), "\n")
	if !strings.Contains(first, DefaultPath) || filepath.Base(DefaultPath) != "ftpinhole.toml" {
		t.Errorf("first line %q does not name %s", first, DefaultPath)
	}
}
