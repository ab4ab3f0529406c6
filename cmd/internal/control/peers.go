package control

import (
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Connections at once, and those of them that may only read.
const (
	maxConns   = 64
	maxReaders = 48
)

// conn is an accepted connection, and who is at its other end.
type conn struct {
	net.Conn
	uid        uint32
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
	places places
}

func newPeers(l *net.UnixListener) *peers {
	return &peers{l, places{most: maxConns, mostReaders: maxReaders}}
}

func (p *peers) Accept() (net.Conn, error) {
	for {
		c, err := p.UnixListener.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		privileged := err == nil && mayDoAll(uid, uint32(os.Geteuid()))
		if err != nil || !p.places.admit(privileged) {
			c.Close()
			continue
		}
		return &conn{Conn: c, uid: uid, privileged: privileged, release: func() { p.places.leave(privileged) }}, nil
	}
}

// peerUID asks the kernel who connected (unix(7), SO_PEERCRED).
func peerUID(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	return cred.Uid, nil
}

func mayDoAll(uid, own uint32) bool { return uid == 0 || uid == own }
