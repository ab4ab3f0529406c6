package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ftpinhole/cmd/internal/control"
	"ftpinhole/cmd/internal/patience"
	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestLiveScripts plays testdata/live: the verbs that follow and change a
// daemon. "live SOCKET" answers there as a daemon with pinholes to close,
// "publish" waits for a watcher and lets things happen, "halt" stops the daemon.
func TestLiveScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/live",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits,
			"live": func(ts *testscript.TestScript, _ bool, args []string) {
				d, err := startLive(ts.MkAbs(args[0]))
				ts.Check(err)
				ts.Defer(d.stop)
				living.Store(ts.Getenv("WORK"), d)
			},
			"publish": func(ts *testscript.TestScript, _ bool, _ []string) {
				d := living.of(ts)
				for end := patience.Deadline(); d.feed.Watchers() == 0; time.Sleep(5 * time.Millisecond) {
					if time.Now().After(end) {
						ts.Fatalf("nobody watches")
					}
				}
				for _, r := range happenings() {
					d.feed.Publish(r)
				}
			},
			"halt": func(ts *testscript.TestScript, _ bool, _ []string) { living.of(ts).stop() },
			"seen": seen,
		},
	})
}

// daemons are those of the scripts, by work directory.
type daemons struct{ sync.Map }

func (d *daemons) of(ts *testscript.TestScript) *live {
	v, ok := d.Load(ts.Getenv("WORK"))
	if !ok {
		ts.Fatalf("there is no daemon: live SOCKET")
	}
	return v.(*live)
}

var living daemons

// seen waits until a file has so many lines.
func seen(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	for end := patience.Deadline(); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && bytes.Count(text, []byte("\n")) >= want {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s has not got %d lines: %q, %v", args[0], want, text, err)
		}
	}
}

// live is a daemon with pinholes that can be closed, and a feed.
type live struct {
	source
	feed control.Feed
	stop func()

	mu     sync.Mutex
	open   map[string]control.PinholeInfo
	reload error
}

// startLive serves a daemon with three pinholes that wait and one that is used.
func startLive(socket string) (*live, error) {
	d := &live{source: source{ready: true}, open: map[string]control.PinholeInfo{
		"7b-1": {ID: "7b-1", FlowID: 123, Client: "10.0.1.2:60833", Server: "10.0.2.2:21", User: "anonymous", Mode: "passive", Command: "PASV",
			Src: "10.0.1.2", Dst: "10.0.2.2", DstPort: 60391, State: "open", Opened: since, ExpiresIn: 29.96},
		"7c-1": {ID: "7c-1", FlowID: 124, Client: "[fd00:0:0:1::2]:38293", Server: "[fd00:0:0:2::2]:21", User: "\x1b[31m\u009b x\xff", Mode: "active", Command: "EPRT",
			Src: "fd00:0:0:2::2", FromPort: 20, Dst: "fd00:0:0:1::2", DstPort: 53579, State: "open", Opened: since, ExpiresIn: 9},
		"7d-1": {ID: "7d-1", FlowID: 125, Client: "10.0.1.3:40001", Server: "10.0.2.2:21", User: "bob", Mode: "passive", Command: "EPSV",
			Src: "10.0.1.3", Dst: "10.0.2.2", DstPort: 50001, State: "open", Opened: since, ExpiresIn: 3.4},
		"7d-2": {ID: "7d-2", FlowID: 125, Client: "10.0.1.3:40001", Server: "10.0.2.2:21", User: "bob", Mode: "passive", Command: "EPSV",
			Src: "10.0.1.3", SrcPort: 51000, Dst: "10.0.2.2", DstPort: 50000, State: "established", Opened: since},
	}}
	s, err := control.Listen(socket, d, slog.New(slog.DiscardHandler), control.WithOperator(d), control.WithFeed(&d.feed))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Serve(ctx) }()
	d.stop = func() { cancel(); <-ended }
	return d, nil
}

func (d *live) Pinholes() ([]control.PinholeInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []control.PinholeInfo
	for _, id := range slices.Sorted(maps.Keys(d.open)) {
		list = append(list, d.open[id])
	}
	return list, nil
}

func (d *live) Sessions() ([]control.SessionInfo, error) {
	all, err := d.source.Sessions()
	return all[:3], err
}

func (d *live) Status() control.Status {
	st := d.source.Status()
	st.RefusedByReason = map[string]uint64{"foreign_address": 3, "not_logged_in": 2}
	d.mu.Lock()
	defer d.mu.Unlock()
	st.Pinholes.Open = len(d.open)
	return st
}

func (d *live) ClosePinhole(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.open[id]; !ok {
		return fmt.Errorf("%w as %q; see: ftpinhole list", control.ErrNoPinhole, id)
	}
	delete(d.open, id)
	return nil
}

func (d *live) FlushPinholes(context.Context) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := len(d.open)
	maps.DeleteFunc(d.open, func(_ string, p control.PinholeInfo) bool { return p.SrcPort == 0 })
	return before - len(d.open), nil
}

// Reload refuses what is in reload, once.
func (d *live) Reload(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.reload
	d.reload = fmt.Errorf("%w; the old one stays in effect:\nf.toml:2: unknown key \"\x1b[2J\"", control.ErrBadConfig)
	return err
}

// happenings are a session with a pinhole that was used, one that was not, and
// a refusal.
func happenings() []conntrack.Record {
	r := conntrack.Record{
		FlowID: 123, Client: netip.MustParseAddrPort("10.0.1.2:37068"), Server: netip.MustParseAddrPort("10.0.2.2:21"), User: "\x1b[31m\nx",
	}
	at := func(after time.Duration, action conntrack.Action, reason conntrack.Reason) conntrack.Record {
		r.Time, r.Action, r.Reason = since.Add(after), action, reason
		return r
	}
	list := []conntrack.Record{at(0, conntrack.Start, "")}
	hole := conntrack.Pinhole{
		ID: "7b-1", Src: netip.MustParseAddr("10.0.1.2"), Dst: netip.MustParseAddrPort("10.0.2.2:38317"), Timeout: 300 * time.Second,
	}
	r.Mode, r.Command, r.Pinhole = conntrack.Passive, "PASV", hole
	list = append(list, at(time.Second, conntrack.Open, ""))
	r.Pinhole.SrcPort = 51000
	list = append(list, at(4200*time.Millisecond, conntrack.Use, ""), at(5*time.Second, conntrack.Close, conntrack.Finished))
	hole.ID, hole.Dst = "7b-2", netip.MustParseAddrPort("10.0.2.2:49314")
	r.Pinhole = hole
	list = append(list, at(6*time.Second, conntrack.Open, ""), at(7*time.Second, conntrack.Close, conntrack.Replaced))
	r.Pinhole = conntrack.Pinhole{Src: hole.Src, Dst: netip.MustParseAddrPort("10.9.9.9:22")}
	return append(list, at(8*time.Second, conntrack.Deny, "foreign_address"))
}

// Others than root get exit code 4: where they may not open the socket, and
// where they may but not change anything.
func TestNotPermitted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	socket := filepath.Join(t.TempDir(), "s")
	d, err := startLive(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer d.stop()
	for dir := filepath.Dir(socket); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	asNobody := func(want int, wantErr string, args ...string) {
		t.Helper()
		var stderr bytes.Buffer
		cmd := exec.Cmd{
			// Without a way through directories that are root's only.
			Path: "/proc/self/exe", Args: append([]string{"ftpinhole"}, append(args, "--socket", socket)...), Dir: "/", Stderr: &stderr,
			SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}},
		}
		_ = cmd.Run() // the code says it all
		if got := cmd.ProcessState.ExitCode(); got != want || !strings.Contains(stderr.String(), wantErr) {
			t.Errorf("%v exits %d, want %d: %s", args, got, want, stderr.String())
		}
	}
	changes := [][]string{{"close", "7b-1"}, {"flush"}, {"reload"}}
	for _, args := range append([][]string{{"list"}, {"watch"}, {"top"}}, changes...) {
		asNobody(exitNotPermitted, "use sudo, or join the socket's group", args...)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	asNobody(exitOK, "", "list", "-o", "conntrack")
	for _, args := range changes {
		asNobody(exitNotPermitted, "only root and the daemon's user may do that; use sudo", args...)
	}
	if all, err := d.Pinholes(); len(all) != 4 || err != nil {
		t.Errorf("%d pinholes are left of 4: %v", len(all), err)
	}
}

func TestExpectEventsForgetNothingForEver(t *testing.T) {
	e := newExpectEvents()
	r := conntrack.Record{Action: conntrack.Open, Pinhole: conntrack.Pinhole{Timeout: time.Minute}}
	for i := range 3 * maxExpected {
		r.Pinhole.ID = strconv.Itoa(i)
		e.happened(&r)
	}
	if len(e.ends) > maxExpected {
		t.Errorf("%d pinholes are remembered", len(e.ends))
	}
	r.Action, r.Reason = conntrack.Close, conntrack.Expired
	word, left, ok := e.happened(&r)
	if diff := cmp.Diff([]any{"[DESTROY]", time.Minute, true}, []any{word, left, ok}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
