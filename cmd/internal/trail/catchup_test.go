package trail

import (
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"testing"

	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
)

// newestFirst is a log that holds the records, in the order of their writing, and
// counts how many were read.
func newestFirst(records []conntrack.Record, read *int) iter.Seq2[conntrack.Record, error] {
	return func(yield func(conntrack.Record, error) bool) {
		for _, r := range slices.Backward(records) {
			if *read++; !yield(r, nil) {
				return
			}
		}
	}
}

func TestCatchUp(t *testing.T) {
	refusal := func(n int) conntrack.Record {
		r := pinhole(n, conntrack.Deny)
		r.Pinhole.ID = ""
		return r
	}
	opens := func(from, to int) (list []conntrack.Record) {
		for n := from; n < to; n++ {
			list = append(list, pinhole(n, conntrack.Open))
		}
		return list
	}
	refusals := func(from, to int) (list []conntrack.Record) {
		for n := from; n < to; n++ {
			list = append(list, refusal(n))
		}
		return list
	}
	start := conntrack.Record{Time: begun, Action: conntrack.Start, FlowID: 5, Client: pinhole(0, conntrack.Open).Client, Server: pinhole(0, conntrack.Open).Server}
	for _, c := range []struct {
		name       string
		trail, log []conntrack.Record
		want       []conntrack.Record
		atMost     int // read of the log
	}{
		{"nothing", nil, nil, nil, 0},
		{"the trail is empty", nil, slices.Concat(opens(0, 3), refusals(3, 5), []conntrack.Record{start}), slices.Concat(opens(0, 3), refusals(3, 5), []conntrack.Record{start}), 6},
		{"nothing is missing", slices.Concat(opens(0, 3), refusals(3, 5)), slices.Concat(opens(0, 3), refusals(3, 5)), slices.Concat(opens(0, 3), refusals(3, 5)), 3},
		{"the end", opens(0, 3), opens(0, 5), opens(0, 5), 5},
		{"the session's end", append(opens(0, 3), start), append(opens(0, 3), start), append(opens(0, 3), start), 4},
		{"refusals behind others", slices.Concat(refusals(0, 2), opens(5, 7)), slices.Concat(refusals(0, 4), opens(5, 7)), slices.Concat(refusals(0, 4), opens(5, 7)), 5},
		{"what was pruned stays away", slices.Concat(refusals(3, 4), opens(5, 7)), slices.Concat(opens(0, 2), refusals(2, 4), opens(5, 8)), slices.Concat(refusals(3, 4), opens(5, 8)), 4},
		{"no refusals", opens(20000, 20001), opens(0, 20001), opens(20000, 20001), mostRefusals},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), FileName)
			tr := open(t, path, roomy)
			for _, r := range c.trail {
				tr.Write(r)
			}
			shut(t, tr)
			read := 0
			with := roomy
			with.Log = newestFirst(c.log, &read)
			shut(t, open(t, path, with))
			var got, want []string
			for _, r := range find(t, path, Filter{Limit: 1 << 20}) {
				got = append(got, fmt.Sprint(r.Time, r.Action))
			}
			for _, r := range c.want {
				want = append(want, fmt.Sprint(r.Time, r.Action))
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if read > c.atMost {
				t.Errorf("%d records were read of the log, want %d at the most", read, c.atMost)
			}
		})
	}
}

// A pinhole whose close only the log has is none that was lost.
func TestCatchUpBeforeLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	tr := open(t, path, roomy)
	tr.Write(pinhole(0, conntrack.Open))
	shut(t, tr)
	read := 0
	with := roomy
	with.Log = newestFirst([]conntrack.Record{pinhole(0, conntrack.Open), pinhole(0, conntrack.Close), pinhole(1, conntrack.Open)}, &read)
	tr = open(t, path, with)
	lost, err := tr.LostPinholes()
	if err != nil || len(lost) != 1 || lost[0].Pinhole.ID != pinhole(1, conntrack.Open).Pinhole.ID {
		t.Errorf("lost %+v (%v), want the second one", lost, err)
	}
	shut(t, tr)
}

// A log that cannot be read is no reason not to start.
func TestCatchUpUnreadable(t *testing.T) {
	with := roomy
	with.Log = func(yield func(conntrack.Record, error) bool) { yield(conntrack.Record{}, errors.New("no")) }
	tr := open(t, filepath.Join(t.TempDir(), FileName), with)
	if tr.Written() != 0 || tr.Err() != nil {
		t.Errorf("%d records, error %v", tr.Written(), tr.Err())
	}
	shut(t, tr)
}
