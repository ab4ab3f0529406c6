package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func manPage(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(module, "docs/man", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// verbs are those that a user is shown.
func verbs() []*cobra.Command {
	root, _ := newRoot()
	return slices.DeleteFunc(root.Commands(), func(c *cobra.Command) bool { return c.Hidden || c.Name() == "help" })
}

// flagsOf are the flags of a verb and the verbs below it, as a man page has
// them.
func flagsOf(verb *cobra.Command) []string {
	var all []string
	verb.LocalFlags().VisitAll(func(f *pflag.Flag) {
		switch {
		case f.Name == "help": // ftpinhole(8) has it
		case f.Shorthand != "":
			all = append(all, "Fl "+f.Shorthand+" , Fl -"+f.Name)
		default:
			all = append(all, "Fl -"+f.Name)
		}
	})
	for _, below := range verb.Commands() {
		all = append(all, flagsOf(below)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Must hold: each verb has a man page, with each of its flags and no others.
func TestManPagesHaveEveryVerbAndFlag(t *testing.T) {
	t.Parallel()
	flag := regexp.MustCompile(`(?m)^\.It (Fl (?:[a-z] , Fl )?-[a-z-]+)(?: Ar [a-z]+)?$`)
	want := []string{"ftpinhole.8", "ftpinhole.toml.5"}
	for _, verb := range verbs() {
		page := "ftpinhole-" + verb.Name() + ".8"
		want = append(want, page)
		var got []string
		for _, m := range flag.FindAllStringSubmatch(manPage(t, page), -1) {
			got = append(got, m[1])
		}
		slices.Sort(got)
		if diff := cmp.Diff(flagsOf(verb), got); diff != "" {
			t.Errorf("%s (-exists +on the page):\n%s", page, diff)
		}
	}
	paths, err := filepath.Glob(filepath.Join(module, "docs/man/*"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, path := range paths {
		got = append(got, filepath.Base(path))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-verbs +pages):\n%s", diff)
	}
}

// ftpinhole(8) has each verb, with its page.
func TestManPageHasEveryVerb(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, verb := range verbs() {
		want = append(want, verb.Name()+" ftpinhole-"+verb.Name())
	}
	for _, m := range regexp.MustCompile(`\n\.It Cm (\w+)\n[^.][^\n]*\n(?:[^.][^\n]*\n)*See\n\.Xr (\S+) 8 \.`).FindAllStringSubmatch(manPage(t, "ftpinhole.8"), -1) {
		got = append(got, m[1]+" "+m[2])
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-exists +on the page):\n%s", diff)
	}
}

// Where a page says by default, that is the default; and who looks for another
// page finds one.
func TestManPagesAreTrue(t *testing.T) {
	t.Parallel()
	path := regexp.MustCompile(`(?m)^\.Pa (/\S+)\nby default\.$`)
	refers := regexp.MustCompile(`(?m)^\.Xr (ftpinhole\S*) ([0-9])`)
	badConfig := regexp.MustCompile(fmt.Sprintf(`(?s)\n\.Sh EXIT STATUS\n.*\b%d (if )?the configuration is wrong.*\n\.Sh EXAMPLES`, exitConfig))
	for _, verb := range verbs() {
		page := "ftpinhole-" + verb.Name() + ".8"
		text := manPage(t, page)
		var defaults []string
		verb.LocalFlags().VisitAll(func(f *pflag.Flag) { defaults = append(defaults, f.DefValue) })
		for _, m := range path.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(defaults, m[1]) {
				t.Errorf("%s: %s is no flag's default", page, m[1])
			}
		}
		for _, m := range refers.FindAllStringSubmatch(text, -1) {
			manPage(t, m[1]+"."+m[2])
		}
		if !strings.Contains(text, "\n.Sh EXIT STATUS\n") || !strings.Contains(text, "\n.Sh EXAMPLES\n") {
			t.Errorf("%s has no exit status or no examples", page)
		}
		if verb.Flags().Lookup("config") != nil && !badConfig.MatchString(text) {
			t.Errorf("%s does not have the exit status for a wrong configuration", page)
		}
	}
}
