package trail

import (
	"fmt"
	"time"

	"ftpinhole/conntrack"
)

// maxUnclosed bounds what is held in memory of the pinholes of a crash.
const maxUnclosed = 65536

// Without the index named, SQLite would read all opens for each pinhole.
var (
	unclosedRecords = fmt.Sprintf("SELECT %s FROM records INDEXED BY once_pinhole WHERE id IN (SELECT id FROM unclosed) AND id <> '' AND action IN (%d, %d) ORDER BY id, action LIMIT %d",
		columns, conntrack.Open, conntrack.Use, 2*maxUnclosed)
	unclosedPruned = "DELETE FROM unclosed WHERE NOT EXISTS (SELECT 1 FROM records INDEXED BY once_pinhole WHERE records.id = unclosed.id AND records.id <> '')"
)

// lost gives a close record for each pinhole that has none, at the time given.
// It is made of the latest that is known of the pinhole, so that who came is in
// it.
func (s *store) lost(now time.Time) ([]conntrack.Record, error) {
	rows, err := s.db.Query(unclosedRecords)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []conntrack.Record
	for rows.Next() {
		r, err := scanned(rows.Scan)
		if err != nil {
			return nil, err
		}
		r.Time, r.Action, r.Reason = now, conntrack.Close, conntrack.Lost
		if last := len(out) - 1; last >= 0 && out[last].Pinhole.ID == r.Pinhole.ID {
			out[last] = r
		} else if len(out) < maxUnclosed {
			out = append(out, r)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return out, s.forgetPruned()
}

// forgetPruned drops what is noted as unclosed although its records are gone.
func (s *store) forgetPruned() error {
	_, err := s.db.Exec(unclosedPruned)
	return err
}
