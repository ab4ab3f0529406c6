package gateway

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ftpinhole/cmd/internal/flows"
	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
)

// numbered is a data connection of its own, from a port of its own.
func numbered(id uint32, port uint16, state flows.State) flows.Flow {
	f := data(state)
	f.ID, f.Client = id, netip.AddrPortFrom(f.Client.Addr(), port)
	return f
}

// uses lists the source ports of the connections that came, by their pinholes.
func (r *rig) uses() map[string]uint16 {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]uint16)
	for _, rec := range r.records {
		if rec.Action == conntrack.Use {
			all[rec.Pinhole.ID] = rec.Pinhole.SrcPort
		}
	}
	return all
}

// Law 7: on a busy gateway a dump takes long. What events say meanwhile is
// told at once and in its order, and each use is that of its own pinhole.
func TestLaw7EventsAreReadWhileADumpRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		end := r.kernel.slowDumps()
		r.events <- flows.Event{Kind: flows.Overrun}
		a := r.passive()
		first := r.kernel.put(numbered(1, 51000, flows.SynSent))
		r.tell(flows.New, first)
		a.c("PASV")
		a.s(entering)
		second := r.kernel.put(numbered(2, 51001, flows.SynSent))
		r.tell(flows.New, second)
		want := r.uses()
		if len(want) != 2 {
			t.Fatalf("%d uses were recorded while a dump ran, want 2: %v", len(want), want)
		}

		end()
		time.Sleep(2 * reconcileEvery)
		if diff := cmp.Diff(want, r.uses()); diff != "" {
			t.Error(diff)
		}
		ports := []uint16{51000, 51001}
		for id, port := range want {
			if i := id[len(id)-1] - '1'; ports[i] != port {
				t.Errorf("pinhole %s was used from port %d, want %d", id, port, ports[i])
			}
		}
	})
}

// Law 7: a dump that began earlier still shows a connection that is gone by now.
// It is no use of the pinhole that has its ports next.
func TestLaw7WhatIsGoneIsNotToldByALateDump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.passive()
		first := r.kernel.put(data(flows.SynSent))
		r.tell(flows.New, first)
		end := r.kernel.slowDumps()
		r.events <- flows.Event{Kind: flows.Overrun}
		r.tell(flows.Destroy, first)
		if err := r.kernel.Delete(first); err != nil {
			t.Fatal(err)
		}
		a.c("PASV")
		a.s(entering)

		end()
		want := []string{"open", "use", "close finished", "open"}
		if diff := cmp.Diff(want, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

// Events that are lost ask for a dump, and a dump makes no events be lost: however
// often they are while one runs, one more follows it.
func TestDumpsDoNotFeedEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		end := r.kernel.slowDumps()
		for range 50 {
			r.events <- flows.Event{Kind: flows.Overrun}
		}
		r.passive()
		r.backend.syn()
		time.Sleep(5 * time.Second) // sought many times over
		end()
		synctest.Wait()
		if got := r.conns.counters.dumps.Load(); got != 2 {
			t.Errorf("%d dumps were made, want 2", got)
		}
	})
}
