package gateway

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ftpinhole/cmd/internal/audit"
	"ftpinhole/cmd/internal/config"
	"ftpinhole/conntrack"
	"ftpinhole/rules"
)

// asGateway puts a gateway around the rig's shard and others.
func (r *rig) asGateway(others ...*shard) *Gateway {
	r.t.Helper()
	cfg := config.Default()
	log := slog.New(slog.DiscardHandler)
	g := &Gateway{config: cfg, version: "1.2.3", started: time.Now(), log: log, counters: r.shard.counters, guard: &guard{}, shards: append([]*shard{r.shard}, others...)}
	g.quota, g.outside = conntrack.NewQuota(Limits(cfg.Limits)), conntrack.NewOutside(cfg.NAT.Ports[0], cfg.NAT.Ports[1])
	g.current.Store(&g.config)
	g.ready.Store(true)
	var err error
	if g.audit, err = audit.Open(filepath.Join(r.t.TempDir(), "audit.json"), log); err != nil {
		r.t.Fatal(err)
	}
	cfg.StateDir = r.t.TempDir()
	if g.trail, err = openTrail(cfg, g.audit, log); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := g.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return g
}

// another is a shard like the rig's, which answers once it is run.
func (r *rig) another() *shard {
	s := *r.shard
	limits := Limits(config.Default().Limits)
	policy, err := rules.NewPolicy(rules.Config{ControlPorts: []uint16{21}})
	if err != nil {
		r.t.Fatal(err)
	}
	s.tracker = conntrack.New(conntrack.Config{Ports: []uint16{21}, Timeout: 30 * time.Second, Limits: limits}, Policy{policy}, conntrack.NewQuota(limits))
	s.packets, s.calls = make(chan packet, packetsWaiting), newMailbox[func()]()
	s.held = map[connection]*hold{}
	return &s
}

func TestStatusAndListsOfShardsThatAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		other := r.another()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { other.run(ctx, func() {}) })
		defer running.Wait()
		defer cancel()
		g := r.asGateway(other)
		r.passive()
		r.login(40001)
		time.Sleep(10 * time.Second)

		st := g.Status()
		if !st.Ready || st.Reason != "" || st.Sessions != 2 || st.Pinholes.Open != 1 || st.Pinholes.Opened != 1 || st.Table != "present" {
			t.Errorf("status %+v", st)
		}
		holes, err := g.Pinholes()
		if err != nil || len(holes) != 1 || holes[0].Dst != "10.0.2.2" || holes[0].DstPort != 50000 || holes[0].ExpiresIn != 20 {
			t.Errorf("pinholes %+v, %v", holes, err)
		}
		sessions, err := g.Sessions()
		if err != nil || len(sessions) != 2 || sessions[0].State != "ready" {
			t.Errorf("sessions %+v, %v", sessions, err)
		}
	})
}

// What does not answer is said, and half a list is none.
func TestStatusAndListsOfAShardThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		g := r.asGateway(r.another())
		r.passive()
		begun := time.Now()
		st := g.Status()
		if st.Ready || !strings.Contains(st.Reason, "does not answer") || st.Sessions != 1 {
			t.Errorf("status %+v", st)
		}
		if list, err := g.Pinholes(); !errors.Is(err, errBusy) || list != nil {
			t.Errorf("pinholes %v, %v", list, err)
		}
		if list, err := g.Sessions(); !errors.Is(err, errBusy) || list != nil {
			t.Errorf("sessions %v, %v", list, err)
		}
		if took := time.Since(begun); took != 3*answerTime {
			t.Errorf("three questions took %v, want a second each", took)
		}
	})
}

func TestStatusSaysWhyItIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		g := r.asGateway()
		g.ready.Store(false)
		if st := g.Status(); st.Ready || st.Reason != "starting or stopping" {
			t.Errorf("not yet ready: %+v", st)
		}
		g.ready.Store(true)
		why := "it was taken away"
		g.guard.broken.Store(&why)
		if st := g.Status(); st.Ready || st.Reason != why || st.Table != "absent" {
			t.Errorf("without the table: %+v", st)
		}
		g.guard.broken.Store(nil)
		g.config.Audit.Required = true
		if st := g.Status(); !st.Ready || st.AuditTrouble != "" {
			t.Errorf("records are kept: %+v", st)
		}
		if err := g.trail.Close(); err != nil {
			t.Fatal(err)
		}
		if st := g.Status(); st.Ready || !strings.Contains(st.Reason, "audit.required") {
			t.Errorf("records are not kept: %+v", st)
		}
		if err := g.audit.Close(); err != nil {
			t.Fatal(err)
		}
		g.record(conntrack.Record{Action: conntrack.Open})
		if st := g.Status(); st.RecordsLost != 2 || st.AuditTrouble != "the audit log is closed; the audit trail is closed" {
			t.Errorf("neither log nor trail keeps records: %+v", st)
		}
		g.config.Audit.Required = false
		if st := g.Status(); !st.Ready || st.AuditTrouble == "" {
			t.Errorf("records are not kept, which they need not be: %+v", st)
		}
	})
}

// The backend is named also by a daemon that only observes.
func TestStatusNamesTheBackend(t *testing.T) {
	for _, observe := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t, nil).asGateway()
			g.config.Observe = observe
			if got := g.status(conntrack.Counts{}, true).Backend; got != viaNft {
				t.Errorf("observing %v: backend %q, want %q", observe, got, viaNft)
			}
			g.expect = &expectations{}
			if got := g.status(conntrack.Counts{}, true).Backend; got != viaExpect {
				t.Errorf("observing %v: backend %q, want %q", observe, got, viaExpect)
			}
			g.expect = nil // for Close
		})
	}
}
