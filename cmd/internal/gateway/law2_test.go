package gateway

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
)

// panics is a policy with a bug.
type panics struct{}

func (panics) Terms(netip.Addr, netip.Addr) conntrack.Terms { return conntrack.Terms{} }
func (panics) Decide(conntrack.Request) conntrack.Reason    { panic("a bug") }

func TestLaw2PanicCostsOneInspection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, panics{})
		a := r.login(40000)
		if got := a.c("PORT 10,0,1,2,195,80").verdicts(); got != 1 {
			t.Errorf("the packet has %d verdicts, want 1", got)
		}
		if got := r.shard.counters.panics.Load(); got != 1 {
			t.Errorf("%d panics were counted, want 1", got)
		}
		if log := r.log.String(); !strings.Contains(log, "a bug") || !strings.Contains(log, "conntrack.(*Tracker)") {
			t.Errorf("the log does not say what panicked, and where: %s", log)
		}
		if got := a.c("NOOP").verdicts(); got != 1 {
			t.Errorf("the next packet has %d verdicts, want 1", got)
		}
		if got := r.login(40001).c("NOOP").verdicts(); got != 1 {
			t.Errorf("a new session's packet has %d verdicts, want 1", got)
		}
	})
}

func TestLaw2WhatCannotBeReadGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for name, payload := range map[string][]byte{
			"nothing": nil, "noise": []byte("no IP at all"),
			"another port": ip4(netip.MustParseAddrPort("10.0.1.2:40000"), netip.MustParseAddrPort("10.0.2.2:80"), 1, 1, conntrack.ACK, "GET /"),
		} {
			if got := r.send(&fakePacket{payload: payload}).verdicts(); got != 1 {
				t.Errorf("%s: %d verdicts, want 1", name, got)
			}
		}
	})
}

func TestLaw2PanicInAnAnswerHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		a.c("PASV")
		r.breakRecords()
		if got := a.s(entering).verdicts(); got != 1 {
			t.Errorf("the packet has %d verdicts, want 1", got)
		}
		if got := r.shard.counters.panics.Load(); got != 1 {
			t.Errorf("%d panics were counted, want 1", got)
		}
	})
}

func TestLaw2PanicWhileGivingUpHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		a.c("PASV")
		r.backend.hang()
		held, behind := a.s(entering), a.c("NOOP")
		r.breakRecords()
		waitPatience()
		if held.verdicts() != 1 || behind.verdicts() != 1 {
			t.Error("packets wait for ever behind a panic")
		}
	})
}

// breakRecords makes every record panic from now on.
func (r *rig) breakRecords() {
	r.shard.calls.put(func() { r.shard.record = func(conntrack.Record) { panic("a bug") } })
	synctest.Wait()
}

func TestLaw2PanicBeforeTheTracker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.send(&fakePacket{broken: true})
		r.login(40000).c("NOOP")
	})
}

func TestLaw2StoppingAcceptsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		a.c("PASV")
		r.backend.hang()
		held, behind := a.s(entering), a.c("NOOP")
		r.backend.release()
		r.stop()
		if held.verdicts() != 1 || behind.verdicts() != 1 {
			t.Error("held packets have no verdict after the stop, or two")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range packetsWaiting + 1 { // one more than there is room for
			r.shard.hand(ctx, &fakePacket{payload: []byte{}})
		}
		r.shard.releaseAll()
		if len(r.shard.packets) != 0 {
			t.Error("packets are left without a verdict")
		}
	})
}

func TestNothingBeginsAfterTheRecordsHaveEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.passive()
		r.login(40001)
		if !r.shard.ask(r.shard.stop) {
			t.Fatal("the shard does not answer")
		}
		a.c("PASV") // the queue had these
		if a.s(entering).verdicts() != 1 {
			t.Error("a packet waits after the end")
		}
		r.login(40002)
		if diff := cmp.Diff([]string{"open", "close stopped"}, r.said()); diff != "" {
			t.Error(diff)
		}
		starts, ends := 0, 0
		for _, rec := range r.records {
			switch rec.Action {
			case conntrack.Start:
				starts++
			case conntrack.End:
				ends++
			}
		}
		if starts != 2 || ends != 2 {
			t.Errorf("%d sessions have begun and %d have ended, want 2", starts, ends)
		}
	})
}
