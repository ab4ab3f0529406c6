package gateway

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ftpinhole/cmd/internal/flows"
	"ftpinhole/conntrack"
	"ftpinhole/rules"

	"github.com/google/go-cmp/cmp"
)

func waitPatience() { time.Sleep(kernelPatience + 3*tick) }

// data is a data connection as conntrack shows it.
func data(state flows.State) flows.Flow {
	return flows.Flow{
		Client: netip.MustParseAddrPort("10.0.1.2:51000"), Server: netip.MustParseAddrPort("10.0.2.2:50000"),
		Mark: 0x10000000, State: state, ID: 7,
	}
}

func (r *rig) tell(kind flows.Kind, f flows.Flow) {
	r.events <- flows.Event{Kind: kind, Flow: f}
	synctest.Wait()
}

// passive opens a pinhole for 10.0.1.2 to 10.0.2.2:50000.
func (r *rig) passive() *dialogue {
	a := r.login(40000)
	a.c("PASV")
	a.s(entering)
	return a
}

func TestLaw7DataConnectionFromOpenToClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.passive()
		r.tell(flows.New, r.kernel.put(data(flows.SynSent)))
		r.tell(flows.Update, r.kernel.put(data(flows.Established)))
		over := data(flows.TimeWait)
		over.Counted, over.BytesOrig, over.BytesReply = true, 100, 2000
		over = r.kernel.put(over)
		r.tell(flows.Update, over)
		r.tell(flows.Destroy, over) // late, and once more
		if diff := cmp.Diff([]string{"open", "use", "close finished"}, r.said()); diff != "" {
			t.Error(diff)
		}
		last := r.records[len(r.records)-1]
		if !last.Counted || last.BytesToServer != 100 || last.BytesToClient != 2000 || last.Pinhole.SrcPort != 51000 {
			t.Errorf("the last record is %+v", last)
		}
		if diff := cmp.Diff([]string{"add 10.0.2.2:50000", "remove 10.0.2.2:50000"}, r.backend.did()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLaw7BytesOfActiveModeAreTheServersAndTheClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.login(40000).c("PORT 10,0,1,2,195,80")
		f := flows.Flow{Client: netip.MustParseAddrPort("10.0.2.2:20"), Server: netip.MustParseAddrPort("10.0.1.2:50000"), Mark: 0x10000000, State: flows.SynSent}
		r.tell(flows.New, r.kernel.put(f))
		f.State, f.Counted, f.BytesOrig, f.BytesReply = flows.Close, true, 2000, 100
		r.tell(flows.Update, r.kernel.put(f))
		last := r.records[len(r.records)-1]
		if last.BytesToServer != 100 || last.BytesToClient != 2000 {
			t.Errorf("to the server %d, to the client %d; want 100 and 2000", last.BytesToServer, last.BytesToClient)
		}
	})
}

func TestLaw4UnansweredConnectionGoesWithItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.passive()
		f := r.kernel.put(data(flows.SynSent))
		r.tell(flows.New, f)
		a.c("QUIT")
		a.s("221 bye")
		if diff := cmp.Diff([]string{"open", "use", "close logout"}, r.said()); diff != "" {
			t.Error(diff)
		}
		if len(r.kernel.deleted) != 1 {
			t.Errorf("%d connections were deleted, want 1", len(r.kernel.deleted))
		}
	})
}

func TestLaw4AnsweredConnectionOutlivesItsSession(t *testing.T) {
	for _, state := range []flows.State{flows.SynRecv, flows.Established} {
		t.Run(state.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				a := r.passive()
				r.tell(flows.New, r.kernel.put(data(flows.SynSent)))
				r.kernel.put(data(state)) // its event is still on the way
				a.c("QUIT")
				a.s("221 bye")
				if len(r.kernel.deleted) != 0 {
					t.Error("a connection that was answered was deleted")
				}

				r.tell(flows.Update, data(state))
				r.tell(flows.Update, r.kernel.put(data(flows.TimeWait)))
				if diff := cmp.Diff([]string{"open", "use", "close finished"}, r.said()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// The event that a connection was answered comes before the session's end.
func TestLaw4AnsweredConnectionIsNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.passive()
		r.tell(flows.New, r.kernel.put(data(flows.SynSent)))
		r.tell(flows.Update, r.kernel.put(data(flows.SynRecv)))
		a.c("QUIT")
		a.s("221 bye")
		r.tell(flows.Update, r.kernel.put(data(flows.Close)))
		if diff := cmp.Diff([]string{"open", "use", "close finished"}, r.said()); diff != "" {
			t.Error(diff)
		}
		if len(r.kernel.deleted) != 0 {
			t.Error("a connection that was answered was deleted")
		}
	})
}

func TestEventsOfAnOlderConnectionUseNoPinhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.passive()
		old := data(flows.TimeWait)
		old.Client = netip.MustParseAddrPort("10.0.1.2:49999")
		r.tell(flows.Update, r.kernel.put(old))
		r.tell(flows.Destroy, old)
		if diff := cmp.Diff([]string{"open"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestBlockedWhenNoConnectionFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.passive()
		r.backend.mu.Lock()
		r.backend.arrived = true
		r.backend.mu.Unlock()
		// Four times at most 0.2 s to hear of it and 0.4 s for the connection to
		// show, and once more at the end.
		time.Sleep(3 * time.Second)
		if diff := cmp.Diff([]string{"open", "close blocked"}, r.said()); diff != "" {
			t.Error(diff)
		}
		const hole = "10.0.2.2:50000"
		if diff := cmp.Diff([]string{"add " + hole, "rearm " + hole, "rearm " + hole, "rearm " + hole, "remove " + hole}, r.backend.did()); diff != "" {
			t.Error(diff)
		}
	})
}

// A SYN that is dropped behind our table, by a rate limit say, has a second try
// before TCP repeats it.
func TestSYNThatWasDroppedHasAnotherTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.passive()
		for range 2 {
			r.backend.syn()
			time.Sleep(900 * time.Millisecond)
		}
		const hole = "10.0.2.2:50000"
		if diff := cmp.Diff([]string{"add " + hole, "rearm " + hole, "rearm " + hole}, r.backend.did()); diff != "" {
			t.Error(diff)
		}
		r.backend.syn()
		r.tell(flows.New, r.kernel.put(data(flows.SynSent)))
		r.tell(flows.Update, r.kernel.put(data(flows.TimeWait)))
		if diff := cmp.Diff([]string{"open", "use", "close finished"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

// Law 4: a pinhole with a connection is never armed again, also when the
// connection's event got lost.
func TestLaw4NothingIsArmedAgainBesideItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.passive()
		r.backend.syn()
		r.kernel.put(data(flows.SynSent)) // no event of it came
		time.Sleep(900 * time.Millisecond)
		if diff := cmp.Diff([]string{"open", "use"}, r.said()); diff != "" {
			t.Error(diff)
		}
		const hole = "10.0.2.2:50000"
		if diff := cmp.Diff([]string{"add " + hole, "remove " + hole}, r.backend.did()); diff != "" {
			t.Error(diff)
		}
	})
}

// While nobody can tell whether there is a connection, nothing is armed again.
func TestLaw4NothingIsArmedAgainUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.passive()
		r.kernel.mu.Lock()
		r.kernel.deaf = errors.New("no memory")
		r.kernel.mu.Unlock()
		r.backend.syn()
		time.Sleep(5 * time.Second)
		const hole = "10.0.2.2:50000"
		if diff := cmp.Diff([]string{"add " + hole}, r.backend.did()); diff != "" {
			t.Error(diff)
		}
		r.kernel.mu.Lock()
		r.kernel.deaf = nil
		r.kernel.mu.Unlock()
		time.Sleep(time.Second)
		r.stop()
		if n := strings.Count(r.log.String(), "conntrack could not be read"); n != 1 {
			t.Errorf("the log says it %d times", n)
		}
		if diff := cmp.Diff([]string{"add " + hole, "rearm " + hole}, r.backend.did()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOverrunIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.passive()
		r.kernel.put(data(flows.Established)) // no event of it came
		r.tell(flows.Overrun, flows.Flow{})
		if diff := cmp.Diff([]string{"open", "use"}, r.said()); diff != "" {
			t.Error(diff)
		}
		r.kernel.mu.Lock()
		clear(r.kernel.have)
		r.kernel.mu.Unlock()
		time.Sleep(reconcileEvery + time.Second)
		if diff := cmp.Diff([]string{"open", "use", "close finished"}, r.said()); diff != "" {
			t.Error(diff)
		}
		for i, want := range []bool{false, false, true, true} { // start, open, use, close
			if got := r.records[i].Reconstructed; got != want {
				t.Errorf("record %d: made up from a dump: %v, want %v", i, got, want)
			}
		}
	})
}

// A pinhole may wait long for its connection: one that comes while conntrack
// is asked is not in the answer.
func TestConnectionThatBeginsDuringADumpIsNotEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.passive()
		time.Sleep(10 * time.Second)
		dump := func() {
			asked := time.Now()
			r.shard.calls.put(func() { r.shard.reconcile(map[connection]bool{}, asked, time.Now()) })
			synctest.Wait()
		}
		r.tell(flows.New, r.kernel.put(data(flows.SynSent)))
		dump()
		if diff := cmp.Diff([]string{"open", "use"}, r.said()); diff != "" {
			t.Error(diff)
		}
		time.Sleep(2 * time.Second)
		dump()
		if diff := cmp.Diff([]string{"open", "use", "close finished"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestConnectionMissedAltogetherIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.passive()
		over := data(flows.TimeWait)
		over.Counted, over.BytesReply = true, 2000
		over = r.kernel.put(over)
		r.tell(flows.Overrun, flows.Flow{}) // came and went meanwhile
		want := []string{"open", "use", "close finished"}
		if diff := cmp.Diff(want, r.said()); diff != "" {
			t.Error(diff)
		}
		if last := r.records[len(r.records)-1]; !last.Reconstructed || last.BytesToClient != 2000 {
			t.Errorf("the last record is %+v", last)
		}
		// Its events were only late; the port is open for the next by now.
		a.c("PASV")
		a.s(entering)
		over.State = flows.SynSent
		r.tell(flows.New, over)
		r.tell(flows.Overrun, flows.Flow{})
		over.State = flows.TimeWait
		r.tell(flows.Update, over)
		if diff := cmp.Diff(append(want, "open"), r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

// A connection that a dump shows at its end had been answered, whatever the
// session has done since: it was not withdrawn.
func TestConnectionMissedBeforeLogoutIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.passive()
		r.backend.mu.Lock()
		r.backend.arrived = true
		r.backend.mu.Unlock()
		a.c("QUIT")
		a.s("221 bye")
		r.kernel.put(data(flows.TimeWait))
		r.tell(flows.Overrun, flows.Flow{})
		if diff := cmp.Diff([]string{"open", "use", "close finished"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestConnectionFromBeforeTheStartUsesNoPinhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, data(flows.Established))
		r.passive()
		r.tell(flows.Overrun, flows.Flow{})
		r.tell(flows.Update, r.kernel.put(data(flows.TimeWait)))
		if diff := cmp.Diff([]string{"open"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestKnownConnectionsAreAsManyAsTheKernelHas(t *testing.T) {
	for wait, want := range map[time.Duration]int{0: 500, reconcileEvery + time.Second: 0} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			for id := range uint32(1000) {
				f := data(flows.SynSent)
				f.ID = id
				r.tell(flows.New, f)
				if id < 500 { // of the others, the end is lost
					r.tell(flows.Destroy, f)
				}
			}
			time.Sleep(wait)
			r.stop()
			if got := len(r.conns.known); got != want {
				t.Errorf("after %v %d connections are known, want %d", wait, got, want)
			}
		})
	}
}

func TestSessionEndsWhenConntrackSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.passive()
		f := flows.Flow{Client: a.client, Server: a.server, ReplySrc: a.server, ReplyDst: a.client, Mark: controlMark, State: flows.Established}
		live := r.kernel.put(f)
		r.tell(flows.Destroy, f) // an older one's: this one lives
		if got := r.shard.counters.closes.all(); len(got) != 0 {
			t.Fatal("a session ended that conntrack still holds")
		}
		r.kernel.mu.Lock()
		delete(r.kernel.have, connection{live.Client, live.Server})
		r.kernel.mu.Unlock()
		time.Sleep(time.Second)
		r.tell(flows.Destroy, f)
		if diff := cmp.Diff([]string{"open", "close session_end"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

// A control connection that conntrack forgets and picks up again is the same
// session, whichever the daemon hears of first.
func TestLaw6SessionThatConntrackPicksUp(t *testing.T) {
	for name, picksUp := range map[string]bool{"told first": false, "picked up first": true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			a := r.passive()
			f := flows.Flow{Client: a.client, Server: a.server, ReplySrc: a.server, ReplyDst: a.client, Mark: controlMark, State: flows.Established}
			if picksUp {
				a.c("NOOP")
				r.kernel.put(f)
			}
			r.tell(flows.Destroy, f)
			if !picksUp {
				a.c("NOOP")
				r.kernel.put(f)
			}
			a.s("200 ok")
			a.c("PASV")
			a.s(entering)
			var flowIDs []uint64
			for _, rec := range r.records {
				if !slices.Contains(flowIDs, rec.FlowID) {
					flowIDs = append(flowIDs, rec.FlowID)
				}
				if rec.Action == conntrack.End {
					t.Errorf("%s: the session ended", name)
				}
			}
			if said := r.said(); said[len(said)-1] != "open" || len(flowIDs) != 1 {
				t.Errorf("%s: %q, flow ids %d", name, said, flowIDs)
			}
		})
	}
}

// The server spoke first: conntrack has the connection the other way round, and
// its packets are not read. When the client's are, they do not go on where it
// stood.
func TestLaw6SessionThatIsTurnedRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		f := flows.Flow{Client: a.client, Server: a.server, ReplySrc: a.server, ReplyDst: a.client, Mark: controlMark, State: flows.Established}
		r.kernel.mu.Lock()
		r.kernel.have[connection{a.client, a.server}] = flows.Flow{Client: a.server, Server: a.client, ReplySrc: a.client, ReplyDst: a.server, State: flows.Established}
		r.kernel.mu.Unlock()
		r.tell(flows.Destroy, f)
		a.down += 10 // unseen
		a.c("PORT 10,0,1,2,195,80")
		if diff := cmp.Diff([]string{"deny out_of_step"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

// A session of another client may have the addresses outside that conntrack gave
// away: it keeps its directions in the kernel when the forgotten one is dropped.
func TestLaw6DirectionsBelongToTheNewerSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.masquerade()
		old := r.login(40000)
		old.c("PORT 10,0,1,2,195,80")
		f := flows.Flow{Client: old.client, Server: old.server, ReplySrc: old.server, ReplyDst: r.nat.flow.ReplyDst, Mark: controlMark}
		r.tell(flows.Destroy, f)
		next := r.dialFrom("10.0.1.7", 40001)
		next.login()
		next.c("PORT 10,0,1,7,195,80")
		r.later(25 * time.Hour)
		r.table.mu.Lock()
		defer r.table.mu.Unlock()
		for _, tuple := range []rules.Tuple{{Src: next.server, Dst: r.nat.flow.ReplyDst}, {Src: next.client, Dst: next.server}, {Src: next.server, Dst: next.client}} {
			if !r.table.have[tuple] {
				t.Errorf("%v is gone", tuple)
			}
		}
		if r.table.have[rules.Tuple{Src: old.client, Dst: old.server}] {
			t.Error("the forgotten session's own direction stays")
		}
	})
}

// What is remembered of connections that are translated twice is not believed
// when conntrack does not hold them any more.
func TestTwiceTranslatedAndGone(t *testing.T) {
	f := flows.Flow{
		Client: netip.MustParseAddrPort("10.0.1.2:40000"), Server: netip.MustParseAddrPort("198.51.100.1:2121"),
		ReplySrc: netip.MustParseAddrPort("10.0.2.2:21"), ReplyDst: netip.MustParseAddrPort("10.0.2.1:1024"), ID: 7,
	}
	next := f
	next.ReplyDst = netip.MustParseAddrPort("10.0.2.1:1025")
	asks := &translations{kernel: &fakeTranslator{gone: 7, flow: &next}, twice: &twice{}}
	asks.twice.take(flows.Event{Kind: flows.New, Flow: f})
	if got, err := asks.find(f.Ends()); err != nil || got.Client != next.ReplyDst {
		t.Errorf("%v (%v), want what conntrack holds now", got, err)
	}
}

func TestSilentSessionIsKeptWhileConntrackHoldsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		f := r.kernel.put(flows.Flow{Client: a.client, Server: a.server, Mark: controlMark, State: flows.Established})
		time.Sleep(3 * time.Hour)
		a.c("PASV")
		a.s(entering)
		if diff := cmp.Diff([]string{"open"}, r.said()); diff != "" {
			t.Error(diff)
		}
		if err := r.kernel.Delete(f); err != nil {
			t.Fatal(err)
		}
		time.Sleep(idleAfter + 2*reconcileEvery)
		synctest.Wait()
		if all := r.shard.tracker.Sessions(); len(all) != 1 || all[0].State != "forgotten" {
			t.Errorf("it may go on, but the sessions are %+v", all)
		}
		r.later(25 * time.Hour)
		if n := r.shard.tracker.Counts().Sessions; n != 0 {
			t.Errorf("%d sessions are kept for ever that conntrack has forgotten", n)
		}
	})
}

// Law 6: a session that another gateway's conntrackd brought is joined, as those
// are that were there at the start; one that is seen in the middle without is not.
func TestLaw6SessionThatWasBroughtIsJoined(t *testing.T) {
	for brought, want := range map[bool][]string{true: {"open"}, false: {"deny out_of_step"}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			d := &dialogue{r: r, client: netip.MustParseAddrPort("10.0.1.2:40000"), server: netip.MustParseAddrPort("10.0.2.2:21"), up: 1000, down: 5000}
			f := r.kernel.put(flows.Flow{Client: d.client, Server: d.server, Mark: controlMark, State: flows.Established})
			r.events <- flows.Event{Kind: flows.New, Flow: f, Brought: brought}
			synctest.Wait()
			d.c("NOOP")
			d.s("200 ok")
			d.c("PORT 10,0,1,2,195,80")
			if diff := cmp.Diff(want, r.said()); diff != "" {
				t.Errorf("brought %v: %s", brought, diff)
			}
		})
	}
}

func TestJoinableOnce(t *testing.T) {
	var j joinable
	c, s := netip.MustParseAddrPort("10.0.1.2:40000"), netip.MustParseAddrPort("10.0.2.2:21")
	j.add(c, s)
	if j.take(s, c) || !j.take(c, s) || j.take(c, s) {
		t.Error("a connection may be joined once, as client and server were")
	}
}

// That conntrack cannot be read does not mean that there is no connection.
func TestLaw4ConnectionIsSoughtUntilConntrackCanBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.passive()
		f := r.kernel.put(data(flows.SynSent)) // its event is late
		r.backend.syn()
		deaf := func(err error) {
			r.kernel.mu.Lock()
			defer r.kernel.mu.Unlock()
			r.kernel.deaf = err
		}
		deaf(errors.New("no"))
		a.c("QUIT")
		a.s("221 bye")
		time.Sleep(500 * time.Millisecond)
		deaf(nil)
		r.tell(flows.New, f)
		if diff := cmp.Diff([]string{"open", "use", "close logout"}, r.said()); diff != "" {
			t.Error(diff)
		}
		if len(r.kernel.deleted) != 1 {
			t.Error("the unanswered data connection outlives its session")
		}
	})
}

// A server connects from port 20 to the client's port again, and the end of the
// first connection was lost.
func TestLaw4SameAddressesAndPortsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		d := r.login(40000)
		f := flows.Flow{Client: netip.MustParseAddrPort("10.0.2.2:20"), Server: netip.MustParseAddrPort("10.0.1.2:50000"), Mark: 0x10000000}
		for id := range uint32(2) {
			d.c("PORT 10,0,1,2,195,80")
			d.s("200 ok")
			r.backend.syn()
			if id == 1 {
				r.tell(flows.Overrun, flows.Flow{})
			}
			f.ID, f.State = id+1, flows.SynSent
			r.tell(flows.New, r.kernel.put(f))
			f.State = flows.Established
			r.tell(flows.Update, r.kernel.put(f))
		}
		time.Sleep(time.Second)
		f.State = flows.TimeWait
		r.tell(flows.Update, r.kernel.put(f))
		if diff := cmp.Diff([]string{"open", "use", "open", "close finished", "use", "close finished"}, r.said()); diff != "" {
			t.Error(diff)
		}
		for _, did := range r.backend.did() {
			if strings.HasPrefix(did, "rearm") {
				t.Error("the second pinhole was armed for another connection beside its own")
			}
		}
	})
}
