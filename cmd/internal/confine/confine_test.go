package confine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is tested cannot be undone: this program does it once more, in a
// process of its own.
func TestMain(m *testing.M) {
	if dir := os.Getenv("CONFINE_TEST_DIR"); dir != "" {
		if err := json.NewEncoder(os.Stdout).Encode(confined(dir)); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// outcome is what became of a process that confined itself.
type outcome struct {
	How     How
	Err     string            // of Process
	Tried   map[string]string // "" or the error
	Threads []string          // the status file of each
}

func confined(dir string) outcome {
	if os.Getenv("CONFINE_TEST_NO_LANDLOCK") != "" {
		if err := forbidLandlock(); err != nil {
			return outcome{Err: err.Error()}
		}
	}
	var started sync.WaitGroup
	for range 8 { // threads that are there before
		started.Add(1)
		go func() {
			runtime.LockOSThread()
			started.Done()
			select {}
		}()
	}
	started.Wait()
	l, err := net.Listen("unix", filepath.Join(dir, "run/s"))
	if err != nil {
		return outcome{Err: err.Error()}
	}
	how, err := Process(Reach{
		Read:   []string{filepath.Join(dir, "etc"), filepath.Join(dir, "none"), "/proc"},
		Write:  []string{filepath.Join(dir, "log")},
		Remove: []string{filepath.Join(dir, "run")},
	})
	o := outcome{How: how, Err: text(err), Tried: make(map[string]string)}
	for _, try := range attempts(dir, l) {
		o.Tried[try.what] = text(try.do())
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/status")
	for _, path := range tasks {
		if b, err := os.ReadFile(path); err == nil { // a thread may have ended
			o.Threads = append(o.Threads, string(b))
		}
	}
	return o
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// attempt is something to do, and whether landlock is to let it.
type attempt struct {
	what    string
	allowed bool
	do      func() error
}

// attempts are tried in this order.
func attempts(dir string, socket net.Listener) []attempt {
	at := func(name string) string { return filepath.Join(dir, name) }
	read := func(path string) func() error {
		return func() error { _, err := os.ReadFile(path); return err }
	}
	list := func(path string) func() error {
		return func() error { _, err := os.ReadDir(path); return err }
	}
	open := func(path string, flags int) func() error {
		return func() error {
			f, err := os.OpenFile(path, flags, 0o640)
			if err == nil {
				err = f.Close()
			}
			return err
		}
	}
	listen := func(network, address string) func() error {
		return func() error {
			var plain net.ListenConfig
			plain.SetMultipathTCP(false)
			l, err := plain.Listen(context.Background(), network, address)
			if err == nil {
				err = l.Close()
			}
			return err
		}
	}
	return []attempt{
		{"read a configuration", true, read(at("etc/conf.d/f"))},
		{"list configurations", true, list(at("etc/conf.d"))},
		{"read /proc", true, read("/proc/thread-self/net/dev")},
		{"make a log", true, open(at("log/new"), os.O_CREATE|os.O_EXCL|os.O_WRONLY)},
		{"append to a log", true, open(at("log/f"), os.O_APPEND|os.O_RDWR)},
		{"empty a log", true, open(at("log/f"), os.O_TRUNC|os.O_WRONLY)},
		{"rename a log", true, func() error { return os.Rename(at("log/f"), at("log/f.1")) }},
		{"remove a log", true, func() error { return os.Remove(at("log/f.1")) }},
		{"remove the socket", true, func() error { return socket.Close() }},

		{"read another file", false, read(at("secret"))},
		{"list another directory", false, list(dir)},
		{"change a configuration", false, open(at("etc/conf.d/f"), os.O_WRONLY)},
		{"make a configuration", false, open(at("etc/new"), os.O_CREATE|os.O_WRONLY)},
		{"remove a configuration", false, func() error { return os.Remove(at("etc/conf.d/f")) }},
		{"read beside the socket", false, read(at("run/f"))},
		{"make a socket", false, listen("unix", at("log/s"))},
		{"make a link", false, func() error { return os.Symlink("/", at("log/link")) }},
		{"make a directory", false, func() error { return os.Mkdir(at("log/dir"), 0o700) }},
		{"run a program", false, exec.Command("/bin/true").Run},
		{"listen on TCP", false, listen("tcp4", "127.0.0.1:0")},
	}
}

// forbidLandlock makes this kernel one without landlock (seccomp(2)).
func forbidLandlock() error {
	const errno = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // struct seccomp_data begins with the number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_LANDLOCK_CREATE_RULESET},
		{Code: unix.BPF_RET | unix.BPF_K, K: errno},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if e != 0 {
		return e
	}
	return nil
}

// confine runs this program again, as a user, and with some more environment.
func confine(t *testing.T, user *syscall.SysProcAttr, env ...string) outcome {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("capabilities take root: run scripts/test as root")
	}
	dir := t.TempDir()
	for _, name := range []string{"etc/conf.d/f", "log/f", "run/f", "secret"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	// To the other user they are as open as to root: only landlock says no.
	for _, name := range []string{"..", "", "etc", "etc/conf.d", "etc/conf.d/f", "log", "log/f", "run", "run/f", "secret"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe") // its directory is ours alone
	cmd.Env = append(os.Environ(), append(env, "CONFINE_TEST_DIR="+dir)...)
	cmd.SysProcAttr = user
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var o outcome
	if err := json.Unmarshal(out, &o); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if o.Err != "" {
		t.Fatal(o.Err)
	}
	return o
}

// Each thread has CAP_NET_ADMIN alone, and cannot get more. Files and TCP are
// out of reach where the kernel has landlock.
func TestProcess(t *testing.T) {
	t.Parallel()
	root := &syscall.SysProcAttr{}
	other := &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 64021, Gid: 64021},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN},
	}
	for name, test := range map[string]struct {
		user *syscall.SysProcAttr
		env  []string
		want How
	}{
		"root":             {root, nil, Landlock},
		"another user":     {other, nil, Landlock},
		"without landlock": {root, []string{"CONFINE_TEST_NO_LANDLOCK=1"}, Capabilities},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := confine(t, test.user, test.env...)
			if o.How != test.want {
				t.Errorf("confined by %s, want %s", o.How, test.want)
			}
			for _, a := range attempts("", nil) {
				got, tried := o.Tried[a.what]
				if !tried {
					t.Errorf("%s: was not tried", a.what)
				}
				if allowed := got == ""; allowed != (a.allowed || o.How != Landlock) {
					t.Errorf("%s: allowed: %v; %s", a.what, allowed, got)
				}
			}
			checkThreads(t, o.Threads, test.user == root)
		})
	}
}

// checkThreads looks at status files (proc_pid_status(5)).
func checkThreads(t *testing.T, threads []string, bounded bool) {
	t.Helper()
	if len(threads) < 8 {
		t.Errorf("%d threads were looked at, want 8 at least", len(threads))
	}
	const none, netAdmin = "0000000000000000", "0000000000001000"
	want := map[string]string{"CapInh": none, "CapPrm": netAdmin, "CapEff": netAdmin, "CapAmb": none, "NoNewPrivs": "1"}
	if bounded {
		want["CapBnd"] = netAdmin
	}
	for _, status := range threads {
		for line := range strings.Lines(status) {
			key, value, _ := strings.Cut(line, ":")
			if v, ok := want[key]; ok && strings.TrimSpace(value) != v {
				t.Errorf("a thread has %s %s, want %s", key, strings.TrimSpace(value), v)
			}
		}
	}
}

// An error about a file says whose it is, or that it is out of reach.
func TestExplain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	denied := fmt.Errorf("config: %w; make it readable", &fs.PathError{Op: "open", Path: path, Err: unix.EACCES})
	for _, test := range []struct {
		name  string
		how   How
		err   error
		owner int
		want  string // what is added
	}{
		{"ours, confined", Landlock, denied, os.Geteuid(), "the daemon is confined to the directories that it knew at its start: restart it if " + dir + " is new"},
		{"ours", Capabilities, denied, os.Geteuid(), ""},
		{"another's, confined", Landlock, denied, 64021, path + " belongs to user 64021 and has the mode 0600; the daemon is user 0: chown it"},
		{"another's", No, denied, 64021, path + " belongs to user 64021 and has the mode 0600; the daemon is user 0: chown it"},
		{"missing", Landlock, &fs.PathError{Op: "open", Path: path, Err: unix.ENOENT}, os.Geteuid(), ""},
		{"no file", Landlock, unix.EPERM, os.Geteuid(), ""},
	} {
		if test.owner != os.Geteuid() && os.Geteuid() != 0 {
			continue // only root can give a file away
		}
		if err := os.Chown(path, test.owner, -1); err != nil {
			t.Fatal(err)
		}
		got := test.how.Explain(test.err)
		want := test.err.Error()
		if test.want != "" {
			want += " (" + test.want + ")"
		}
		if got.Error() != want || !errors.Is(got, test.err) {
			t.Errorf("%s: %q, want %q", test.name, got, want)
		}
	}
	if err := No.Explain(nil); err != nil {
		t.Errorf("no error becomes %v", err)
	}
}
