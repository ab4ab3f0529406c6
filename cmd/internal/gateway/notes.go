package gateway

import (
	"context"
	"log/slog"
	"net/netip"

	"ftpinhole/cmd/internal/sequences"
	"ftpinhole/conntrack"
)

// note is what a next daemon is to know of a session.
type note struct {
	client, server netip.AddrPort
	known          *conntrack.Known // nil: nothing
	done           func(error)      // called by the goroutine of notes; nil: nobody waits
}

// notes writes down what is known of sessions. A disk that hangs keeps the
// packets waiting that need it, each for as long as one waits for the kernel, and
// no shard.
type notes struct {
	book    *sequences.Book // nil: it could not be opened
	waiting *mailbox[note]
	log     *slog.Logger
	failing trouble
}

func (n *notes) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			n.write() // the sessions of the end
			return
		case <-n.waiting.ready:
			n.write()
		}
	}
}

// write writes what waits.
func (n *notes) write() {
	for _, next := range n.waiting.take() {
		err := n.take(next)
		if next.done != nil {
			next.done(err)
		}
	}
}

func (n *notes) take(next note) error {
	if n.book == nil {
		return nil
	}
	var err error
	if next.known != nil {
		err = n.book.Put(*next.known)
	} else {
		err = n.book.Drop(next.client, next.server)
	}
	switch {
	case err == nil && n.failing.ends():
		n.log.Info("what is known of sessions is kept again for the next daemon")
	case err != nil && n.failing.begins():
		n.log.Error("what is known of sessions is not kept for the next daemon", "err", err)
	}
	return err
}

// former returns what a former daemon knew of a session.
func (n *notes) former(client, server netip.AddrPort) (conntrack.Known, bool) {
	if n.book == nil {
		return conntrack.Known{}, false
	}
	return n.book.Former(client, server)
}

// over forgets what a former daemon knew of a session that ended before any
// packet of it came.
func (n *notes) over(client, server netip.AddrPort) {
	if _, ok := n.former(client, server); ok {
		n.waiting.put(note{client: client, server: server})
	}
}

// forget drops what a former daemon knew of sessions that conntrack does not
// hold any more.
func (n *notes) forget(alive map[connection]struct{}) {
	if n.book == nil {
		return
	}
	_, err := n.book.Forget(func(client, server netip.AddrPort) bool {
		_, ok := alive[connection{client, server}]
		return ok
	})
	if err != nil {
		n.log.Error("sessions of a former daemon that are over were not forgotten", "err", err)
	}
}

// remember asks to write down what is known of a session. An urgent note is
// written before the packet in hand goes on.
func (s *shard) remember(e *conntrack.Effect, conn connection, h *hold) {
	n := note{client: e.Record.Client, server: e.Record.Server, known: e.Known}
	if e.Urgent && h != nil {
		j := &job{conn: conn, undo: func() {}}
		j.settle = func(answer, error) []conntrack.Effect { return nil }
		h.await(j)
		n.done = func(err error) { s.calls.put(func() { s.answered(j, answer{}, err) }) }
	}
	s.notes.put(n)
}
