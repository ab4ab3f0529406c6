package gateway

import (
	"sync"

	"ftpinhole/cmd/internal/flows"
)

// maxTwice bounds how many connections are remembered; those beyond are looked
// for.
const maxTwice = 1 << 16

// twice remembers the control connections whose addresses are translated on
// both sides, as conntrack's events tell them: asked for by what a hook shows,
// conntrack finds those only by going through its whole table.
type twice struct {
	mu    sync.Mutex
	flows map[connection]flows.Flow
}

// take takes an event of a control connection.
func (t *twice) take(ev flows.Event) {
	f := ev.Flow
	if f.Client == f.ReplyDst || f.Server == f.ReplySrc {
		return
	}
	client, server := f.Ends()
	key := connection{client, server}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case ev.Kind == flows.New && len(t.flows) < maxTwice:
		if t.flows == nil {
			t.flows = make(map[connection]flows.Flow)
		}
		t.flows[key] = f
	case ev.Kind == flows.Destroy && t.flows[key].ID == f.ID:
		delete(t.flows, key)
	}
}

// replace forgets all but the connections that conntrack holds: where events were
// lost, others may have the addresses and ports of those that are remembered.
func (t *twice) replace(held []flows.Flow) {
	t.mu.Lock()
	clear(t.flows)
	t.mu.Unlock()
	for _, f := range held {
		if !f.State.Over() {
			t.take(flows.Event{Kind: flows.New, Flow: f})
		}
	}
}

func (t *twice) find(key connection) (flows.Flow, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.flows[key]
	return f, ok
}
