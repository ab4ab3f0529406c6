package gateway

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"

	"ftpinhole/cmd/internal/flows"
	"ftpinhole/cmd/internal/sequences"
	"ftpinhole/conntrack"
	"ftpinhole/rules"
)

// Rewriter has the kernel queue all packets of some sessions, also before
// conntrack, to queues that let nothing pass unread.
type Rewriter interface {
	AddRewritten(tuples []rules.Tuple) error
	RemoveRewritten(tuples []rules.Tuple) error
}

// keeper sees to it that the packets of a rewritten session come by, all of
// them, and that a next daemon can go on with it. It belongs to the goroutine
// of holes.
type keeper struct {
	table  Rewriter
	dir    *sequences.Dir
	routes *routes
	have   map[connection][]rules.Tuple
	// owners have the directions: of two sessions the one that was kept last. The
	// other one was forgotten by conntrack, which gave its addresses away.
	owners map[rules.Tuple]connection
	log    *slog.Logger
}

// keep returns when the packet that made it necessary may go: its successors
// come by, and what they need is written.
func (k *keeper) keep(kept *conntrack.Kept, s *shard) error {
	if err := k.dir.Save(kept); err != nil {
		return err
	}
	key := connection{kept.Client, kept.Server}
	if k.have[key] != nil {
		return nil
	}
	all := tuples(kept)
	k.routes.add(all, s) // before the first packet comes that way
	if err := k.table.AddRewritten(all); err != nil {
		k.routes.remove(all)
		return errors.Join(err, k.dir.Remove(kept.Client, kept.Server))
	}
	k.have[key] = all
	for _, t := range all {
		k.owners[t] = key
	}
	return nil
}

// owned returns the directions that a session has, and no other one since.
func (k *keeper) owned(key connection) []rules.Tuple {
	return slices.DeleteFunc(k.have[key], func(t rules.Tuple) bool { return k.owners[t] != key })
}

func (k *keeper) forget(client, server netip.AddrPort) {
	key := connection{client, server}
	if k.have[key] != nil {
		all := k.owned(key)
		if err := k.table.RemoveRewritten(all); err != nil {
			k.log.Error("packets of a session that is over are still queued", "client", client, "server", server, "err", err)
		}
		k.routes.remove(all)
		for _, t := range all {
			delete(k.owners, t)
		}
		delete(k.have, key)
	}
	if err := k.dir.Remove(client, server); err != nil {
		k.log.Error("a session that is over was not forgotten", "client", client, "server", server, "err", err)
	}
}

// load returns the sessions that a former daemon kept and that conntrack still
// has, and forgets the others.
func (k *keeper) load(kernel Conntrack) []*conntrack.Kept {
	all, err := k.dir.Load()
	if err != nil {
		k.log.Warn("rewritten sessions of a former daemon are lost; they hang until their ends give up", "err", err)
	}
	var alive []*conntrack.Kept
	for _, kept := range all {
		f, ok, err := kernel.Get(flows.Flow{Client: kept.Client, Server: kept.Translation.Server})
		if err != nil || !ok || f.State.Over() || f.ReplySrc != kept.Server || f.ReplyDst != kept.Translation.Client {
			k.forget(kept.Client, kept.Server)
			continue
		}
		alive = append(alive, kept)
	}
	return alive
}
