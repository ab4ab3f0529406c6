package load

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ftpinhole/conntrack"
)

// Truth is how the records of a gateway compare with what the clients noted.
type Truth struct {
	Transfers int // that the clients say were done
	// Right have the use in the record of their own session. Doubtful are those of
	// which the record itself says that it is reconstructed.
	Right, Doubtful int
	Others          int // are recorded as another session's
	Missing         int // have no use in the records
	Failed          int // of the transfers, whatever the records say
	// Apart were not judged: the daemon was away meanwhile. One of these that is
	// recorded as another session's counts as such.
	Apart int
	// False are records that say what cannot be: every port was open, and every
	// client kept the limits.
	False map[conntrack.Reason]int
	First string // the first that is wrong
}

// Outage is when the daemon was away.
type Outage struct{ Begin, End time.Time }

// afterwards is how long it takes a client to try a SYN again that came too early.
const afterwards = 3 * time.Second

// outage reports whether what is recorded at a time may come of one.
func outage(at time.Time, outages []Outage) bool {
	return slices.ContainsFunc(outages, func(o Outage) bool {
		return at.After(o.Begin) && at.Before(o.End.Add(afterwards))
	})
}

func away(n *Note, outages []Outage) bool {
	return slices.ContainsFunc(outages, func(o Outage) bool {
		return n.End.After(o.Begin) && n.Begin.Before(o.End.Add(afterwards))
	})
}

// slack is how much before or after the transfer its record may say that it was used.
const slack = 2 * time.Second

// data is a data connection.
type data struct{ src, dst netip.AddrPort }

// Judge holds records against notes. Both are of the same clock.
func Judge(notes []Note, records []conntrack.Record, outages []Outage) Truth {
	t := Truth{False: make(map[conntrack.Reason]int)}
	uses := make(map[data][]*conntrack.Record)
	for i := range records {
		switch r := &records[i]; {
		case r.Action == conntrack.Use:
			of := data{netip.AddrPortFrom(r.Pinhole.Src, r.Pinhole.SrcPort), r.Pinhole.Dst}
			uses[of] = append(uses[of], r)
		case r.Reason == conntrack.Blocked && !outage(r.Time, outages), r.Reason == conntrack.LimitClient, r.Reason == conntrack.LimitSession, r.Reason == conntrack.LimitTotal:
			t.False[r.Reason] += max(r.Count, 1)
		}
	}
	for i := range notes {
		t.hold(&notes[i], uses, away(&notes[i], outages))
	}
	return t
}

// hold holds one note against the uses of its connection.
func (t *Truth) hold(n *Note, uses map[data][]*conntrack.Record, away bool) {
	// A connection that was made is nobody's to end, whether the daemon is there or not.
	if n.Failure != "" && away && !n.Src.IsValid() {
		t.Apart++
		return
	}
	if n.Failure != "" {
		t.Failed++
		t.first("failed", n)
		return
	}
	t.Transfers++
	var other *conntrack.Record
	for _, r := range uses[data{n.Src, n.Dst}] {
		if r.Time.Before(n.Begin.Add(-slack)) || r.Time.After(n.End.Add(slack)) {
			continue
		}
		switch {
		case r.Client == n.Client && r.Reconstructed:
			t.Doubtful++
			return
		case r.Client == n.Client:
			t.Right++
			return
		}
		other = r
	}
	switch {
	case other == nil && away:
		t.Transfers--
		t.Apart++
	case other == nil:
		t.Missing++
		t.first("has no use", n)
	case other.Reconstructed:
		t.Doubtful++
	default:
		t.Others++
		t.first(fmt.Sprintf("is recorded as %s of %s", other.Pinhole.ID, other.Client), n)
	}
}

func (t *Truth) first(what string, n *Note) {
	if t.First == "" {
		t.First = strings.TrimSpace(fmt.Sprintf("%s to %s at %s, of the session of %s, %s %s", n.Src, n.Dst, n.Begin.UTC().Format(time.RFC3339Nano), n.Client, what, n.Failure))
	}
}

// Holds reports whether nothing is wrong.
func (t *Truth) Holds() bool {
	return t.Others == 0 && t.Missing == 0 && t.Failed == 0 && len(t.False) == 0 && t.Transfers > 0
}

func (t *Truth) String() string {
	s := fmt.Sprintf("%d transfers: %d recorded right, %d said to be reconstructed, %d as another session's, %d without a use; %d failed; %d while the daemon was away",
		t.Transfers, t.Right, t.Doubtful, t.Others, t.Missing, t.Failed, t.Apart)
	for reason, n := range t.False {
		s += fmt.Sprintf("; %d false %s", n, reason)
	}
	if t.First != "" {
		s += "\nthe first: " + t.First
	}
	return s
}
