package gateway

import (
	"context"
	"time"

	"ftpinhole/cmd/internal/decode"
	"ftpinhole/cmd/internal/queue"
	"ftpinhole/conntrack"
)

// restore goes on with the rewritten sessions of a daemon that was killed. Their
// packets wait in the queues by now, or are dropped until they are read: it
// happens before both readers and shards run.
func (g *Gateway) restore() {
	for i, kept := range g.keeper.load(g.kernel) {
		s := g.shards[i%len(g.shards)]
		if err := g.keeper.keep(kept, s); err != nil {
			g.log.Error("a rewritten session of a former daemon cannot go on", "client", kept.Client, "server", kept.Server, "err", err)
			continue
		}
		s.carryOut(s.tracker.Restore(time.Now(), kept), connection{}, nil)
	}
}

// read hands the packets of a queue for rewritten sessions to the shards that
// have them. i is its place among all queues.
func (g *Gateway) read(ctx context.Context, cancel context.CancelCauseFunc, i int,
	hand func(*shard, context.Context, packet)) {
	decoder := decode.New()
	var pkt conntrack.Packet
	err := g.queues[i].Run(ctx, func(raw *queue.Packet) {
		p := rewritten{queued{raw, &g.verdicts[i]}}
		var s *shard
		if decoder.IP(raw.Payload, &pkt) {
			s = g.keeper.routes.find(&pkt)
		}
		if s == nil {
			p.Accept() // a session that was over a moment ago
			return
		}
		hand(s, ctx, p)
	})
	if err != nil {
		cancel(err)
	}
}
