package control

import (
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Connections at once. Those that may do all have some to themselves, so that
// readers cannot lock the administrator out.
const (
	maxConns   = 64
	maxReaders = 48
)

// conn is an accepted connection, and who is at its other end.
type conn struct {
	net.Conn
	privileged bool // uid 0 or the daemon's own: may do all
	once       sync.Once
	release    func()
}

func (c *conn) Close() error {
	c.once.Do(c.release)
	return c.Conn.Close()
}

// peers is a listener that knows its callers and bounds their number. Who is
// one too many is hung up on at once.
type peers struct {
	*net.UnixListener
	all, readers atomic.Int64
}

func (p *peers) Accept() (net.Conn, error) {
	for {
		c, err := p.UnixListener.AcceptUnix()
		if err != nil {
			return nil, err
		}
		privileged, err := isPrivileged(c)
		if err != nil || !p.admit(privileged) {
			c.Close()
			continue
		}
		return &conn{Conn: c, privileged: privileged, release: func() { p.leave(privileged) }}, nil
	}
}

func (p *peers) admit(privileged bool) bool {
	if p.all.Load() >= maxConns || !privileged && p.readers.Load() >= maxReaders {
		return false // only Accept adds, and one goroutine accepts
	}
	p.all.Add(1)
	if !privileged {
		p.readers.Add(1)
	}
	return true
}

func (p *peers) leave(privileged bool) {
	p.all.Add(-1)
	if !privileged {
		p.readers.Add(-1)
	}
}

// isPrivileged asks the kernel who connected (unix(7), SO_PEERCRED).
func isPrivileged(c *net.UnixConn) (bool, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return false, err
	}
	if credErr != nil {
		return false, credErr
	}
	return mayDoAll(cred.Uid, uint32(os.Geteuid())), nil
}

func mayDoAll(uid, own uint32) bool { return uid == 0 || uid == own }
