package trail

import (
	"database/sql"
	"fmt"
	"time"

	"ftpinhole/conntrack"
)

// pruned is how many records are deleted in one transaction, at the most: so
// much that deleting keeps up with writing.
const pruned = 2 * batchRecords

// The oldest records, by age, or of a kind until so many bytes are gone. What is
// deleted is returned for the totals.
var (
	deletion = "DELETE FROM records WHERE seq IN (%s) RETURNING seq, action, " + rowBytesSQL
	enough   = "SELECT seq FROM (SELECT seq, sum(bytes) OVER (ORDER BY %[1]s, seq ROWS UNBOUNDED PRECEDING) - bytes AS before" +
		" FROM (SELECT seq, time, " + rowBytesSQL + " AS bytes FROM records %[2]s ORDER BY %[1]s, seq LIMIT ?)) WHERE before < ?"

	deleteAged     = fmt.Sprintf(deletion, "SELECT seq FROM records INDEXED BY by_time WHERE time < ? ORDER BY time LIMIT ?")
	deleteOthers   = fmt.Sprintf(deletion, fmt.Sprintf(enough, "seq", fmt.Sprintf("WHERE seq >= ? AND action <> %d", conntrack.Deny)))
	deleteRefusals = fmt.Sprintf(deletion, fmt.Sprintf(enough, "time", "INDEXED BY by_action WHERE action = ?"))
)

// deleteBefore deletes records from before a time and says how many.
func (s *store) deleteBefore(t time.Time, limit int) (int, error) {
	n, _, err := s.delete(deleteAged, t.UnixMicro(), limit)
	return n, err
}

// deleteOldest deletes the oldest records of a kind, so many bytes of them.
func (s *store) deleteOldest(kind, limit int, bytes int64) error {
	if kind == refusals {
		_, _, err := s.delete(deleteRefusals, int64(conntrack.Deny), limit, bytes)
		return err
	}
	n, last, err := s.delete(deleteOthers, s.oldest, limit, bytes)
	if err == nil && n > 0 {
		s.oldest = last + 1
	}
	return err
}

func (s *store) delete(query string, args ...any) (n int, last int64, err error) {
	tx, err := s.db.Begin()
	if err != nil {
		return 0, 0, err
	}
	defer tx.Rollback() // after Commit it does nothing
	rows, err := tx.Query(query, args...)
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	var less [kinds]int64
	for rows.Next() {
		var seq, bytes int64
		var r conntrack.Record
		if err := rows.Scan(&seq, &r.Action, &bytes); err != nil {
			return 0, 0, err
		}
		less[kindOf(&r)] -= bytes
		last = max(last, seq)
		n++
	}
	if err := rows.Err(); err != nil {
		return 0, 0, err
	}
	return n, last, s.commit(tx, less)
}

// shrink gives up to a number of unused pages back to the file system, if they
// are a quarter of the file.
func (s *store) shrink(pages int) error {
	var free, all int
	if err := s.db.QueryRow("SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count").Scan(&free, &all); err != nil {
		return err
	}
	if free < all/4 {
		return nil
	}
	rows, err := s.db.Query(fmt.Sprintf("PRAGMA incremental_vacuum(%d)", pages))
	if err != nil {
		return err
	}
	return drain(rows)
}

// drain steps a statement to its end; incremental_vacuum frees a page a step.
func drain(rows *sql.Rows) error {
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}
