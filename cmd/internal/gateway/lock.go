package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// lockName is an abstract unix socket (unix(7)): its name is one network
// namespace's, and goes with the process that holds it.
const lockName = "@ftpinhole"

// ErrRunning means that a daemon runs in this network namespace already.
var ErrRunning = errors.New("another ftpinhole runs in this network namespace already")

// lock makes this the only daemon of the network namespace. Any user could
// hold the name; only root and our own user are believed to be a daemon.
func lock(log *slog.Logger) (*net.UnixListener, error) {
	addr := &net.UnixAddr{Name: lockName, Net: "unix"}
	l, err := net.ListenUnix("unix", addr)
	if err == nil {
		return l, nil
	}
	if !errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("lock of the network namespace: %w", err)
	}
	peer, err := holder(addr)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w, or is just ending: try again (%w)", ErrRunning, err)
	case peer.Uid == 0 || int(peer.Uid) == os.Getuid():
		return nil, fmt.Errorf("%w (pid %d): one serves all ports and hooks; stop it first", ErrRunning, peer.Pid)
	}
	log.Warn("another user's process holds the name by which daemons find each other; going on without it",
		"pid", peer.Pid, "uid", peer.Uid)
	return nil, nil
}

// holder asks the kernel who listens on a socket.
func holder(addr *net.UnixAddr) (*unix.Ucred, error) {
	c, err := net.DialUnix("unix", nil, addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, failed)
}
