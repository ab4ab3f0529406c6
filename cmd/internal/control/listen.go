package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxPath is the length of a socket's name that struct sockaddr_un holds, with
// its final NUL (include/uapi/linux/un.h).
const maxPath = 108 - 1

// ErrInUse is wrapped by the error for a socket on which another daemon answers.
var ErrInUse = errors.New("another daemon answers there")

// bind makes the socket, 0660, in place of one that a dead daemon left.
func bind(path string) (*net.UnixListener, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w; make the directory, or name another socket (socket, --socket)", err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// A socket takes its mode from the descriptor when it is bound: at no time
	// may others open it. The umask can have taken the group's bits away.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmod error
		err := c.Control(func(fd uintptr) { chmod = syscall.Fchmod(int(fd), 0o660) })
		return errors.Join(err, chmod)
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w; make its directory writable, or name another socket (socket, --socket)", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w; name another socket (socket, --socket)", err)
	}
	return l.(*net.UnixListener), nil
}

func checkPath(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("control socket %q is not an absolute path; write it from the root on, like /run/ftpinhole/control.sock", path)
	}
	if len(path) > maxPath {
		return fmt.Errorf("control socket %q has %d bytes, the kernel takes %d; choose a shorter path", path, len(path), maxPath)
	}
	return nil
}

// removeStale removes the socket if nobody answers on it.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w; name another socket (socket, --socket)", err)
	}
	if st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control socket %s exists and is no socket; remove it, or name another (socket, --socket)", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		c.Close()
		return fmt.Errorf("control socket %s: %w; stop it first, or give this one another socket (socket, --socket)", path, ErrInUse)
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("control socket exists: %w; stop the daemon behind it, or name another socket (socket, --socket)", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("control socket of a dead daemon: %w; remove it", err)
	}
	return nil
}
