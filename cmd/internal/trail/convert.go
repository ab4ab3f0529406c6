package trail

import (
	"database/sql"
	"log/slog"
	"time"

	"ftpinhole/conntrack"
)

// tellEvery is how often the log says how far a conversion is.
const tellEvery = 2 * time.Second

// convert moves the records of the old table to the tables of today, a batch in a
// transaction, so that it can be killed at any moment, and goes on at the next start.
func (s *store) convert(log *slog.Logger) error {
	var first, last int64
	if err := s.db.QueryRow("SELECT coalesce(min(seq), 0), coalesce(max(seq), -1) FROM records").Scan(&first, &last); err != nil {
		return err
	}
	all := last - first + 1
	if all > 0 {
		log.Info("the audit trail is converted to the tables of this version, once", "path", s.path, "records", all)
	}
	told := time.Now()
	for at := first; at <= last; {
		next, err := s.move(at)
		if err != nil {
			return err
		}
		at = next
		if now := time.Now(); now.Sub(told) >= tellEvery {
			told = now
			log.Info("the audit trail is being converted", "path", s.path, "done_percent", 100*(at-first)/all)
		}
	}
	if err := s.step("DROP TABLE records", version); err != nil {
		return err
	}
	if all > 0 {
		log.Info("the audit trail is converted", "path", s.path)
	}
	return nil
}

// move moves one batch of old records, from a seq on, and returns where the next one
// begins.
func (s *store) move(from int64) (next int64, err error) {
	tx, err := s.db.Begin()
	if err != nil {
		return 0, err
	}
	defer tx.Rollback() // after Commit it does nothing
	batch, err := oldRecords(tx, from)
	if err != nil {
		return 0, err
	}
	next = from + 1
	if n := len(batch); n > 0 {
		next = batch[n-1].seq + 1
	}
	more, err := put(tx, batch)
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec("DELETE FROM records WHERE seq < ?", next); err != nil {
		return 0, err
	}
	return next, s.commit(tx, more)
}

// oldRecords are a batch of the old table.
func oldRecords(tx *sql.Tx, from int64) ([]numbered, error) {
	rows, err := tx.Query("SELECT seq, "+oldColumns+" FROM records WHERE seq >= ? ORDER BY seq LIMIT ?", from, batchRecords)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var batch []numbered
	for rows.Next() {
		seq, r, err := scannedRecord(rows.Scan)
		if err != nil {
			return nil, err
		}
		if r.Action >= conntrack.Open && r.Action <= conntrack.End {
			batch = append(batch, numbered{seq, &r})
		}
	}
	return batch, rows.Err()
}
