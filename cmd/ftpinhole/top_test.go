package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/patience"
)

// terminal is a tmux of its own, with one program in it.
type terminal struct {
	t      *testing.T
	socket string
}

// inTerminal runs a command in a new terminal until the test ends; what comes
// after it in the shell shows its exit code.
func inTerminal(t *testing.T, width, height, command string) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Fatal("tmux is missing; install the Debian package tmux (scripts/packages)")
	}
	term := &terminal{t, filepath.Join(t.TempDir(), "tmux")}
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", term.socket, "kill-server").Run() })
	term.tmux("-f", "/dev/null", "-u", "new-session", "-d", "-x", width, "-y", height, command+"; echo exit $?; exec sleep 600")
	return term
}

func (x *terminal) tmux(args ...string) string {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), patience.Limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "tmux", append([]string{"-S", x.socket}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (x *terminal) press(keys ...string) {
	x.t.Helper()
	x.tmux(append([]string{"send-keys"}, keys...)...)
}

// shows waits until the screen has all of the texts, and gives it.
func (x *terminal) shows(texts ...string) string {
	x.t.Helper()
	for end := patience.Deadline(); ; time.Sleep(50 * time.Millisecond) {
		screen := x.tmux("capture-pane", "-p")
		missing := ""
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				missing = text
			}
		}
		if missing == "" {
			return screen
		}
		if time.Now().After(end) {
			x.t.Fatalf("the screen never shows %q:\n%s", missing, screen)
		}
	}
}

// Someone sits before top: looks, sorts, filters, closes a pinhole, makes the
// window larger, sees the daemon go and come back, and quits.
func TestTopInTerminal(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	d, err := startLive(socket)
	if err != nil {
		t.Fatal(err)
	}
	x := inTerminal(t, "80", "24", "ftpinhole top --socket "+socket)
	screen := x.shows("pid 42", "sessions  3, and 1 half open", "foreign_address 3, not_logged_in 2",
		"PINHOLES by time left", ">3.4s", "30.0s", "established", `"\x1b[31m`, "q quit")
	if lines := strings.Split(strings.TrimRight(screen, "\n"), "\n"); len(lines) != 24 {
		t.Errorf("%d lines on a screen of 24:\n%s", len(lines), screen)
	}
	x.press("Tab")
	x.shows("SESSIONS by age", "logged_in")
	x.press("Tab", "s")
	x.shows("PINHOLES by age")
	x.press("r")
	x.shows("by age, reversed")
	x.press("/", "anon", "Enter")
	if screen := x.shows(`1 with "anon"`, ">30.0s"); strings.Contains(screen, "50001") {
		t.Errorf("the filter lets others through:\n%s", screen)
	}
	// It asks, and n is no.
	x.press("c")
	x.shows("close 7b-1? y/n")
	x.press("n")
	x.shows("nothing is closed")
	if all, err := d.Pinholes(); len(all) != 4 || err != nil {
		t.Fatalf("%d pinholes after n, want 4: %v", len(all), err)
	}
	x.press("c")
	x.shows("close 7b-1? y/n")
	x.press("y")
	x.shows("closed 7b-1", `0 with "anon"`, "3 open")
	x.press("Escape")
	x.shows("50001")
	x.tmux("resize-window", "-x", "140", "-y", "30")
	x.shows("fd00:0:0:2::2", "[fd00:0:0:1::2]:53579", "7d-1")
	d.stop()
	x.shows("no daemon answers on", "trying again")
	if d, err = startLive(socket); err != nil {
		t.Fatal(err)
	}
	defer func() { d.stop() }()
	x.shows("pid 42", "4 open")
	x.press("q")
	if screen := x.shows("exit 0"); strings.Contains(screen, "PINHOLES") {
		t.Errorf("the screen is not given back:\n%s", screen)
	}
}

func TestTopEndsWithCtrlC(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	d, err := startLive(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer d.stop()
	x := inTerminal(t, "60", "12", "ftpinhole top --socket "+socket)
	x.shows("pid 42", "q quit")
	x.press("C-c")
	x.shows("exit 0")
	// The terminal is as it was: what is typed shows.
	x.press("still here")
	x.shows("still here")
}
