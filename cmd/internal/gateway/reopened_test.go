package gateway

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ftpinhole/cmd/internal/flows"
	"ftpinhole/rules/nft"

	"github.com/google/go-cmp/cmp"
)

// fromPort20 is an active data connection as conntrack shows it.
func fromPort20(state flows.State) flows.Flow {
	return flows.Flow{
		Client: netip.MustParseAddrPort("10.0.2.2:20"), Server: netip.MustParseAddrPort("10.0.1.2:50000"),
		Mark: 0x10000000, State: state, ID: 9, Counted: true,
	}
}

// again is what conntrack shows of f when a SYN has opened it again: the mark has
// changed, and nothing else.
func again(f flows.Flow) flows.Flow {
	f.Mark ^= nft.ReopenMark
	f.State = flows.None // an event has only what changed
	return f
}

// Law 7: a connection that conntrack takes for one that was closed is recorded as
// the one that it is, with its own bytes.
func TestLaw7ConnectionInAClosedEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		f := r.kernel.put(fromPort20(flows.SynSent))
		bytes := []uint64{100, 250, 260}
		for i, total := range bytes {
			a.c("PORT 10,0,1,2,195,80")
			a.s("200 ok")
			if i == 0 {
				r.tell(flows.New, f)
			} else {
				f = again(f)
				r.tell(flows.Update, f)
				r.tell(flows.Update, f) // another program's change, say
				f.State = flows.SynRecv
				r.tell(flows.Update, r.kernel.put(f))
			}
			f.State = flows.Established
			r.tell(flows.Update, r.kernel.put(f))
			f.State, f.BytesOrig = flows.Close, total
			r.tell(flows.Update, r.kernel.put(f))
		}
		want := []string{"open", "use", "close finished", "open", "use", "close finished", "open", "use", "close finished"}
		if diff := cmp.Diff(want, r.said()); diff != "" {
			t.Error(diff)
		}
		var got []uint64
		for _, rec := range r.records {
			if rec.Reason == "finished" {
				got = append(got, rec.BytesToClient)
			}
		}
		if diff := cmp.Diff([]uint64{100, 150, 10}, got); diff != "" {
			t.Errorf("bytes: %s", diff)
		}
	})
}

// The event is lost: the next dump tells.
func TestLaw7ConnectionInAClosedEntryWithoutEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		a.c("PORT 10,0,1,2,195,80")
		f := r.kernel.put(fromPort20(flows.SynSent))
		r.tell(flows.New, f)
		f.State = flows.Close
		r.tell(flows.Update, r.kernel.put(f))
		a.s("200 ok")
		a.c("PORT 10,0,1,2,195,80")
		f.Mark ^= nft.ReopenMark
		r.kernel.put(f) // its state is still that of the one before
		time.Sleep(reconcileEvery + time.Second)
		if diff := cmp.Diff([]string{"open", "use", "close finished", "open", "use"}, r.said()); diff != "" {
			t.Error(diff)
		}
		last := r.records[len(r.records)-1]
		if !last.Reconstructed {
			t.Error("that was not told by an event")
		}
		f.State = flows.Established
		r.tell(flows.Update, r.kernel.put(f))
		f.State = flows.TimeWait
		r.tell(flows.Update, r.kernel.put(f))
		if said := r.said(); said[len(said)-1] != "close finished" {
			t.Errorf("at the end %q", said)
		}
	})
}

// Law 4: nothing that was answered is ever deleted. A closed entry may be one whose
// RST was forged, while data flows.
func TestLaw4ClosedEntryIsNotDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		a.c("PORT 10,0,1,2,195,80")
		f := r.kernel.put(fromPort20(flows.SynSent))
		r.tell(flows.New, f)
		f.State = flows.Close
		r.tell(flows.Update, r.kernel.put(f))
		a.s("200 ok")
		a.c("PORT 10,0,1,2,195,80")
		r.tell(flows.Update, again(f))
		a.s("500 no")
		a.c("QUIT")
		a.s("221 bye")
		synctest.Wait()
		if n := len(r.kernel.deleted); n != 0 {
			t.Errorf("%d connections were deleted", n)
		}
	})
}
