package gateway

import (
	"ftpinhole/cmd/internal/metrics"
	"ftpinhole/cmd/internal/queue"

	"github.com/prometheus/client_golang/prometheus"
)

// Acknowledgements is how long the kernel took with pinholes.
func (g *Gateway) Acknowledgements() prometheus.Collector { return g.counters.acknowledged }

// Numbers are for a scrape. Like Status, it waits no more than a second for
// shards that do not answer.
func (g *Gateway) Numbers() metrics.Numbers {
	held, answered := g.counts()
	st := g.status(held, answered)
	n := metrics.Numbers{
		Started: g.started, Ready: st.Ready,
		TablePresent: st.Table == "present", TableRebuilt: g.guard.rebuilt.Load(),
		Opened: st.Pinholes.Opened, Used: st.Pinholes.Used,
		Closed: g.counters.closes.all(), Denied: st.RefusedByReason,
		EventsLost:     g.events.Overruns() + g.events.Undecoded(),
		ConntrackDumps: g.counters.dumps.Load(),
		Panics:         g.counters.panics.Load(),
		Stores: []metrics.Store{
			{Name: "log", Written: g.audit.Written(), Buffered: g.audit.Buffered(), Lost: g.audit.Lost()},
			{Name: "trail", Written: g.trail.Written(), Buffered: g.trail.Buffered(), Lost: g.trail.Lost()},
		},
	}
	if answered {
		n.Held = &held
	}
	for i, q := range g.queues {
		stats := q.Stats()
		n.Panics += stats.Panics
		n.Queues = append(n.Queues, metrics.Queue{
			Num: g.config.QueueNum + uint16(i),
			Packets: map[string]uint64{
				"accepted":  g.verdicts[i].accepted.Load(),
				"rewritten": g.verdicts[i].rewritten.Load(),
				"dropped":   g.verdicts[i].dropped.Load(),
				"unseen":    g.verdicts[i].unread.Load() + stats.Bare,
			},
			Late: stats.Late, Errors: stats.Errors + stats.Malformed, Overruns: stats.Overruns,
			Kernel: inKernel(g.config.QueueNum + uint16(i)),
		})
	}
	return n
}

// inKernel is what the kernel says of a queue; nil if it may not be asked.
func inKernel(num uint16) *metrics.Kernel {
	k, err := queue.ReadKernel(num)
	if err != nil {
		return nil
	}
	return &metrics.Kernel{Waiting: k.Waiting, Dropped: k.Dropped, UserDropped: k.UserDropped}
}
