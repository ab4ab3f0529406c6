package gateway

import (
	"fmt"
	"slices"
	"time"

	"ftpinhole/cmd/internal/config"
	"ftpinhole/cmd/internal/control"
	"ftpinhole/rules"
)

// Reload puts another configuration into effect: ports, hooks, times, limits
// and policy. Sessions and pinholes stay. After an error, which wraps
// control.ErrBadConfig if the configuration is to blame, nothing has changed.
func (g *Gateway) Reload(next config.Config) error {
	g.reload.Lock()
	defer g.reload.Unlock()
	now := g.current.Load()
	if key := fixed(now, &next); key != "" {
		return fmt.Errorf("%w: %s cannot change while the daemon runs; change it back, or restart the daemon", control.ErrBadConfig, key)
	}
	policy, err := next.NewPolicy()
	if err != nil {
		return fmt.Errorf("%w: %w", control.ErrBadConfig, err)
	}
	before, err := now.NewPolicy()
	if err != nil {
		return err
	}
	// First the shards, which must know a port before its packets come.
	err = g.reconfigure(&next, policy)
	if err == nil {
		err = g.table.Reconfigure(g.tableConfig(next, policy), time.Now())
	}
	if err != nil {
		_ = g.reconfigure(now, before) // a shard that does not answer does it when it turns again
		return err
	}
	g.current.Store(&next)
	if _, err := g.joinHeld(unread(now, &next)); err != nil {
		g.log.Error("control connections that are there already are not followed", "ports", unread(now, &next), "err", err)
	}
	g.log.Info("the configuration was reloaded", "ports", next.Ports, "hooks", next.Hooks)
	return nil
}

// reconfigure gives the trackers a configuration. After an error some have it,
// and the others take it, or what they are given after it, when they turn again.
func (g *Gateway) reconfigure(c *config.Config, policy *rules.Policy) error {
	limits := Limits(c.Limits)
	g.quota.SetLimits(limits)
	g.outside.SetRange(c.NAT.Ports[0], c.NAT.Ports[1])
	for _, s := range g.shards {
		if !s.ask(func(time.Time) {
			s.tracker.Reconfigure(c.Ports, c.PinholeTimeout.Duration, c.PinholeTimeoutMax.Duration, limits, Policy{policy})
		}) {
			return errBusy
		}
	}
	return nil
}

// unread are the ports of next whose sessions were not read until now.
func unread(now, next *config.Config) []uint16 {
	for _, hook := range next.Hooks {
		if !slices.Contains(now.Hooks, hook) {
			return next.Ports
		}
	}
	var ports []uint16
	for _, p := range next.Ports {
		if !slices.Contains(now.Ports, p) {
			ports = append(ports, p)
		}
	}
	return ports
}

// fixed names a key that differs and cannot change while the daemon runs.
func fixed(now, next *config.Config) string {
	for _, c := range []struct {
		key  string
		same bool
	}{
		{"queue_num", now.QueueNum == next.QueueNum},
		{"queues", now.QueueCount() == next.QueueCount()},
		{"backend", now.Backend == next.Backend},
		{"mark", now.Mark == next.Mark},
		{"socket", now.Socket == next.Socket},
		{"state_dir", now.StateDir == next.StateDir},
		{"audit_log", now.AuditLog == next.AuditLog},
		{"metrics", now.Metrics == next.Metrics},
		{"log_format", now.LogFormat == next.LogFormat},
		{"fail", now.Fail == next.Fail},
		{"observe", now.Observe == next.Observe},
		{"audit", now.Audit == next.Audit},
	} {
		if !c.same {
			return c.key
		}
	}
	return ""
}
