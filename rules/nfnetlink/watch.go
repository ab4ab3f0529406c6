package nfnetlink

import (
	"context"
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watchBuffer is the socket's room for notices that wait to be read.
const watchBuffer = 1 << 20

// Watch calls each for every message of the multicast groups, a bit each, until
// ctx is done: then it returns nil. ready is called when messages are being
// seen, and lost when they are seen again after some came faster than they
// could be read. It has to be called in the network namespace that it is about.
func Watch(ctx context.Context, groups uint32, ready, lost func(), each func(netlink.Message)) error {
	seeing := ready
	for {
		nl, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: groups})
		if err != nil {
			return err
		}
		seeing()
		err = follow(ctx, nl, each)
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, unix.ENOBUFS):
			return err
		}
		// Until its last message is read a socket that overflowed drops all
		// that comes, without another word. A new one sees all from now on.
		seeing = lost
	}
}

// follow reads nl until that fails or ctx is done, and closes it.
func follow(ctx context.Context, nl *netlink.Conn, each func(netlink.Message)) error {
	stop := context.AfterFunc(ctx, func() { nl.Close() })
	defer func() {
		if stop() {
			nl.Close()
		}
	}()
	if err := nl.SetReadBuffer(watchBuffer); err != nil {
		return err
	}
	for {
		messages, err := nl.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			each(m)
		}
	}
}
