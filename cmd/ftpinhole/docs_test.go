package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const module = "../.."

// pages are the README files and the documentation, by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"README.md", "scripts/README.md", "docs/*.md"} {
		paths, err := filepath.Glob(filepath.Join(module, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all[path] = string(text)
		}
	}
	return all
}

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	heading = regexp.MustCompile("(?m)^#+ (.*)$")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// anchors are what a page's headings are called in links.
func anchors(page string) map[string]bool {
	all := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N}\- _]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all[strings.ReplaceAll(name, " ", "-")] = true
	}
	return all
}

// Every link between our own pages and files leads somewhere.
func TestLinks(t *testing.T) {
	all := pages(t)
	n := 0
	for path, text := range all {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			n++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: %v", path, m[1], err)
			} else if anchor != "" && !anchors(all[target])[anchor] {
				t.Errorf("%s: %s: there is no such heading", path, m[1])
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d links were found", n)
	}
}

// The index has every page.
func TestIndex(t *testing.T) {
	index, err := os.ReadFile(filepath.Join(module, "docs/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for path := range pages(t) {
		if name := filepath.Base(path); filepath.Base(filepath.Dir(path)) == "docs" && name != "README.md" &&
			!strings.Contains(string(index), "]("+name+")") {
			t.Errorf("docs/README.md does not have %s", name)
		}
	}
}

// Every command that the pages name exists, and takes the flags and their values.
func TestCommandsOnPages(t *testing.T) {
	spans := regexp.MustCompile("`(?:sudo )?(ftpinhole [a-z][^`]*)`")
	lines := regexp.MustCompile(`(?m)^ *(?:sudo )?(ftpinhole [a-z][^#>|\n]*)`)
	n := 0
	for path, text := range pages(t) {
		found := spans.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1)
		found = append(found, lines.FindAllStringSubmatch(text, -1)...)
		for _, m := range found {
			n++
			root, _ := newRoot()
			words := strings.Fields(m[1])
			cmd, rest, err := root.Find(words[1:])
			if err != nil || cmd == root {
				t.Errorf("%s: %q: there is no such verb", path, m[1])
				continue
			}
			if last := rest[max(0, len(rest)-1):]; len(last) == 1 && strings.HasPrefix(last[0], "--") && cmd.Flags().Lookup(last[0][2:]) != nil {
				rest = rest[:len(rest)-1] // the flag is named, without its value
			}
			if err := cmd.ParseFlags(rest); err != nil {
				t.Errorf("%s: %q: %v", path, m[1], err)
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d commands were found", n)
	}
}
