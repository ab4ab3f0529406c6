package probe

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// version is a kernel's: 6.1.176.
type version [3]int

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

func (v version) before(other version) bool {
	return cmp.Or(cmp.Compare(v[0], other[0]), cmp.Compare(v[1], other[1]), cmp.Compare(v[2], other[2])) < 0
}

// span is the versions from one on to another that is not in it.
type span struct{ from, before version }

// knownBug is one of the kernel's, in what the daemon uses, that was fixed.
// The spans are those of the CVE's record, from Linux 5.16 on.
type knownBug struct {
	cve, what string
	spans     []span
	expect    bool // only in what the backend expect uses
}

func knownBugs() []knownBug {
	return []knownBug{
		{cve: "CVE-2023-52923", what: "memory in use is freed when set elements expire", spans: []span{
			{version{5, 16}, version{6, 1, 56}}, {version{6, 2}, version{6, 4, 11}}}},
		{cve: "CVE-2024-27397", what: "set elements expire in the middle of a change", spans: []span{
			{version{5, 16}, version{6, 1, 97}}, {version{6, 2}, version{6, 6, 84}}, {version{6, 7}, version{6, 7, 5}}}},
		{cve: "CVE-2024-36286", what: "packets that wait in a queue whose reader dies are let go without a lock", spans: []span{
			{version{5, 16}, version{6, 1, 93}}, {version{6, 2}, version{6, 6, 33}}, {version{6, 7}, version{6, 9, 4}}}},
		{cve: "CVE-2026-43084", what: "a queued packet is used after it was freed", spans: []span{
			{version{6, 12, 75}, version{6, 12, 83}}, {version{6, 18, 14}, version{6, 18, 24}}, {version{6, 19, 4}, version{6, 19, 14}}}},
		{cve: "CVE-2026-43116", what: "an expectation is used after it was freed", expect: true, spans: []span{
			{version{5, 16}, version{6, 1, 176}}, {version{6, 2}, version{6, 6, 143}}, {version{6, 7}, version{6, 12, 94}}, {version{6, 13}, version{6, 18, 24}}}},
	}
}

// kernelVersion warns of bugs that the running kernel's version has; expects says
// that pinholes are expectations.
func kernelVersion(expects bool) Row {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Row{Name: "kernel", Detail: fmt.Sprintf("its version is not known: %v", err)}
	}
	word := func(b []byte) string {
		b, _, _ = bytes.Cut(b, []byte{0})
		return string(b)
	}
	signature, _ := os.ReadFile("/proc/version_signature")
	return judgeKernel(word(u.Release[:]), word(u.Version[:]), string(signature), expects)
}

// judgeKernel takes what uname -r and -v say, and Ubuntu's signature.
func judgeKernel(release, build, signature string, expects bool) Row {
	const name = "kernel"
	v, ok := upstream(release, build, signature)
	if !ok {
		return Row{Name: name, Detail: fmt.Sprintf("Linux %s, of which no upstream version is known", release)}
	}
	var bugs []string
	for _, b := range knownBugs() {
		for _, s := range b.spans {
			if (expects || !b.expect) && !v.before(s.from) && v.before(s.before) {
				bugs = append(bugs, fmt.Sprintf("%s (%s; fixed in %v)", b.cve, b.what, s.before))
			}
		}
	}
	if len(bugs) == 0 {
		return Row{Name: name, Detail: fmt.Sprintf("Linux %v has none of the bugs that are known in what is used", v)}
	}
	return Row{Name: name, Level: Warning,
		Detail: fmt.Sprintf("Linux %v has bugs in what is used: %s", v, strings.Join(bugs, ", ")),
		Mend:   "install your distribution's latest kernel, and reboot; distributions put fixes into older versions too: their lists of CVEs say whether"}
}

// upstream is the version that a kernel was built from: Debian's release says
// less, and has it in the build; Ubuntu has it in a file.
func upstream(release, build, signature string) (version, bool) {
	for _, place := range []struct{ text, pattern string }{
		{build, `Debian (\d+)\.(\d+)\.(\d+)`},
		{signature, `^Ubuntu \S+ (\d+)\.(\d+)\.(\d+)`},
		{release, `^(\d+)\.(\d+)\.(\d+)`},
	} {
		m := regexp.MustCompile(place.pattern).FindStringSubmatch(place.text)
		if m == nil {
			continue
		}
		var v version
		for i := range v {
			n, err := strconv.Atoi(m[i+1])
			if err != nil {
				return version{}, false
			}
			v[i] = n
		}
		return v, true
	}
	return version{}, false
}
