package socket

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func at(path string) Place { return Place{path, "test socket", "socket, --socket"} }

func TestMode(t *testing.T) {
	for _, mask := range []int{0, 0o22, 0o77} {
		func() {
			defer syscall.Umask(syscall.Umask(mask))
			path := filepath.Join(t.TempDir(), "s")
			l, err := at(path).Listen()
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o660 {
				t.Errorf("umask %o: %v (%v)", mask, st.Mode(), err)
			}
		}()
	}
}

// listen makes a socket that somebody else has; a dead one stays behind.
func listen(t *testing.T, dir string, dead bool) string {
	t.Helper()
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if !dead {
		t.Cleanup(func() { l.Close() })
		return path
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	return path
}

// file makes a file.
func file(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestListen(t *testing.T) {
	tests := []struct {
		name    string
		path    func(t *testing.T, dir string) string
		wantErr string // "" for success
		wantIs  error
	}{
		{"new", func(_ *testing.T, dir string) string { return filepath.Join(dir, "a", "b", "s") }, "", nil},
		{"stale", func(t *testing.T, dir string) string { return listen(t, dir, true) }, "", nil},
		{"in use", func(t *testing.T, dir string) string { return listen(t, dir, false) }, "stop it first", ErrInUse},
		{"a file", file, "is no socket; remove it", nil},
		{"under a file", func(t *testing.T, dir string) string { return filepath.Join(file(t, dir), "s") }, "make the directory", nil},
		{"too long", func(*testing.T, string) string { return "/" + strings.Repeat("x", 107) }, "choose a shorter path", nil},
		{"relative", func(*testing.T, string) string { return "control.sock" }, "absolute path", nil},
		{"abstract", func(*testing.T, string) string { return "@control" }, "absolute path", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := at(tt.path(t, t.TempDir())).Listen()
			if err == nil {
				l.Close()
			}
			if tt.wantErr == "" && err != nil || tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("error %v, want %q", err, tt.wantErr)
			}
			if tt.wantIs != nil && !errors.Is(err, tt.wantIs) {
				t.Errorf("error %v, want %v", err, tt.wantIs)
			}
		})
	}
}
