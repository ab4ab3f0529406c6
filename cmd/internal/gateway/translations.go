package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"ftpinhole/cmd/internal/flows"
	"ftpinhole/conntrack"
)

var errNoFlow = errors.New("conntrack does not hold the control connection")

// Translator knows how the kernel translates a connection.
type Translator interface {
	// Translation returns the connection whose ends these are, as the forward hook
	// shows them.
	Translation(client, server netip.AddrPort) (flows.Flow, bool, error)
	// Get looks a connection up that is known, and is false if it is gone.
	Get(flows.Flow) (flows.Flow, bool, error)
}

// question asks how a control connection is translated.
type question struct {
	client, server netip.AddrPort
	done           func(conntrack.Translation, error) // called by the goroutine of translations
}

// translations asks conntrack, once a session. It may have to go through its
// whole table: no shard waits for that.
type translations struct {
	kernel    Translator
	twice     *twice
	questions *mailbox[question]
	log       *slog.Logger
}

func (t *translations) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.questions.ready:
		}
		for _, q := range t.questions.take() {
			q.done(t.find(q.client, q.server))
		}
	}
}

func (t *translations) find(client, server netip.AddrPort) (conntrack.Translation, error) {
	var err error
	f, ok := t.twice.find(connection{client, server})
	if ok { // it may be gone, and the news on its way
		f, ok, err = t.kernel.Get(f)
	}
	if !ok && err == nil {
		f, ok, err = t.kernel.Translation(client, server)
	}
	if err == nil && !ok {
		err = errNoFlow
	}
	if err != nil {
		t.log.Warn("it is not known how a control connection is translated; its lines are not rewritten",
			"client", client, "server", server, "err", err)
		return conntrack.Translation{}, err
	}
	return conntrack.Translation{Server: f.Server, Client: f.ReplyDst}, nil
}
