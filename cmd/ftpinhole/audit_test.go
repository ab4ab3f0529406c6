package main

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"ftpinhole/cmd/internal/trail"
	"ftpinhole/conntrack"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestAuditScripts plays testdata/audit. "trail DIR" makes an audit trail there.
func TestAuditScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/audit",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits,
			"trail": func(ts *testscript.TestScript, _ bool, args []string) {
				tr, err := trail.Open(filepath.Join(ts.MkAbs(args[0]), trail.FileName), trail.Config{Keep: 100 * 365 * 24 * time.Hour, MaxBytes: 1 << 30}, slog.New(slog.DiscardHandler))
				ts.Check(err)
				for _, r := range auditRecords() {
					tr.Write(r)
				}
				ts.Check(tr.Close())
			},
		},
	})
}

// auditRecords are a session with two pinholes, one in active mode whose user
// and path try the terminal, and a refusal of another client's.
func auditRecords() []conntrack.Record {
	at := func(ms int) time.Time { return since.Add(time.Duration(ms) * time.Millisecond) }
	session := conntrack.Record{
		FlowID: 123, Client: netip.MustParseAddrPort("10.0.1.2:40000"), Server: netip.MustParseAddrPort("192.0.2.21:21"),
	}
	start := session
	start.Time, start.Action = at(0), conntrack.Start
	session.User = "anonymous"

	open := session
	open.Time, open.Action, open.Mode, open.Command, open.Transfer, open.Path = at(1000), conntrack.Open, conntrack.Passive, "PASV", "RETR", "/pub/a.bin"
	open.Pinhole = conntrack.Pinhole{ID: "7b-1", Src: netip.MustParseAddr("10.0.1.2"), Dst: netip.MustParseAddrPort("192.0.2.21:50055"), Timeout: 30 * time.Second}
	use := open
	use.Time, use.Action, use.Pinhole.SrcPort = at(1120), conntrack.Use, 51000
	closed := use
	closed.Time, closed.Action, closed.Reason, closed.Counted, closed.BytesToServer, closed.BytesToClient, closed.Duration =
		at(2620), conntrack.Close, conntrack.Finished, true, 100, 4200, 1500*time.Millisecond

	evil := open
	evil.Time, evil.User, evil.Path, evil.Mode, evil.Command, evil.Transfer = at(3000), "\x1b[31mroot\u009b\xff", "=cmd|' /C calc'!A0\n"+strings.Repeat("x", 40), conntrack.Active, "PORT", "STOR"
	evil.Pinhole = conntrack.Pinhole{ID: "7b-2", Src: netip.MustParseAddr("192.0.2.21"), FromPort: 20, Dst: netip.MustParseAddrPort("10.0.1.2:50056"), Timeout: 30 * time.Second}
	lost := evil
	lost.Time, lost.Action, lost.Reason = at(60000), conntrack.Close, conntrack.Lost

	deny := conntrack.Record{
		Time: at(4000), Action: conntrack.Deny, Reason: "foreign_address", Count: 3, FlowID: 500, User: "@bob", Mode: conntrack.Passive, Command: "EPSV",
		Client: netip.MustParseAddrPort("[2001:db8::7]:40001"), Server: netip.MustParseAddrPort("[2001:db8::21]:21"),
		Pinhole: conntrack.Pinhole{Src: netip.MustParseAddr("2001:db8::7"), Dst: netip.MustParseAddrPort("[2001:db8::99]:22")},
	}
	end := session
	end.Time, end.Action, end.Reason, end.Counted, end.BytesToServer, end.BytesToClient, end.Duration, end.Pinholes =
		at(5000), conntrack.End, conntrack.Finish, true, 200, 300, 5*time.Second, 2
	return []conntrack.Record{start, open, use, closed, evil, lost, deny, end}
}

func TestMoment(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"90m":                         now.Add(-90 * time.Minute),
		"1h":                          now.Add(-time.Hour),
		"2d":                          now.AddDate(0, 0, -2),
		"1d12h":                       now.Add(-36 * time.Hour),
		"0s":                          now,
		"2026-11-19":                  time.Date(2026, 11, 19, 0, 0, 0, 0, time.UTC),
		"2026-11-19T10:00":            time.Date(2026, 11, 19, 10, 0, 0, 0, time.UTC),
		"2026-11-19T10:00:01":         time.Date(2026, 11, 19, 10, 0, 1, 0, time.UTC),
		"2026-11-19 10:00:01":         time.Date(2026, 11, 19, 10, 0, 1, 0, time.UTC),
		"2026-11-19T10:00:01Z":        time.Date(2026, 11, 19, 10, 0, 1, 0, time.UTC),
		"2026-11-19T10:00:01.5+01:00": time.Date(2026, 11, 19, 9, 0, 1, 5e8, time.UTC),
	} {
		var m moment
		if err := m.Set(text); err != nil || !m.before(now).Equal(want) {
			t.Errorf("%q is %v (%v), want %v", text, m.before(now), err, want)
		}
	}
	for _, text := range []string{"", "1", "-1h", "+1h", "-2d", "d", "1d1", "1d-1h", "1h2d", "yesterday", "2026-13-01", "99999d", "1d1d", "9999999h", "36500d2540400h"} {
		var m moment
		if err := m.Set(text); err == nil || !strings.Contains(err.Error(), "2026-11-20") {
			t.Errorf("%q: %v, is %v", text, err, m.before(now))
		}
	}
	if m := (moment{}); !m.before(now).IsZero() {
		t.Error("none given is some time")
	}
}

func TestPrefixes(t *testing.T) {
	var p prefixes
	for _, text := range []string{"10.1.2.3/8", "192.0.2.1, 2001:db8::1", "::ffff:192.0.2.7"} {
		if err := p.Set(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	if got, want := p.String(), "10.0.0.0/8,192.0.2.1/32,2001:db8::1/128,192.0.2.7/32"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, text := range []string{"", "bob", "10.0.0.0/33", "10.0.0.1,", "fe80::1%eth0"} {
		if err := p.Set(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// Each reason that there is can be asked for, and is explained.
func TestMeanings(t *testing.T) {
	for _, word := range reasonWords() {
		if strings.ToLower(word) != word || meanings[conntrack.Reason(word)] == "" {
			t.Errorf("%q", word)
		}
	}
	if n := len(meanings); n != 12+11+5+4 {
		t.Errorf("%d reasons", n)
	}
}

// The story of a pinhole tells its translation, and an export has it too.
func TestTranslatedRecord(t *testing.T) {
	r := conntrack.Record{Action: conntrack.Open, Pinhole: conntrack.Pinhole{
		ID: "7b-1", Src: netip.MustParseAddr("192.0.2.9"), Dst: netip.MustParseAddrPort("10.0.1.2:50001"), Timeout: time.Second,
		Outside: netip.MustParseAddrPort("198.51.100.1:50002"), SeenAs: netip.MustParseAddr("198.51.100.3"),
	}}
	var out strings.Builder
	if err := printStory(&out, &trail.Story{Open: &r}); err != nil {
		t.Fatal(err)
	}
	if want := "sent to 198.51.100.1:50002, seen as coming from 198.51.100.3"; !strings.Contains(out.String(), want) {
		t.Errorf("the story lacks %q:\n%s", want, &out)
	}
	for _, want := range []string{"closed       not yet, as far as is known", "session end  not yet, as far as is known"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the story of what goes on lacks %q:\n%s", want, &out)
		}
	}
	out.Reset()
	printCSV(&out, []conntrack.Record{r})
	if want := ",198.51.100.3,198.51.100.1,50002,,,,\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("the row does not end with %q:\n%s", want, &out)
	}
}

// What joins with the character before it takes no column of its own, and would
// move those after it.
func TestCombiningMarksMoveNoColumn(t *testing.T) {
	r := auditRecords()[1]
	r.User = "e\u0301\u0301\u0301"
	var b strings.Builder
	if err := printRecords(&b, "table", []conntrack.Record{r}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsFunc(b.String(), unicode.IsMark) {
		t.Errorf("%q", b.String())
	}
}

// Each field of a record is in an export.
func TestExportHasEveryField(t *testing.T) {
	full := auditRecords()[3]
	full.Count, full.Pinholes, full.Denied, full.Conflicts, full.Observed, full.Reconstructed, full.Encrypted = 2, 1, 1, 1, true, true, true
	full.Pinhole.FromPort, full.Pinhole.Backend = 20, "nft"
	full.Pinhole.Outside, full.Pinhole.SeenAs = netip.MustParseAddrPort("198.51.100.1:50002"), netip.MustParseAddr("198.51.100.3")
	all := csvRow(&full)
	if len(all) != len(csvHeader) {
		t.Errorf("%d columns have %d titles", len(all), len(csvHeader))
	}
	for _, part := range []func(*conntrack.Record) reflect.Value{
		func(r *conntrack.Record) reflect.Value { return reflect.ValueOf(r).Elem() },
		func(r *conntrack.Record) reflect.Value { return reflect.ValueOf(&r.Pinhole).Elem() },
	} {
		for i := range part(&full).NumField() {
			less := full
			part(&less).Field(i).SetZero()
			if slices.Equal(csvRow(&less), all) {
				t.Errorf("it does not have %s", part(&full).Type().Field(i).Name)
			}
		}
	}
}

// A pinhole's end tells who used it, where no record of the use is left.
func TestStoryWithoutUse(t *testing.T) {
	closed := auditRecords()[3]
	unused := closed
	unused.Pinhole.SrcPort, unused.Reason = 0, conntrack.Expired
	lost := unused
	lost.Reason = conntrack.Lost
	for _, test := range []struct {
		end  conntrack.Record
		want string
	}{{closed, "by 10.0.1.2:51000"}, {unused, "never"}, {lost, ""}} {
		var out strings.Builder
		if err := printStory(&out, &trail.Story{Close: &test.end}); err != nil {
			t.Fatal(err)
		}
		_, used, _ := strings.Cut(out.String(), "used ")
		used, _, _ = strings.Cut(used, "\n")
		if got := strings.TrimSpace(used); got != test.want {
			t.Errorf("%s: used %q, want %q:\n%s", test.end.Reason, got, test.want, &out)
		}
	}
}

// A user and a path of the greatest length, all of it to be escaped, make no
// line that a terminal cannot show.
func TestLongTextInTables(t *testing.T) {
	r := auditRecords()[1]
	r.User, r.Path = strings.Repeat("\x1b", 256), strings.Repeat("\u009b\xff\n\"", 256)
	var b strings.Builder
	if err := printRecords(&b, "table", []conntrack.Record{r, auditRecords()[2]}); err != nil {
		t.Fatal(err)
	}
	if err := printSummary(&b, "table", "user", []trail.Line{{Key: r.User, Pinholes: 1}}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != 3+2 {
		t.Errorf("%d lines, want 5:\n%s", n, b.String())
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(line); n > 300 {
			t.Errorf("%d characters: %s", n, line)
		}
		for _, c := range strings.TrimSuffix(line, "\n") {
			if !strconv.IsPrint(c) {
				t.Errorf("%q in %q", c, line)
			}
		}
	}
}
