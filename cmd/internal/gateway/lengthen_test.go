package gateway

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ftpinhole/cmd/internal/flows"
)

// While its transfer command has no final reply, a pinhole is given its time again
// in time, by the backend that serves it, and never more than that. (laws 4, 6)
func TestLaw4PinholeWaitsForItsTransfer(t *testing.T) {
	for _, first := range []*fakeBackend{nil, {}} {
		synctest.Test(t, func(t *testing.T) {
			r := startRig(t, nil, first)
			serves := r.backend
			if first != nil {
				serves = first
			}
			d := r.login(40000)
			r.kernel.put(flows.Flow{Client: d.client, Server: d.server, Mark: controlMark, State: flows.Established})
			d.c("PORT 10,0,1,2,195,80")
			d.s("200 ok")
			d.c("RETR a")
			for range 98 {
				time.Sleep(time.Second)
				serves.mu.Lock()
				for id, until := range serves.until {
					if left := time.Until(until); left <= 0 || left > 30*time.Second {
						t.Errorf("%s has %v left", id, left)
					}
				}
				serves.mu.Unlock()
			}
			want := []string{"add 10.0.1.2:50000"}
			for range 3 {
				want = append(want, "lengthen 10.0.1.2:50000 30s")
			}
			if diff := cmp.Diff(want, serves.did()); diff != "" {
				t.Error(diff)
			}
			d.s("425 nobody came")
			time.Sleep(100 * time.Millisecond)
			if diff := cmp.Diff([]string{"open", "close expired"}, r.said()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// One that was used at the last moment is not lengthened.
func TestLaw4UsedPinholeIsNotLengthened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.passive().c("RETR a")
		time.Sleep(27850 * time.Millisecond)
		r.backend.syn()
		r.tell(flows.New, r.kernel.put(data(flows.SynSent)))
		time.Sleep(2 * time.Second)
		if did := r.backend.did(); strings.Contains(strings.Join(did, " "), "lengthen") {
			t.Errorf("%v", did)
		}
		if diff := cmp.Diff([]string{"open", "use"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

// A kernel that fails for a while is asked again.
func TestPinholeIsLengthenedAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		d := r.login(40000)
		d.c("PORT 10,0,1,2,195,80")
		d.c("RETR a")
		time.Sleep(27 * time.Second)
		r.backend.mu.Lock()
		r.backend.fail = errors.New("busy")
		r.backend.mu.Unlock()
		time.Sleep(2 * time.Second)
		r.backend.mu.Lock()
		r.backend.fail = nil
		r.backend.mu.Unlock()
		time.Sleep(20 * time.Second)
		if diff := cmp.Diff([]string{"open"}, r.said()); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(r.log.String(), "could not be given more time") {
			t.Errorf("log: %s", r.log.String())
		}
	})
}
