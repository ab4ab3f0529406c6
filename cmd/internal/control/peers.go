package control

import (
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"

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
	privileged bool        // uid 0 or the daemon's own: may do all
	busy       atomic.Bool // a request is read or answered
	once       sync.Once
	release    func()
}

func (c *conn) Close() error {
	c.once.Do(c.release)
	return c.Conn.Close()
}

// peers is a listener that knows its callers and bounds their number. Who is
// one too many is hung up on at once; but for those that may do all, an older
// connection that asks for nothing goes instead.
type peers struct {
	*net.UnixListener
	places places

	mu   sync.Mutex
	open []*conn // oldest first
}

func newPeers(l *net.UnixListener) *peers {
	return &peers{UnixListener: l, places: places{most: maxConns, mostReaders: maxReaders}}
}

func (p *peers) Accept() (net.Conn, error) {
	for {
		c, err := p.UnixListener.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		privileged := err == nil && mayDoAll(uid, uint32(os.Geteuid()))
		if err != nil || !p.places.admit(privileged) && !(privileged && p.makeRoom() && p.places.admit(true)) {
			c.Close()
			continue
		}
		return p.accepted(&conn{Conn: c, uid: uid, privileged: privileged}), nil
	}
}

// accepted keeps a connection in mind until it is closed.
func (p *peers) accepted(c *conn) *conn {
	c.release = func() {
		p.places.leave(c.privileged)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open = slices.DeleteFunc(p.open, func(o *conn) bool { return o == c })
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = append(p.open, c)
	return c
}

// makeRoom hangs up on the oldest connection that asks for nothing, and reports
// whether there was one.
func (p *peers) makeRoom() bool {
	p.mu.Lock()
	i := slices.IndexFunc(p.open, func(c *conn) bool { return !c.busy.Load() })
	var oldest *conn
	if i >= 0 {
		oldest = p.open[i]
	}
	p.mu.Unlock()
	if oldest == nil {
		return false
	}
	_ = oldest.Close() // its other end knows
	return true
}

// changed takes note of what a connection does (http.Server.ConnState).
func changed(c net.Conn, state http.ConnState) {
	if c, ok := c.(*conn); ok {
		c.busy.Store(state == http.StateActive)
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
