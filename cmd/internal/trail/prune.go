package trail

import (
	"database/sql"
	"fmt"
	"math"
	"time"

	"ftpinhole/conntrack"
)

// pruned is how many records are deleted in one transaction, at the most: so
// many that deleting keeps up with writing.
const pruned = 2 * batchRecords

// The oldest records, by age or of a kind.
var (
	oldestOfAll    = "SELECT seq, action, " + rowBytesSQL + " FROM records WHERE time < ? ORDER BY time LIMIT ?"
	oldestOthers   = fmt.Sprintf("SELECT seq, action, %s FROM records WHERE seq >= ? AND action <> %d ORDER BY seq LIMIT ?", rowBytesSQL, conntrack.Deny)
	oldestRefusals = fmt.Sprintf("SELECT seq, action, %s FROM records INDEXED BY refused WHERE action = %d ORDER BY time LIMIT ?", rowBytesSQL, conntrack.Deny)
)

// deleteBefore deletes records from before a time and says how many.
func (s *store) deleteBefore(t time.Time) (int, error) {
	seqs, err := s.delete(math.MaxInt64, oldestOfAll, t.UnixMicro(), pruned)
	return len(seqs), err
}

// deleteOldest deletes the oldest records of a kind, so many bytes of them.
func (s *store) deleteOldest(kind int, bytes int64) error {
	if kind == refusals {
		_, err := s.delete(bytes, oldestRefusals, pruned)
		return err
	}
	seqs, err := s.delete(bytes, oldestOthers, s.oldest, pruned)
	if err == nil && len(seqs) > 0 {
		s.oldest = seqs[len(seqs)-1] + 1
	}
	return err
}

// delete deletes what the query finds, until so many bytes are gone.
func (s *store) delete(bytes int64, query string, args ...any) (seqs []int64, err error) {
	tx, err := s.db.Begin()
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // after Commit it does nothing
	seqs, less, err := chosen(tx, bytes, query, args...)
	if err != nil || len(seqs) == 0 {
		return nil, err
	}
	deletion, err := tx.Prepare("DELETE FROM records WHERE seq = ?")
	if err != nil {
		return nil, err
	}
	for _, seq := range seqs {
		if _, err := deletion.Exec(seq); err != nil {
			return nil, err
		}
	}
	return seqs, s.commit(tx, less)
}

// chosen is what delete deletes, and what that takes from the totals.
func chosen(tx *sql.Tx, bytes int64, query string, args ...any) (seqs []int64, less [kinds]int64, err error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, less, err
	}
	defer rows.Close()
	for bytes > 0 && rows.Next() {
		var seq, size int64
		var r conntrack.Record
		if err := rows.Scan(&seq, &r.Action, &size); err != nil {
			return nil, less, err
		}
		seqs = append(seqs, seq)
		less[kindOf(&r)] -= size
		bytes -= size
	}
	return seqs, less, rows.Err()
}

// shrink gives unused pages back to the file system, up to a number, if they
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
	defer rows.Close()
	for rows.Next() { // it frees a page a step
	}
	return rows.Err()
}
