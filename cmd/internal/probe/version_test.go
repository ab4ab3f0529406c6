package probe

import (
	"strings"
	"testing"
)

func TestKernelVersion(t *testing.T) {
	for _, tt := range []struct {
		name, release, build, signature string
		expects                         bool
		bugs                            []string
		detail                          string
	}{
		{name: "none known", release: "6.18.44", detail: "Linux 6.18.44 has none"},
		{name: "stable", release: "6.1.50", bugs: []string{"CVE-2023-52923", "fixed in 6.1.56", "CVE-2024-27397", "CVE-2024-36286"}},
		{name: "just fixed", release: "6.1.97", detail: "none"},
		{name: "just not fixed", release: "6.1.96", bugs: []string{"CVE-2024-27397", "fixed in 6.1.97"}},
		{name: "a branch that was never fixed", release: "6.5.13", bugs: []string{"CVE-2024-27397", "CVE-2024-36286"}},
		{name: "came with a stable release", release: "6.12.75", bugs: []string{"CVE-2026-43084", "fixed in 6.12.83"}},
		{name: "before it came", release: "6.12.74", detail: "none"},
		{name: "after it went", release: "6.12.83", detail: "none"},
		{name: "of expectations", release: "6.12.93", expects: true, bugs: []string{"CVE-2026-43116", "fixed in 6.12.94"}},
		{name: "of expectations, which are not used", release: "6.12.93", detail: "none"},
		{name: "Debian", release: "6.1.0-18-amd64", build: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)", bugs: []string{"Linux 6.1.76", "CVE-2024-27397"}},
		{name: "Debian, up to date", release: "6.1.0-56-cloud-amd64", build: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-11-01)", detail: "Linux 6.1.176 has none"},
		{name: "Ubuntu", release: "6.8.0-45-generic", build: "#45-Ubuntu SMP", signature: "Ubuntu 6.8.0-45.45-generic 6.8.12\n", bugs: []string{"Linux 6.8.12", "CVE-2024-36286"}},
		{name: "Red Hat, which numbers its own way", release: "5.14.0-427.el9.x86_64", detail: "none"},
		{name: "of one's own", release: "mine", detail: "no upstream version"},
		{name: "a long number", release: "6.1.99999999999999999999", detail: "no upstream version"},
	} {
		row := judgeKernel(tt.release, tt.build, tt.signature, tt.expects)
		if got, want := row.Level, map[bool]Level{true: Warning, false: OK}[len(tt.bugs) > 0]; got != want || !strings.Contains(row.Detail, tt.detail) {
			t.Errorf("%s: %+v", tt.name, row)
		}
		for _, want := range tt.bugs {
			if !strings.Contains(row.Detail, want) {
				t.Errorf("%s: %q lacks %q", tt.name, row.Detail, want)
			}
		}
		if row.Level == Warning && !strings.Contains(row.Mend, "distributions") {
			t.Errorf("%s: mend %q", tt.name, row.Mend)
		}
	}
	if row := kernelVersion(true); row.Detail == "" || strings.Contains(row.Detail, "not known") {
		t.Errorf("the running kernel: %+v", row)
	}
}

// Each bug was fixed at some time, and its spans are in order.
func TestKnownBugs(t *testing.T) {
	for _, b := range knownBugs() {
		last := version{5, 16}
		for _, s := range b.spans {
			if s.from.before(last) || !s.from.before(s.before) {
				t.Errorf("%s: %v to %v", b.cve, s.from, s.before)
			}
			last = s.before
		}
	}
}
