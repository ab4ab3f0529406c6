package dialogue_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/lab/dialogue"
	"ftpinhole/cmd/internal/patience"
)

// TestScoreboard plays the dialogues through the kernel's helper and through
// the daemon, and wants the daemon to be right in all, above all where the
// helper is (law 5). scripts/scoreboard has it write how each did to the file FTPINHOLE_SCOREBOARD, as markdown if its name
// ends with .md.
func TestScoreboard(t *testing.T) {
	list := dialogue.All()
	worlds := worldsOf(list)
	contest := func(firewall string, limit time.Duration, start func(*lab.Lab)) func() []result {
		l := lab.New(t)
		l.Firewall(firewall)
		prepare(t, l, worlds)
		start(l)
		return func() []result { return player{l, limit}.playAll(worlds, list) }
	}
	// What hangs would be sent again for minutes: a RTO of 200 ms has been
	// doubled three times after 3 s.
	byKernel := contest("kernel-helper", 3*time.Second, func(*lab.Lab) {})
	byUs := contest("accept-line", patience.Limit, func(l *lab.Lab) { l.StartDaemon("--ports", "21,2121") })

	var kernel, ours []result
	var both sync.WaitGroup
	both.Go(func() { kernel = byKernel() })
	both.Go(func() { ours = byUs() })
	both.Wait()
	for i, d := range list {
		if kernel[i].broken != nil {
			t.Errorf("%s, kernel's helper: %v", d.Name, kernel[i].broken)
		}
		if err := ours[i].err(); err != nil {
			t.Errorf("%s: %v", d.Name, err)
		}
	}
	for _, name := range behind(list, kernel, ours) {
		t.Errorf("%s: the kernel's helper is right, and ftpinhole is not", name)
	}

	path := os.Getenv("FTPINHOLE_SCOREBOARD")
	if path == "" {
		return
	}
	write := text
	if filepath.Ext(path) == ".md" {
		write = markdown
	}
	if err := os.WriteFile(path, []byte(write(list, kernel, ours)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Must hold: each way of not being right counts where the kernel's helper is
// right, and nothing counts where it is not.
func TestBehind(t *testing.T) {
	err := errors.New("for a test")
	right, hangs, opens, shut := result{}, result{hung: err}, result{opened: []error{err}}, result{shut: []error{err}}
	kernel := []result{right, right, right, right, hangs, opens, shut, right}
	ours := []result{right, hangs, opens, shut, right, right, hangs, {broken: err}}
	var list []dialogue.Dialogue
	for i := range kernel {
		list = append(list, dialogue.Dialogue{Name: fmt.Sprint(i)})
	}
	if diff := cmp.Diff([]string{"1", "2", "3", "7"}, behind(list, kernel, ours)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	lines := strings.Split(strings.TrimSpace(text(list, kernel, ours)), "\n")
	if last := lines[len(lines)-1]; !strings.HasSuffix(last, "; 4 not right where the kernel helper is") {
		t.Errorf("the last line is %q", last)
	}
	const all = "| **all** | **5 of 8 right, 1 hangs, 1 opens, 1 shut** | **3 of 8 right, 2 hangs, 1 opens, 1 shut, 1 unknown** | **4** |\n"
	if table := markdown(list, kernel, ours); !strings.Contains(table, all) {
		t.Errorf("the row is missing: %s", table)
	}
}

// word is a result in one word.
func (r result) word() string {
	switch {
	case r.broken != nil:
		return "unknown"
	case r.hung != nil:
		return "hangs"
	case len(r.opened) > 0:
		return "opens"
	case len(r.shut) > 0:
		return "shut"
	}
	return "right"
}

const legend = "right: delivered in full, open what was agreed on, nothing else. " +
	"hangs: bytes were never delivered. opens: a port that must be shut. shut: a port that must be open."

// behind names the dialogues in which the kernel's helper is right and the
// daemon is not: what stops working for who replaces the one with the other.
func behind(list []dialogue.Dialogue, kernel, ours []result) []string {
	var names []string
	for i, d := range list {
		if kernel[i].word() == "right" && ours[i].word() != "right" {
			names = append(names, d.Name)
		}
	}
	return names
}

// score counts the results that are right, and the others by their word.
func score(results []result) string {
	counts := make(map[string]int)
	for _, r := range results {
		counts[r.word()]++
	}
	parts := []string{fmt.Sprintf("%d of %d right", counts["right"], len(results))}
	for _, word := range []string{"hangs", "opens", "shut", "unknown"} {
		if counts[word] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[word], word))
		}
	}
	return strings.Join(parts, ", ")
}

func when() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		release = []byte("of unknown version")
	}
	return fmt.Sprintf("%s, Linux %s", time.Now().UTC().Format(time.DateOnly), strings.TrimSpace(string(release)))
}

func text(list []dialogue.Dialogue, kernel, ours []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n", when(), legend)
	for i, d := range list {
		if i == 0 || d.Group != list[i-1].Group {
			fmt.Fprintf(&b, "\n%-60s %-14s %s\n", d.Group, "kernel helper", "ftpinhole")
		}
		fmt.Fprintf(&b, "  %-58s %-14s %s\n", d.Name, kernel[i].word(), ours[i].word())
	}
	fmt.Fprintf(&b, "\nkernel helper: %s\nftpinhole:     %s; %d not right where the kernel helper is\n",
		score(kernel), score(ours), len(behind(list, kernel, ours)))
	return b.String()
}

func markdown(list []dialogue.Dialogue, kernel, ours []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s, with `scripts/scoreboard`.\n\n", when())
	b.WriteString("| dialogues | kernel's helper | ftpinhole | not right where the helper is |\n| --- | --- | --- | --- |\n")
	row := func(name, mark string, from, to int) {
		fmt.Fprintf(&b, "| %[2]s%[1]s%[2]s | %[2]s%[3]s%[2]s | %[2]s%[4]s%[2]s | %[2]s%[5]d%[2]s |\n", name, mark,
			score(kernel[from:to]), score(ours[from:to]), len(behind(list[from:to], kernel[from:to], ours[from:to])))
	}
	for from := 0; from < len(list); {
		to := from
		for to < len(list) && list[to].Group == list[from].Group {
			to++
		}
		row(list[from].Group, "", from, to)
		from = to
	}
	row("all", "**", 0, len(list))
	fmt.Fprintf(&b, "\n%s\n\n", legend)
	b.WriteString("<details><summary>Every dialogue</summary>\n\n| dialogue | kernel's helper | ftpinhole |\n| --- | --- | --- |\n")
	for i, d := range list {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", d.Name, kernel[i].word(), ours[i].word())
	}
	b.WriteString("\n</details>\n")
	return b.String()
}
