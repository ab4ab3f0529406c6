package gateway

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"

	"ftpinhole/conntrack"
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
			p := &fakePacket{payload: payload}
			r.shard.hand(t.Context(), p)
			if got := p.verdicts(); got != 1 {
				t.Errorf("%s: %d verdicts, want 1", name, got)
			}
		}
	})
}

func TestLaw2PanicInAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		a.c("PASV")
		r.shard.calls.put(func() { r.shard.record = func(conntrack.Record) { panic("a bug") } })
		synctest.Wait()
		p := a.s(entering)
		if got := p.verdicts(); got != 0 {
			t.Fatalf("%d verdicts before the panic was noticed", got)
		}
		if r.shard.counters.panics.Load() == 0 {
			t.Fatal("nothing panicked")
		}
		r.shard.calls.put(func() { r.shard.record = func(conntrack.Record) {} })
		synctest.Wait()
		waitPatience()
		if got := p.verdicts(); got != 1 {
			t.Errorf("the held packet has %d verdicts, want 1", got)
		}
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
