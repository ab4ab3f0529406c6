package gateway

import (
	"os"
	"sync"
	"time"

	"ftpinhole/cmd/internal/control"
	"ftpinhole/conntrack"
)

// answerTime is how long a shard may take to answer a question.
const answerTime = time.Second

// ask runs f in the shard's goroutine and reports whether it did in time.
func (s *shard) ask(f func(now time.Time)) bool {
	done := make(chan struct{})
	s.calls.put(func() {
		defer close(done)
		f(s.clock())
	})
	select {
	case <-done:
		return true
	case <-time.After(answerTime):
		return false
	}
}

// counts is how much the shards hold, and whether all answered in time.
func (g *Gateway) counts() (sum conntrack.Counts, all bool) {
	answers := make(chan conntrack.Counts, len(g.shards))
	var asked sync.WaitGroup
	for _, s := range g.shards { // at once: those that are stuck take their second together
		asked.Go(func() { s.ask(func(time.Time) { answers <- s.tracker.Counts() }) })
	}
	asked.Wait()
	n := len(answers) // one that comes late is not waited for
	for range n {
		c := <-answers
		sum.Sessions += c.Sessions
		sum.HalfOpen += c.HalfOpen
		sum.Pinholes += c.Pinholes
		sum.Data += c.Data
	}
	return sum, n == len(g.shards)
}

// Status says how the daemon is.
func (g *Gateway) Status() control.Status { return g.status(g.counts()) }

func (g *Gateway) status(held conntrack.Counts, answered bool) control.Status {
	config := g.current.Load()
	st := control.Status{
		Ready: g.ready.Load(), Version: g.version, PID: os.Getpid(), Since: g.started,
		Backend: g.backend(), QueueNum: int(config.QueueNum), Queues: len(g.shards),
		Ports: config.Ports, Hooks: config.Hooks, Observe: config.Observe,
		Table:          "present",
		Packets:        g.counters.packets.Load(),
		Overruns:       g.counters.overruns.Load(),
		RecordsWaiting: g.audit.Buffered() + g.trail.Buffered(), RecordsLost: g.audit.Lost() + g.trail.Lost(),
	}
	unrecorded := g.unrecorded()
	if unrecorded != nil {
		st.AuditTrouble = unrecorded.Error()
	}
	st.Pinholes.Opened = g.counters.opened.Load()
	st.Pinholes.Used = g.counters.used.Load()
	st.Pinholes.Refused = g.counters.refused.Load()
	st.RefusedByReason = g.counters.refusals.all()
	for _, q := range g.queues {
		stats := q.Stats()
		st.VerdictErrors += stats.Late + stats.Errors
		st.Overruns += stats.Overruns
	}
	st.Sessions, st.HalfOpen, st.Pinholes.Open = held.Sessions, held.HalfOpen, held.Pinholes
	if !answered {
		st.Ready, st.Reason = false, errBusy.Error()
	}
	switch broken := g.guard.broken.Load(); {
	case broken != nil:
		st.Ready, st.Reason, st.Table = false, *broken, "absent"
	case g.config.Audit.Required && st.Ready && unrecorded != nil:
		st.Ready, st.Reason = false, "nothing is opened that cannot be recorded (audit.required): "+unrecorded.Error()
	case !st.Ready && st.Reason == "":
		st.Reason, st.Table = "starting or stopping", "absent"
	}
	return st
}

// Pinholes lists the open pinholes and the data connections that used them.
// It fails when a shard or the kernel does not answer.
func (g *Gateway) Pinholes() ([]control.PinholeInfo, error) {
	var list []control.PinholeInfo
	now := time.Now()
	for _, s := range g.shards {
		answer := make(chan []conntrack.PinholeState, 1)
		if !s.ask(func(time.Time) { answer <- s.tracker.Pinholes() }) {
			return nil, errBusy
		}
		for _, p := range <-answer {
			r := p.Record
			info := control.PinholeInfo{
				ID: r.Pinhole.ID, FlowID: r.FlowID,
				Client: r.Client.String(), Server: r.Server.String(), User: r.User,
				Mode: r.Mode.String(), Command: r.Command,
				Src: r.Pinhole.Src.String(), FromPort: r.Pinhole.FromPort, SrcPort: r.Pinhole.SrcPort,
				Dst: r.Pinhole.Dst.Addr().String(), DstPort: r.Pinhole.Dst.Port(),
				Backend: r.Pinhole.Backend, State: p.State, Opened: r.Time,
			}
			if r.Pinhole.Outside.IsValid() {
				info.Outside = r.Pinhole.Outside.String()
			}
			if r.Pinhole.SeenAs.IsValid() {
				info.SeenAs = r.Pinhole.SeenAs.String()
			}
			if r.Pinhole.SrcPort == 0 {
				info.ExpiresIn = max(0, p.Expires.Sub(now).Seconds())
			}
			list = append(list, info)
		}
	}
	return list, g.expect.readBack(list)
}

// Sessions lists the control sessions. It fails when a shard does not answer.
func (g *Gateway) Sessions() ([]control.SessionInfo, error) {
	var list []control.SessionInfo
	for _, s := range g.shards {
		answer := make(chan []conntrack.SessionState, 1)
		if !s.ask(func(time.Time) { answer <- s.tracker.Sessions() }) {
			return nil, errBusy
		}
		for _, c := range <-answer {
			info := control.SessionInfo{
				FlowID: c.FlowID, Client: c.Client.String(), Server: c.Server.String(), User: c.User,
				State: c.State, Since: c.Started, Pinholes: c.Opened, Denied: c.Denied, Rewritten: c.Rewritten,
			}
			if nat := c.Translation; nat.Server.IsValid() && nat.Server != c.Server {
				info.NATServer = nat.Server.String()
			}
			if nat := c.Translation; nat.Client.IsValid() && nat.Client != c.Client {
				info.NATClient = nat.Client.String()
			}
			list = append(list, info)
		}
	}
	return list, nil
}
