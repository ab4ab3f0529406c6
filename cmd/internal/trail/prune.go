package trail

import (
	"database/sql"
	"fmt"
	"math"
	"strings"
	"time"
)

// pruned is how many rows are deleted in one transaction, at the most: so many
// that deleting keeps up with writing.
const pruned = 2 * batchRecords

// oldest is the query for the rows of some tables whose latest record is from before
// a time, the oldest first.
func oldest(of ...*table) string {
	each := make([]string, len(of))
	for i, t := range of {
		each[i] = fmt.Sprintf("SELECT '%[1]s', seq, %[2]s, time FROM %[1]s INDEXED BY %[3]s WHERE time < ?1", t.name, t.size, t.byTime())
	}
	return strings.Join(each, " UNION ALL ") + " ORDER BY 4 LIMIT ?2"
}

// ofKind are the tables that are pruned together.
func ofKind(kind int) []*table {
	var out []*table
	for _, t := range tables {
		if t.kind == kind {
			out = append(out, t)
		}
	}
	return out
}

// deleteBefore deletes rows from before a time and says how many.
func (s *store) deleteBefore(t time.Time) (int, error) {
	return s.delete(math.MaxInt64, oldest(tables...), t.UnixMicro(), pruned)
}

// deleteOldest deletes the oldest rows of a kind, so many bytes of them.
func (s *store) deleteOldest(kind int, bytes int64) error {
	_, err := s.delete(bytes, oldest(ofKind(kind)...), math.MaxInt64, pruned)
	return err
}

// doomed is a row that is to be deleted.
type doomed struct {
	table string
	seq   int64
	bytes int64
}

// delete deletes what the query finds, until so many bytes are gone.
func (s *store) delete(bytes int64, query string, args ...any) (n int, err error) {
	tx, err := s.db.Begin()
	if err != nil {
		return 0, err
	}
	defer tx.Rollback() // after Commit it does nothing
	rows, err := chosen(tx, bytes, query, args...)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	var less [kinds]int64
	for _, t := range tables {
		deletion, err := tx.Prepare("DELETE FROM " + t.name + " WHERE seq = ?")
		if err != nil {
			return 0, err
		}
		for _, row := range rows {
			if row.table != t.name {
				continue
			}
			if _, err := deletion.Exec(row.seq); err != nil {
				return 0, err
			}
			less[t.kind] -= row.bytes
		}
	}
	return len(rows), s.commit(tx, less)
}

// chosen is what delete deletes.
func chosen(tx *sql.Tx, bytes int64, query string, args ...any) (out []doomed, err error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for bytes > 0 && rows.Next() {
		var row doomed
		var at int64
		if err := rows.Scan(&row.table, &row.seq, &row.bytes, &at); err != nil {
			return nil, err
		}
		out = append(out, row)
		bytes -= row.bytes
	}
	return out, rows.Err()
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
