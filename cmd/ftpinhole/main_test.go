package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"ftpinhole/cmd/internal/control"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ftpinhole": main})
}

// TestScripts plays testdata/script: each verb's output and exit code, as a
// user sees them. Three commands are added: "exits CODE COMMAND…" wants that very
// exit code, "daemon SOCKET ready|not_ready" answers on a socket, "capture FILE
// DIALOGUE" makes a capture.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":   exits,
			"daemon":  answer,
			"capture": writeCapture,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if neg {
		ts.Fatalf("exits knows no !")
	}
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%q exits %d, want %d", args[1:], got, want)
	}
}

func answer(ts *testscript.TestScript, _ bool, args []string) {
	s, err := control.Listen(ts.MkAbs(args[0]), source{ready: args[1] == "ready"}, slog.New(slog.DiscardHandler))
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx) }()
	ts.Defer(func() {
		cancel()
		ts.Check(<-ended)
	})
}

// source is a daemon with three pinholes and 1,500 sessions, some of whose
// users try the terminal.
type source struct{ ready bool }

var since = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

func (s source) Status() control.Status {
	st := control.Status{
		Ready: s.ready, Version: "1.2.3", PID: 42, Since: since, Backend: "nft", QueueNum: 2100, Queues: 4,
		Ports: []uint16{21, 2121}, Hooks: []string{"forward", "input"}, Table: "present", Confined: "landlock", Sessions: 3, HalfOpen: 1,
		Pinholes: control.PinholeCounts{Open: 2, Opened: 9, Used: 7, Refused: 5}, Packets: 100, VerdictErrors: 1, Overruns: 2, RecordsLost: 3,
	}
	if !s.ready {
		st.RecordsWaiting, st.AuditTrouble = 12, "the audit log cannot be written: no space left on device; see to its disk"
		st.Reason, st.Table = "the table is lost; it will be made again", "absent"
	}
	return st
}

func (s source) Pinholes() ([]control.PinholeInfo, error) {
	return []control.PinholeInfo{
		{ID: "7b-1", FlowID: 123, Client: "10.0.1.2:40000", Server: "10.0.2.2:21", User: "anonymous", Mode: "passive", Command: "PASV",
			Src: "10.0.1.2", Dst: "10.0.2.2", DstPort: 50055, State: "open", Opened: since, ExpiresIn: 29.96},
		{ID: "7c-1", FlowID: 124, Client: "[2001:db8::1]:40000", Server: "[2001:db8::2]:21", User: "\x1b[31m\u009b x\xff", Mode: "active", Command: "EPRT",
			Src: "2001:db8::2", SrcPort: 20, Dst: "2001:db8::1", DstPort: 50055, State: "used", Opened: since},
		{ID: "7d-1", FlowID: 125, Src: "10.0.1.2", Dst: "10.0.2.2", DstPort: 1, State: "open"},
	}, nil
}

func (s source) Sessions() ([]control.SessionInfo, error) {
	var out []control.SessionInfo
	for i := range 1500 {
		out = append(out, control.SessionInfo{FlowID: uint64(i + 1), Client: fmt.Sprintf("10.0.1.2:%d", 40000+i), Server: "10.0.2.2:21",
			User: "me", State: "logged_in", Since: since, Pinholes: i, Denied: 1})
	}
	return out, nil
}
