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
	s, err := r.story(ctx, id)
	if err != nil {
		return s, r.failed(err)
	}
	if s.Latest() == nil {
		return s, fmt.Errorf("%w as %q; its records may be pruned. See: ftpinhole audit", ErrUnknown, id)
	}
	return s, nil
}

func (r *Reader) story(ctx context.Context, id string) (s Story, err error) {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return s, err
	}
	defer tx.Rollback() // it changes nothing
	opened, err := whole(ctx, tx, &pinholes, idIs, id)
	if err != nil {
		return s, err
	}
	for _, l := range opened { // one at the most
		s.Open, s.Use, s.Close = l[0], l[1], l[2]
	}
	denied, err := whole(ctx, tx, &refusals, idIs, id)
	if err != nil {
		return s, err
	}
	for _, l := range denied {
		s.Deny = l[0]
	}
	known := s.Latest()
	if known == nil {
		return s, nil
	}
	of, err := whole(ctx, tx, &sessions, sessions.isNamed(), int64(known.FlowID))
	for _, l := range of {
		s.Start, s.End = l[0], l[1]
	}
	return s, err
}
