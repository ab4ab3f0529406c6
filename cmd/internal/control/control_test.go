package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/patience"
	"ftpinhole/cmd/internal/socket"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// daemon is a Source that never changes.
type daemon struct {
	status   Status
	pinholes []PinholeInfo
	sessions []SessionInfo
	busy     error // instead of lists
}

func (d *daemon) Status() Status                   { return d.status }
func (d *daemon) Pinholes() ([]PinholeInfo, error) { return d.pinholes, d.busy }
func (d *daemon) Sessions() ([]SessionInfo, error) { return d.sessions, d.busy }

// start serves d on a socket of its own until the test ends; change is called
// before that.
func start(t *testing.T, d *daemon, change func(*Server)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "control.sock")
	s, err := Listen(path, d, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
	})
	return path
}

func TestRoundTrip(t *testing.T) {
	since := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	d := &daemon{status: Status{
		Ready: true, Version: "1.2.3", PID: 42, Since: since, Backend: "nft", QueueNum: 2100, Queues: 4, Ports: []uint16{21, 2121},
		Hooks: []string{"forward"}, Table: "present", Sessions: 3, HalfOpen: 1,
		Pinholes: PinholeCounts{Open: 1, Opened: 9, Used: 7, Refused: 2}, Packets: 100, VerdictErrors: 1, Overruns: 2, RecordsWaiting: 4, RecordsLost: 3, AuditTrouble: "no space",
	}}
	for i := range 2000 {
		d.pinholes = append(d.pinholes, PinholeInfo{ID: fmt.Sprint(i), User: "\x1b[31m\xff", Opened: since, ExpiresIn: 1.5})
		d.sessions = append(d.sessions, SessionInfo{FlowID: uint64(i), Client: "10.0.0.1:4000", Since: since})
	}
	c, err := Dial(start(t, d, nil))
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.status, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	for _, n := range []int{1, 1500, 65536} {
		p, err := c.Pinholes(t.Context(), n)
		if err != nil || p.Total != 2000 || len(p.Pinholes) != min(n, 2000) {
			t.Errorf("limit %d: %d of %d pinholes, %v", n, len(p.Pinholes), p.Total, err)
		}
		s, err := c.Sessions(t.Context(), n)
		if err != nil || s.Total != 2000 || len(s.Sessions) != min(n, 2000) {
			t.Errorf("limit %d: %d of %d sessions, %v", n, len(s.Sessions), s.Total, err)
		}
		if diff := cmp.Diff(d.sessions[:1], s.Sessions[:1]); diff != "" {
			t.Errorf("session (-want +got):\n%s", diff)
		}
	}
	for _, n := range []int{0, -1, 65537} {
		if _, err := c.Pinholes(t.Context(), n); err == nil || !strings.Contains(err.Error(), "1 to 65536") {
			t.Errorf("limit %d of pinholes: %v", n, err)
		}
		if _, err := c.Sessions(t.Context(), n); err == nil || !strings.Contains(err.Error(), "1 to 65536") {
			t.Errorf("limit %d of sessions: %v", n, err)
		}
	}
	d.busy = errors.New("the packet path does not answer")
	if _, err := c.Pinholes(t.Context(), 1); err == nil || err.Error() != d.busy.Error() {
		t.Errorf("pinholes of a daemon that cannot tell: %v", err)
	}
	if _, err := c.Sessions(t.Context(), 1); err == nil || err.Error() != d.busy.Error() {
		t.Errorf("sessions of a daemon that cannot tell: %v", err)
	}
	if err := c.get(t.Context(), "/v1/nothing", new(int)); err == nil || !strings.Contains(err.Error(), "same version") {
		t.Errorf("unknown path: %v", err)
	}
}

// dead leaves a socket on which nobody listens.
func dead(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestListen(t *testing.T) {
	path := start(t, &daemon{}, nil)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v (%v)", st.Mode(), err)
	}
	if _, err := Listen(path, &daemon{}, quiet); !errors.Is(err, socket.ErrInUse) || !strings.Contains(err.Error(), "control socket") {
		t.Errorf("a second one on the same path: %v", err)
	}
}

func TestDialWithoutDaemon(t *testing.T) {
	dir := t.TempDir()
	dead(t, filepath.Join(dir, "dead"))
	for _, path := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "dead")} {
		if _, err := Dial(path); !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), "ftpinhole run") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := Dial("relative"); err == nil || errors.Is(err, ErrNoDaemon) {
		t.Errorf("relative path: %v", err)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	s, err := Listen(filepath.Join(t.TempDir(), "s"), &daemon{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Serve(ctx); err != nil {
		t.Errorf("Serve with a context that is done: %v", err)
	}
}

// A client that says nothing, or sends without end, costs its connection.
func TestHostileClients(t *testing.T) {
	path := start(t, &daemon{}, func(s *Server) {
		s.http.ReadHeaderTimeout = 100 * time.Millisecond
		s.http.ReadTimeout = 100 * time.Millisecond
		s.http.IdleTimeout = 100 * time.Millisecond
	})
	for name, send := range map[string]string{
		"silent":        "",
		"half a line":   "GET /v1/sta",
		"huge header":   "GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10),
		"not HTTP":      "\x00\xff\r\n\r\n",
		"idle for long": "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(patience.Deadline()); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, send) // it may be hung up on meanwhile
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: still connected after %v", name, patience.Limit)
		}
		c.Close()
	}
}

// Connections that ask for nothing keep nobody out who may do all: the oldest of
// them goes. Those that are answered stay.
func TestIdleConnectionsLeaveRoomForRoot(t *testing.T) {
	path := start(t, &daemon{}, nil)
	var held []net.Conn
	for range maxConns {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	for range 3 {
		c, err := Dial(path)
		if err == nil {
			_, err = c.Status(t.Context())
		}
		if err != nil {
			t.Fatalf("status beside %d connections: %v", maxConns, err)
		}
	}
	if err := held[0].SetDeadline(patience.Deadline()); err != nil {
		t.Fatal(err)
	}
	if _, err := held[0].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the oldest connection is still there: %v", err)
	}
}

// Connections that are being answered are not hung up on; then the newest is.
func TestTooManyConnections(t *testing.T) {
	p := newPeers(nil)
	for range maxConns {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		c := p.accepted(&conn{Conn: a, privileged: true})
		if !p.places.admit(true) {
			t.Fatal("a place is missing")
		}
		changed(c, http.StateActive)
	}
	if p.makeRoom() || p.places.admit(true) {
		t.Error("one more than there are places for is taken")
	}
	changed(p.open[5], http.StateIdle)
	sixth := p.open[5]
	if !p.makeRoom() || len(p.open) != maxConns-1 || slices.Contains(p.open, sixth) || !p.places.admit(true) {
		t.Error("the connection that is idle did not make room")
	}
}

func TestReadersLeaveRoomForRoot(t *testing.T) {
	p := places{most: 7, mostReaders: 4}
	for range 4 {
		if !p.admit(false) {
			t.Fatal("a reader is refused too early")
		}
	}
	if p.admit(false) {
		t.Error("a reader too many is admitted")
	}
	for range 3 {
		if !p.admit(true) {
			t.Error("root is locked out")
		}
	}
	if p.admit(true) {
		t.Error("more than all are admitted")
	}
	p.leave(false)
	if !p.admit(false) {
		t.Error("a place that was left is not given again")
	}
}

func TestMayDoAll(t *testing.T) {
	for _, tt := range []struct {
		uid, own uint32
		want     bool
	}{{0, 0, true}, {0, 100, true}, {100, 100, true}, {100, 0, false}, {100, 101, false}} {
		if got := mayDoAll(tt.uid, tt.own); got != tt.want {
			t.Errorf("uid %d, daemon %d: %v", tt.uid, tt.own, got)
		}
	}
}

// Others who can open the socket may read, and nothing else (SO_PEERCRED).
func TestOthersMayOnlyRead(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be someone else")
	}
	path := start(t, &daemon{status: Status{Version: "v"}}, func(s *Server) {
		s.mux.HandleFunc("POST /v1/flush", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, struct{}{}) })
	})
	for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := as(65534, func() error { _, err := Dial(path); return err }); !errors.Is(err, ErrNotPermitted) || !strings.Contains(err.Error(), "sudo") {
		t.Errorf("nobody opens a 0660 socket: %v", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		uid           int
		request, want string
	}{
		{0, "GET /v1/status", "200 OK"},
		{0, "POST /v1/flush", "200 OK"},
		{65534, "GET /v1/status", "200 OK"},
		{65534, "GET /v1/pinholes", "200 OK"},
		{65534, "GET /v1/sessions", "200 OK"},
		{65534, "POST /v1/flush", "403 Forbidden"},
		{65534, "DELETE /v1/status", "403 Forbidden"},
	} {
		var got string
		err := as(tt.uid, func() (err error) { got, err = request(path, tt.request); return err })
		if err != nil || !strings.HasPrefix(got, "HTTP/1.1 "+tt.want) {
			t.Errorf("uid %d, %s: %q, %v", tt.uid, tt.request, got, err)
		}
	}
}

// as calls f as another user: on a thread of its own, which ends with the
// goroutine, since it is never unlocked.
func as(uid int, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		id := uintptr(uid)
		for _, call := range [][4]uintptr{{unix.SYS_SETGROUPS}, {unix.SYS_SETRESGID, id, id, id}, {unix.SYS_SETRESUID, id, id, id}} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				done <- errno
				return
			}
		}
		done <- f()
	}()
	return <-done
}

func request(path, line string) (string, error) {
	c, err := net.Dial("unix", path)
	if err != nil {
		return "", err
	}
	defer c.Close()
	fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", line)
	b, err := io.ReadAll(c)
	return string(b), err
}
