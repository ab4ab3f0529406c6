package gateway

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ftpinhole/cmd/internal/flows"
	"ftpinhole/cmd/internal/metrics"
	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
)

// numbers is what a scrape of a gateway around the rig would show.
func (r *rig) numbers(others ...*shard) metrics.Numbers {
	g := r.asGateway(others...)
	g.events = &flows.Listener{}
	g.guard.rebuilt.Add(3)
	return g.Numbers()
}

func TestNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.passive()
		b := r.login(40001)
		b.c("PORT 10,9,9,9,195,80") // another's address
		b.s("500 no")
		b.c("PASV")
		b.s(entering) // in place of the first session's
		b.c("PASV")
		b.s("227 Entering Passive Mode (10,0,2,2,195,90).") // and this one in place of that
		synctest.Wait()

		n := r.numbers()
		if !n.Ready || !n.TablePresent || n.TableRebuilt != 3 || n.Opened != 3 || n.Used != 0 || !n.Started.Equal(time.Now()) {
			t.Errorf("%+v", n)
		}
		if diff := cmp.Diff(&conntrack.Counts{Sessions: 2, Pinholes: 1}, n.Held); diff != "" {
			t.Errorf("held (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]uint64{"replaced": 2}, n.Closed); diff != "" {
			t.Errorf("closed (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]uint64{"foreign_address": 1}, n.Denied); diff != "" {
			t.Errorf("denied (-want +got):\n%s", diff)
		}
		if len(n.Stores) != 2 || n.Stores[0].Name != "log" || n.Stores[1].Name != "trail" {
			t.Errorf("stores %+v", n.Stores)
		}
	})
}

// Shards that are stuck are waited for together, and what they hold is unknown.
func TestNumbersOfShardsThatDoNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		begun := time.Now()
		if n := r.numbers(r.another(), r.another(), r.another()); n.Held != nil || n.Ready {
			t.Errorf("%+v", n)
		}
		if took := time.Since(begun); took != answerTime {
			t.Errorf("it took %v, want %v", took, answerTime)
		}
	})
}

// acknowledgements are how many there were, and their sum in seconds.
func (r *rig) acknowledgements() (n uint64, sum float64) {
	r.t.Helper()
	synctest.Wait()
	var m dto.Metric
	if err := r.shard.counters.acknowledged.Write(&m); err != nil {
		r.t.Fatal(err)
	}
	return m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum()
}

// The time is counted from the packet's arrival, also when the answer is an
// error, or comes too late.
func TestAcknowledgements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		want := 0.0
		for i, wait := range []time.Duration{30 * time.Millisecond, time.Second, 3 * time.Second} {
			a := r.login(40000 + uint16(i))
			r.backend.fail = nil
			if i == 1 {
				r.backend.fail = errors.New("no")
			}
			a.c("PASV")
			r.backend.hang()
			a.s(entering)
			time.Sleep(wait)
			r.backend.release()
			want += wait.Seconds()
			if n, sum := r.acknowledgements(); n != uint64(i+1) || sum != want {
				t.Errorf("%d answers in %v s, want %d in %v s", n, sum, i+1, want)
			}
		}
	})
}
