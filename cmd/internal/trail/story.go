package trail

import (
	"context"
	"fmt"

	"ftpinhole/conntrack"
)

// Story is all that the trail knows of one pinhole and of its session. What it
// does not know, or no longer, is nil.
type Story struct {
	Open, Use, Close *conntrack.Record
	Deny             *conntrack.Record // the kernel did not open it
	Start, End       *conntrack.Record // of the session
}

// Latest is the record of the pinhole that knows most.
func (s *Story) Latest() *conntrack.Record {
	for _, r := range []*conntrack.Record{s.Close, s.Use, s.Open, s.Deny} {
		if r != nil {
			return r
		}
	}
	return nil
}

// Records are the story's records, in the order of its events.
func (s *Story) Records() []conntrack.Record {
	var out []conntrack.Record
	for _, r := range []*conntrack.Record{s.Start, s.Deny, s.Open, s.Use, s.Close, s.End} {
		if r != nil {
			out = append(out, *r)
		}
	}
	return out
}

// Story tells of the pinhole with this id. The error wraps ErrUnknown if there
// is none.
func (r *Reader) Story(ctx context.Context, id string) (Story, error) {
	var s Story
	records, err := r.records(ctx, "SELECT "+columns+" FROM records WHERE id = ? AND id <> ''", id)
	if err != nil {
		return s, r.failed(err)
	}
	if len(records) == 0 {
		return s, fmt.Errorf("%w as %q; its records may be pruned. See: ftpinhole audit", ErrUnknown, id)
	}
	of, err := r.records(ctx, "SELECT "+columns+" FROM records WHERE flow = ? AND action >= 5", int64(records[0].FlowID))
	if err != nil {
		return s, r.failed(err)
	}
	records = append(records, of...)
	for i := range records {
		switch rec := &records[i]; rec.Action {
		case conntrack.Open:
			s.Open = rec
		case conntrack.Use:
			s.Use = rec
		case conntrack.Close:
			s.Close = rec
		case conntrack.Deny:
			s.Deny = rec
		case conntrack.Start:
			s.Start = rec
		case conntrack.End:
			s.End = rec
		}
	}
	return s, nil
}
