// Package socket makes the daemon's unix sockets, which their group may open
// and others not, and serves HTTP.
package socket

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

// Place is where a socket is, with the words that errors have for it.
type Place struct {
	Path string
	Name string // like "control socket"
	Set  string // how another is named, like "socket, --socket"
}

// Listen makes the socket, 0660, in place of one that a dead daemon left.
func (p Place) Listen() (*net.UnixListener, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(p.Path), 0o755); err != nil {
		return nil, fmt.Errorf("%s: %w; make the directory, or name another socket (%s)", p.Name, err, p.Set)
	}
	if err := p.removeStale(); err != nil {
		return nil, err
	}
	// A socket takes its mode from the descriptor when it is bound: at no time
	// may others open it. The umask can have taken the group's bits away.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmod error
		err := c.Control(func(fd uintptr) { chmod = syscall.Fchmod(int(fd), 0o660) })
		return errors.Join(err, chmod)
	}}
	l, err := lc.Listen(context.Background(), "unix", p.Path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; make its directory writable, or name another socket (%s)", p.Name, err, p.Set)
	}
	if err := os.Chmod(p.Path, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("%s: %w; name another socket (%s)", p.Name, err, p.Set)
	}
	return l.(*net.UnixListener), nil
}

// Check says what is wrong with the path.
func (p Place) Check() error {
	if !filepath.IsAbs(p.Path) {
		return fmt.Errorf("%s %q is not an absolute path; write it from the root on, like /run/ftpinhole/control.sock", p.Name, p.Path)
	}
	if len(p.Path) > maxPath {
		return fmt.Errorf("%s %q has %d bytes, the kernel takes %d; choose a shorter path", p.Name, p.Path, len(p.Path), maxPath)
	}
	return nil
}

// removeStale removes the socket if nobody answers on it.
func (p Place) removeStale() error {
	st, err := os.Lstat(p.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w; name another socket (%s)", p.Name, err, p.Set)
	}
	if st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s %s exists and is no socket; remove it, or name another (%s)", p.Name, p.Path, p.Set)
	}
	c, err := net.DialTimeout("unix", p.Path, time.Second)
	switch {
	case err == nil:
		c.Close()
		return fmt.Errorf("%s %s: %w; stop it first, or give this one another socket (%s)", p.Name, p.Path, ErrInUse, p.Set)
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s exists: %w; stop the daemon behind it, or name another socket (%s)", p.Name, err, p.Set)
	}
	if err := os.Remove(p.Path); err != nil {
		return fmt.Errorf("%s of a dead daemon: %w; remove it", p.Name, err)
	}
	return nil
}
