package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ftpinhole/cmd/internal/patience"
)

// binary is where the program is: FTPINHOLE_BINARY, or built once for each
// test process, with the race detector.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("FTPINHOLE_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir := buildDir()
	build := exec.Command("go", "build", "-race", "-buildvcs=false", "-o", filepath.Join(dir, "ftpinhole"), "./cmd/ftpinhole")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build the daemon: %w\n%s", err, out), os.RemoveAll(dir))
	}
	return filepath.Join(dir, "ftpinhole"), nil
})

// buildDir is unlike any other process's, so that Main finds it again.
func buildDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("ftpinhole-lab-%d", os.Getpid()))
}

// backend is the kind of pinholes that is tested: sets, which all kernels have,
// unless the environment says otherwise.
func backend() string { return cmp.Or(os.Getenv("FTPINHOLE_LAB_BACKEND"), "nft") }

// Main runs a package's tests and removes the program that they built.
func Main(m *testing.M) int {
	defer os.RemoveAll(buildDir())
	return m.Run()
}

// Daemon is a running `ftpinhole run` in a lab's gateway.
type Daemon struct {
	Socket    string
	AuditPath string
	StateDir  string

	lab    *Lab
	path   string
	cmd    *exec.Cmd
	stderr syncBuffer
	meter  *patience.Meter
	done   chan struct{} // closed when the process has ended
}

// Program runs ftpinhole in a namespace to its end and returns its output and
// exit code. The wrapper, if any, is put before it: setpriv, say.
func (l *Lab) Program(where Where, wrapper []string, args ...string) (stdout, stderr string, code int) {
	l.t.Helper()
	path, err := binary()
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(l.t.Context(), patience.Limit)
	defer cancel()
	argv := append(append(append([]string{}, wrapper...), path), args...)
	cmd := l.Command(ctx, where, argv[0], argv[1:]...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	if ctx.Err() != nil {
		l.t.Fatalf("ftpinhole %s did not end within %v\n%s", strings.Join(args, " "), patience.Limit, tail(errOut.String()))
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// StartDaemon starts the daemon in the gateway, with its files in a folder of
// the test, and waits until `ftpinhole status` says that it is ready. It is
// killed when the test ends, if it has not been stopped.
func (l *Lab) StartDaemon(args ...string) *Daemon {
	l.t.Helper()
	dir := l.t.TempDir()
	// Apart, as in the package's layout: what a confined daemon may do differs. And
	// in memory, as /run is: a packet that is rewritten waits for what is written
	// beside the socket, and must not wait for a disk that others keep busy.
	memory, err := os.MkdirTemp("/dev/shm", "lab-") // the path of a socket is short
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { os.RemoveAll(memory) })
	d := &Daemon{
		Socket:    filepath.Join(memory, "r", "s"),
		AuditPath: filepath.Join(dir, "log", "audit.json"),
		StateDir:  filepath.Join(dir, "state"),
		lab:       l,
	}
	d.start(args...)
	return d
}

// Restart starts another daemon with the same files.
func (d *Daemon) Restart(args ...string) *Daemon {
	d.lab.t.Helper()
	next := &Daemon{Socket: d.Socket, AuditPath: d.AuditPath, StateDir: d.StateDir, lab: d.lab}
	next.start(args...)
	return next
}

func (d *Daemon) start(args ...string) {
	t := d.lab.t
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	d.path = path
	all := append([]string{"netns", "exec", d.lab.Name + "-" + string(Gateway), path, "run",
		"--socket", d.Socket, "--audit-log", d.AuditPath, "--state-dir", d.StateDir, "--backend", backend()}, args...)
	// ip becomes the daemon, so that signals reach it.
	d.cmd = exec.Command("ip", all...)
	d.cmd.Stderr = &d.stderr
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.meter = patience.NewMeter()
	d.done = make(chan struct{})
	go func() {
		_ = d.cmd.Wait() // ProcessState has it
		close(d.done)
	}()
	t.Cleanup(func() {
		d.Kill()
		text := d.stderr.String()
		for _, trouble := range []string{"DATA RACE", "panic"} {
			if strings.Contains(text, trouble) {
				t.Errorf("the daemon wrote %q", trouble)
			}
		}
		if !t.Failed() {
			return
		}
		t.Logf("daemon's stderr:\n%s", tail(text))
		if starved := d.meter.Starved(); starved != "" {
			t.Log(starved)
		}
		if n := len(d.KernelErrors()); n > 0 {
			t.Logf("the kernel failed or was silent for 2 s %d times, which law 1 excepts", n)
		}
	})
	patience.Until(t, "the daemon is ready", func() bool {
		select {
		case <-d.done:
			t.Fatalf("the daemon ended: %v\n%s", d.cmd.ProcessState, tail(d.stderr.String()))
		default:
		}
		// A machine that is slow is not kept busy by asking.
		_, err := os.Stat(d.Socket)
		return err == nil && d.Status() == 0
	})
}

// Status is the exit code of `ftpinhole status`: 0 ready, 1 not ready, 6 no daemon.
func (d *Daemon) Status() int {
	cmd := exec.Command(d.path, "status", "--socket", d.Socket)
	_ = cmd.Run() // the code says it
	return cmd.ProcessState.ExitCode()
}

// Hangup tells the daemon to reload.
func (d *Daemon) Hangup() error { return d.cmd.Process.Signal(syscall.SIGHUP) }

// Stop ends the daemon as an administrator does and wants exit code 0.
func (d *Daemon) Stop() {
	t := d.lab.t
	t.Helper()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
	case <-time.After(patience.Limit):
		t.Fatalf("the daemon did not stop within %v\n%s", patience.Limit, tail(d.stderr.String()))
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the daemon stopped with exit code %d, want 0", code)
	}
}

// PID is the daemon's process id.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Signal sends the daemon a signal.
func (d *Daemon) Signal(sig os.Signal) {
	d.lab.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.lab.t.Fatal(err)
	}
}

// Kill ends the daemon without warning.
func (d *Daemon) Kill() {
	_ = d.cmd.Process.Kill()
	<-d.done
}

// Stderr is what the daemon has logged.
func (d *Daemon) Stderr() string { return d.stderr.String() }

// tail is the last of a long text.
func tail(text string) string { return text[max(0, len(text)-4000):] }

// syncBuffer may be read while a process writes to it.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
