package trail

import (
	"fmt"
	"time"

	"ftpinhole/conntrack"
)

// maxUnclosed bounds what is held in memory of the pinholes of a crash.
const maxUnclosed = 65536

// unclosed is the query for the pinholes that have no close record.
var unclosed = fmt.Sprintf("SELECT seq, %s FROM pinholes INDEXED BY pinholes_open WHERE closed IS NULL ORDER BY seq LIMIT %d", pinholes.columns, maxUnclosed)

// lost gives a close record for each pinhole that has none, at the time given.
// It is made of the latest that is known of the pinhole, so that who came is in
// it.
func (s *store) lost(now time.Time) ([]conntrack.Record, error) {
	rows, err := s.db.Query(unclosed)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []conntrack.Record
	for rows.Next() {
		_, l, err := pinholes.scanned(rows.Scan)
		if err != nil {
			return nil, err
		}
		r := *l.latest()
		r.Time, r.Action, r.Reason = now, conntrack.Close, conntrack.Lost
		out = append(out, r)
	}
	return out, rows.Err()
}
