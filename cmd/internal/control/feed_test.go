package control

import (
	"sync"
	"testing"
	"time"

	"ftpinhole/cmd/internal/patience"
	"ftpinhole/conntrack"
)

func TestFeedWithoutWatchers(t *testing.T) {
	var f Feed
	r := conntrack.Record{Action: conntrack.Open}
	if n := testing.AllocsPerRun(100, func() { f.Publish(r) }); n != 0 {
		t.Errorf("%v allocations a record although nobody watches", n)
	}
}

// Who takes nothing keeps the newest out, and hears how many they were, at the
// place where they are missing.
func TestFeedSkips(t *testing.T) {
	var f Feed
	slow, quick := f.Subscribe(), f.Subscribe()
	for i := range feedBuffer + 7 {
		f.Publish(conntrack.Record{FlowID: uint64(i + 1)})
		if got, skipped := quick.Take(); len(got) != 1 || got[0].FlowID != uint64(i+1) || skipped != 0 {
			t.Fatalf("the quick one got %d records, %d skipped", len(got), skipped)
		}
	}
	select {
	case <-slow.Ready():
	default:
		t.Error("the slow one is not told")
	}
	got, skipped := slow.Take()
	if len(got) != feedBuffer || skipped != 7 || got[feedBuffer-1].FlowID != feedBuffer {
		t.Errorf("%d records and %d skipped, want %d and 7", len(got), skipped, feedBuffer)
	}
	f.Publish(conntrack.Record{FlowID: 99999})
	if got, skipped := slow.Take(); len(got) != 1 || skipped != 0 {
		t.Errorf("afterwards %d records and %d skipped, want 1 and 0", len(got), skipped)
	}
	slow.Close()
	quick.Close()
	f.Publish(conntrack.Record{})
	if got, skipped := slow.Take(); len(got) != 0 || skipped != 0 {
		t.Errorf("after Close %d records and %d skipped", len(got), skipped)
	}
}

// Nothing gets lost between many who publish and one who takes.
func TestFeedConcurrently(t *testing.T) {
	var f Feed
	const each = 5000
	s := f.Subscribe()
	defer s.Close()
	var publishers sync.WaitGroup
	for range 4 {
		publishers.Go(func() {
			for range each {
				f.Publish(conntrack.Record{})
			}
		})
	}
	var seen uint64
	late := time.After(patience.Limit)
	for seen < 4*each {
		select {
		case <-s.Ready():
			got, skipped := s.Take()
			seen += uint64(len(got)) + skipped
		case <-late:
			t.Fatalf("%d of %d records are accounted for", seen, 4*each)
		}
	}
	publishers.Wait()
	if seen != 4*each {
		t.Errorf("%d records are accounted for, want %d", seen, 4*each)
	}
}

func BenchmarkPublish(b *testing.B) {
	for name, watchers := range map[string]int{"0 watchers": 0, "16 stalled watchers": 16} {
		b.Run(name, func(b *testing.B) {
			var f Feed
			for range watchers {
				defer f.Subscribe().Close()
			}
			r := conntrack.Record{User: "anonymous"}
			for b.Loop() {
				f.Publish(r)
			}
		})
	}
}
