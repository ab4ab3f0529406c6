package top

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/control"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

// daemon is a Source that says what it is told to.
type daemon struct {
	sample sample
	err    error
	closed []string
}

func (d *daemon) Status(context.Context) (control.Status, error) { return d.sample.status, d.err }
func (d *daemon) Pinholes(context.Context, int) (control.PinholeList, error) {
	return d.sample.pinholes, d.err
}
func (d *daemon) Sessions(context.Context, int) (control.SessionList, error) {
	return d.sample.sessions, d.err
}
func (d *daemon) ClosePinhole(_ context.Context, id string) error {
	d.closed = append(d.closed, id)
	return d.err
}

// busy is a daemon with something of everything, seconds after its start.
func busy(seconds int) sample {
	s := sample{at: start.Add(time.Duration(seconds) * time.Second)}
	n := uint64(seconds)
	s.status = control.Status{
		Ready: true, Version: "1.2.3", PID: 42, Since: start, Sessions: 2, HalfOpen: 1, Packets: 100 * n, VerdictErrors: 1, Overruns: 2, RecordsWaiting: 12, RecordsLost: 3,
		Pinholes:        control.PinholeCounts{Open: 3, Opened: 2 * n, Used: n, Refused: n / 2},
		RefusedByReason: map[string]uint64{"foreign_address": n / 2, "not_logged_in": 4, "\x1b[2J": 1},
	}
	s.pinholes = control.PinholeList{Total: 4096, Pinholes: []control.PinholeInfo{
		{ID: "7d-2", Client: "10.0.1.3:40001", Server: "10.0.2.2:21", User: "bob", Command: "EPSV", Src: "10.0.1.3", SrcPort: 51000, Dst: "10.0.2.2", DstPort: 50000, State: "established"},
		{ID: "7b-1", Client: "10.0.1.2:60833", Server: "10.0.2.2:21", User: "anonymous", Command: "PASV", Src: "10.0.1.2", Dst: "10.0.2.2", DstPort: 60391, State: "open", ExpiresIn: 29.96},
		{ID: "7c-1", User: "\x1b[31m\u009b x\xff\n", Command: "EPRT", Src: "fd00:0:0:2:1234:5678:9abc:def0", Dst: "fd00:0:0:1:1234:5678:9abc:def0", DstPort: 53579, State: "open", ExpiresIn: 9},
		{ID: "7e-1", User: "田中さん", Src: "10.0.1.4", Dst: "10.0.2.2", DstPort: 50001, State: "opening"},
	}}
	s.sessions = control.SessionList{Total: 2, Sessions: []control.SessionInfo{
		{FlowID: 123, Client: "10.0.1.2:60833", Server: "10.0.2.2:21", User: "anonymous", State: "ready", Since: start, Pinholes: 7, Denied: 1},
		{FlowID: 124, Client: "[fd00:0:0:1::2]:38293", Server: "[fd00:0:0:2::2]:21", User: "\x1b]0;x\a", State: "out_of_step", Since: start.Add(-50 * time.Hour), Pinholes: 9},
	}}
	return s
}

// after is a model of 80x24 that has seen the busy daemon for five seconds and
// then these messages.
func after(d *daemon, msgs ...tea.Msg) Model {
	m := New(context.Background(), d)
	for i := range 6 {
		m = m.sampled(sampled{sample: busy(100 + i)})
	}
	for _, msg := range msgs {
		next, _ := m.Update(msg)
		m = next.(Model)
	}
	return m
}

func press(keys ...string) (msgs []tea.Msg) {
	special := map[string]rune{
		"down": tea.KeyDown, "up": tea.KeyUp, "tab": tea.KeyTab, "enter": tea.KeyEnter, "esc": tea.KeyEscape, "backspace": tea.KeyBackspace,
		"pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown, "end": tea.KeyEnd, "home": tea.KeyHome,
	}
	for _, k := range keys {
		if code, ok := special[k]; ok {
			msgs = append(msgs, tea.KeyPressMsg{Code: code})
			continue
		}
		for _, r := range k {
			msgs = append(msgs, tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
	return msgs
}

// troubled is a daemon whose disk is full.
func troubled() sample {
	s := busy(105)
	s.status.RecordsWaiting, s.status.AuditTrouble = 65536, "the audit log cannot be written: write /var/log/ftpinhole/audit.json: no space left on device; see to its disk"
	return s
}

// Golden frames: testdata has the screen of 80x24 for each case.
func TestFrames(t *testing.T) {
	for name, msgs := range map[string][]tea.Msg{
		"pinholes":  nil,
		"sessions":  press("tab", "down"),
		"sorted":    press("s", "s", "s", "s", "r", "end"),
		"filtered":  press("/", "bob", "enter"),
		"typing":    press("/", "10.0.2x", "backspace"),
		"confirm":   press("down", "c"),
		"closed":    append(press("down", "c", "y"), closed{id: "7c-1"}),
		"forbidden": append(press("c", "y"), closed{id: "7c-1", err: errors.New("not permitted: \x1b[2J\nuse sudo")}),
		"trouble":   {sampled{sample: troubled()}},
		"gone":      {sampled{err: errors.New("no daemon answers on /run/x\x1b[2J")}},
		"wide":      {tea.WindowSizeMsg{Width: 150, Height: 16}},
		"tiny":      {tea.WindowSizeMsg{Width: 30, Height: 11}},
	} {
		t.Run(name, func(t *testing.T) {
			m := after(&daemon{}, msgs...)
			var b strings.Builder
			for _, l := range m.frame() {
				b.WriteString(strings.TrimRight(l, " ") + "\n")
			}
			want, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever comes from the wire and from the keyboard: the screen has as many
// lines as the terminal, each exactly as wide, and nothing that it acts on.
func TestScreenHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := after(&daemon{})
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			var msg tea.Msg
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				msg = tea.WindowSizeMsg{Width: rapid.IntRange(0, 200).Draw(t, "width"), Height: rapid.IntRange(0, 60).Draw(t, "height")}
			case 1:
				s := busy(rapid.IntRange(0, 1000).Draw(t, "seconds"))
				s.status.Ready, s.status.Reason, s.status.Version = false, text.Draw(t, "why"), text.Draw(t, "version")
				for i := range s.pinholes.Pinholes {
					p := &s.pinholes.Pinholes[i]
					p.ID, p.User, p.Command, p.State = text.Draw(t, "id"), text.Draw(t, "user"), text.Draw(t, "command"), text.Draw(t, "state")
					p.Src, p.Dst = text.Draw(t, "src"), text.Draw(t, "dst")
				}
				s.pinholes.Pinholes = s.pinholes.Pinholes[:rapid.IntRange(0, 4).Draw(t, "pinholes")]
				s.sessions.Sessions = s.sessions.Sessions[:rapid.IntRange(0, 2).Draw(t, "sessions")]
				msg = sampled{sample: s}
			case 2:
				msg = sampled{err: errors.New(text.Draw(t, "error"))}
			case 3:
				msg = closed{text.Draw(t, "closed"), errors.New(text.Draw(t, "refusal"))}
			case 4:
				keys := []string{"down", "up", "tab", "s", "r", "/", "c", "y", "n", "enter", "esc", "backspace", "pgup", "pgdown", "end", "home", "x", "\x1b", "田"}
				msg = press(rapid.SampledFrom(keys).Draw(t, "key"))[0]
			}
			next, _ := m.Update(msg)
			m = next.(Model)
		}
		lines := m.frame()
		if len(lines) != max(m.height, 1) {
			t.Fatalf("%d lines on a screen of %d", len(lines), m.height)
		}
		for _, l := range lines {
			if w := ansi.StringWidth(l); w != m.width {
				t.Errorf("%d columns on a screen of %d: %q", w, m.width, l)
			}
			for _, r := range l {
				if !strconv.IsPrint(r) {
					t.Errorf("%q has %q", l, r)
				}
			}
		}
		m.View()
	})
}

func TestKeys(t *testing.T) {
	d := &daemon{}
	quits := func(m Model, key tea.KeyPressMsg) bool {
		_, cmd := m.Update(key)
		if cmd == nil {
			return false
		}
		_, quit := cmd().(tea.QuitMsg)
		return quit
	}
	q, ctrlC := tea.KeyPressMsg{Code: 'q', Text: "q"}, tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}
	if !quits(after(d), q) || !quits(after(d), ctrlC) || !quits(after(d, press("/")...), ctrlC) || !quits(after(d, press("c")...), ctrlC) {
		t.Error("q and Ctrl-C do not quit")
	}
	if quits(after(d, press("/")...), q) || quits(after(d, press("c")...), q) {
		t.Error("q quits where it is typed or answers")
	}
	// Only y closes, and only what was asked about.
	m := after(d, append(press("down", "c"), sampled{sample: sample{at: start}})...)
	for _, key := range []string{"n", "enter", "c", "Y"} {
		if _, cmd := m.Update(press(key)[0]); cmd != nil {
			t.Errorf("%q at the question does something", key)
		}
	}
	_, cmd := m.Update(press("y")[0])
	if cmd == nil {
		t.Fatal("y at the question does nothing")
	}
	if msg := cmd(); msg != (closed{id: "7c-1"}) || len(d.closed) != 1 || d.closed[0] != "7c-1" {
		t.Errorf("%+v; closed: %v", msg, d.closed)
	}
	if m := after(d, press("tab", "c")...); m.mode != browsing {
		t.Error("a session is to be closed")
	}
	if m := after(d, append(press("/"), press(strings.Repeat("x", 3*maxFilter))...)...); len(m.filter) > maxFilter {
		t.Errorf("a filter of %d bytes", len(m.filter))
	}
	// The selection stays with its row when others come and go.
	m = after(d, press("down", "down")...)
	id := m.list[m.index()].id
	s := busy(106)
	s.pinholes.Pinholes = append([]control.PinholeInfo{{ID: "00-1", State: "open", ExpiresIn: 0.1}}, s.pinholes.Pinholes...)
	m = m.sampled(sampled{sample: s})
	if got := m.list[m.index()].id; got != id {
		t.Errorf("%s is selected, was %s", got, id)
	}
}

func TestRates(t *testing.T) {
	opened := func(s control.Status) uint64 { return s.Pinholes.Opened }
	m := New(t.Context(), &daemon{})
	for i := range 20 {
		m = m.sampled(sampled{sample: busy(i)})
	}
	if r, known := m.history.rate(opened); !known || r != 2 || len(m.history) != window {
		t.Errorf("%v a second (known: %v) from %d samples, want 2 from %d", r, known, len(m.history), window)
	}
	again := busy(30) // a daemon that was started anew
	again.status.Since = start.Add(29 * time.Second)
	m = m.sampled(sampled{sample: again})
	if _, known := m.history.rate(opened); known {
		t.Error("a rate across two daemons")
	}
	m = m.sampled(sampled{err: errors.New("x")})
	if len(m.history) != 0 || m.list != nil {
		t.Error("what is known of a daemon outlives it")
	}
}

// The loop goes on: a sample, then a second, then a sample, whether the daemon
// answers or not.
func TestLoop(t *testing.T) {
	d := &daemon{sample: busy(1)}
	for _, d.err = range []error{nil, errors.New("no daemon")} {
		m := New(t.Context(), d)
		msg := m.Init()()
		next, cmd := m.Update(msg)
		if cmd == nil {
			t.Fatal("nothing follows a sample")
		}
		if (next.(Model).now == nil) != (d.err != nil) {
			t.Errorf("with error %v the model knows %v", d.err, next.(Model).now)
		}
		if _, cmd = next.Update(due{}); cmd == nil {
			t.Fatal("no sample follows the second")
		} else if _, ok := cmd().(sampled); !ok {
			t.Error("no sample follows the second")
		}
	}
}

func TestOnce(t *testing.T) {
	var b bytes.Buffer
	if err := Once(t.Context(), &daemon{sample: busy(100)}, &b); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "once.txt"))
	if err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(`up \w+:`).ReplaceAllString(b.String(), "up 1m40s:")
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := Once(t.Context(), &daemon{err: control.ErrNoDaemon}, &b); !errors.Is(err, control.ErrNoDaemon) {
		t.Errorf("without a daemon: %v", err)
	}
}

func BenchmarkFrame(b *testing.B) {
	s := busy(100)
	for i := range listed {
		s.pinholes.Pinholes = append(s.pinholes.Pinholes, control.PinholeInfo{ID: fmt.Sprint(i), Src: "10.0.1.2", Dst: "10.0.2.2", User: "me", ExpiresIn: float64(i)})
	}
	m := New(b.Context(), &daemon{}).sampled(sampled{sample: s})
	for b.Loop() {
		m.View()
	}
}
