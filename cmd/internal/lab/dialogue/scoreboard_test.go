package dialogue_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/lab/dialogue"
)

// TestScoreboard plays the dialogues through the kernel's helper and through
// the daemon, and wants the daemon to be right in all. scripts/scoreboard has it
// write how each did to the file FTPINHOLE_SCOREBOARD, as markdown if its name
// ends with .md.
func TestScoreboard(t *testing.T) {
	list := dialogue.All()
	worlds := worldsOf(list)
	contest := func(firewall string, patience time.Duration, start func(*lab.Lab)) func() []result {
		l := lab.New(t)
		l.Firewall(firewall)
		prepare(t, l, worlds)
		start(l)
		return func() []result { return player{l, patience}.playAll(worlds, list) }
	}
	// What hangs would be sent again for minutes: a RTO of 200 ms has been
	// doubled three times after 3 s.
	byKernel := contest("kernel-helper", 3*time.Second, func(*lab.Lab) {})
	byUs := contest("accept-line", patience, func(l *lab.Lab) { l.StartDaemon("--ports", "21,2121") })

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
	fmt.Fprintf(&b, "\nkernel helper: %s\nftpinhole:     %s\n", score(kernel), score(ours))
	return b.String()
}

func markdown(list []dialogue.Dialogue, kernel, ours []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s, with `scripts/scoreboard`.\n\n", when())
	b.WriteString("| dialogues | kernel's helper | ftpinhole |\n| --- | --- | --- |\n")
	for from := 0; from < len(list); {
		to := from
		for to < len(list) && list[to].Group == list[from].Group {
			to++
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", list[from].Group, score(kernel[from:to]), score(ours[from:to]))
		from = to
	}
	fmt.Fprintf(&b, "| **all** | **%s** | **%s** |\n\n%s\n\n", score(kernel), score(ours), legend)
	b.WriteString("<details><summary>Every dialogue</summary>\n\n| dialogue | kernel's helper | ftpinhole |\n| --- | --- | --- |\n")
	for i, d := range list {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", d.Name, kernel[i].word(), ours[i].word())
	}
	b.WriteString("\n</details>\n")
	return b.String()
}
