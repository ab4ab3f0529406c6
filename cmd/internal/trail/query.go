package trail

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"ftpinhole/conntrack"

	sqlite3 "modernc.org/sqlite/lib"
)

// fewRows is how many rows of a table its clients may have to be read by the index
// of the clients, which has nothing else. Of more, all is looked through.
const fewRows = 10000

// Reader asks a database, which a daemon may be writing meanwhile.
type Reader struct {
	path string
	db   *sql.DB
	few  int // fewRows
}

// OpenReader opens the database at path for reading. The error wraps ErrNone if
// there is none, and fs.ErrPermission if the caller may not read it.
func OpenReader(path string) (*Reader, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("audit trail: %w; name the state directory from the root on", err)
	}
	switch f, err := os.Open(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w %s; the daemon makes it: start it with ftpinhole run, or name its state directory with --state-dir", ErrNone, path)
	case err != nil:
		return nil, fmt.Errorf("audit trail: %w; use sudo, or join the group of the file", err)
	default:
		f.Close()
	}
	db, err := sql.Open("sqlite", dsn(path, url.Values{"mode": {"ro"}, "_busy_timeout": {"5000"}, "_query_only": {"1"}}))
	if err != nil {
		return nil, fmt.Errorf("audit trail: %w; report this", err)
	}
	db.SetMaxOpenConns(1)
	r := &Reader{path: path, db: db, few: fewRows}
	if err := r.check(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return r, nil
}

// check is nil if the database is of this version.
func (r *Reader) check() error {
	v, err := schemaVersion(r.db)
	switch {
	case err != nil:
		return r.failed(err)
	case v == 0:
		return fmt.Errorf("%w in %s; the daemon makes it: start it with ftpinhole run", ErrNone, r.path)
	case v < version:
		return fmt.Errorf("the audit trail %s is of an older version (%d), which the daemon of this version converts when it starts; restart the daemon, and wait until it is ready", r.path, v)
	case v > version:
		return fmt.Errorf("the audit trail %s is of version %d, this program reads %d; use the ftpinhole that the daemon is", r.path, v, version)
	}
	return nil
}

// Close closes the database.
func (r *Reader) Close() error { return r.db.Close() }

// failed says what to do about an error of SQLite's.
func (r *Reader) failed(err error) error {
	mend := "look at the daemon's log"
	switch primary(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		mend = "the daemon will rename it and begin a new one"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		mend = "another program locks it; try again"
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		mend = "its files -wal and -shm must be readable too; use sudo"
	}
	return fmt.Errorf("audit trail %s: %w; %s", r.path, err, mend)
}

// Find gives the newest records that match, in the order of their times.
func (r *Reader) Find(ctx context.Context, f Filter) ([]conntrack.Record, error) {
	out, err := r.find(ctx, &f)
	if err != nil {
		return nil, r.failed(err)
	}
	return out, nil
}

func (r *Reader) find(ctx context.Context, f *Filter) ([]conntrack.Record, error) {
	// All is read of one moment, though the daemon goes on writing.
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // it changes nothing
	n := &newest{limit: f.limit()}
	for _, t := range tables {
		if err := r.search(ctx, tx, f, t, n); err != nil {
			return nil, err
		}
	}
	n.cut()
	return read(ctx, tx, n)
}

// search looks for the newest records of one table. By time, it ends where all that
// is left is older than what was found; by clients that have few rows, it reads those.
func (r *Reader) search(ctx context.Context, tx *sql.Tx, f *Filter, t *table, n *newest) error {
	columns := f.times(t)
	if columns == nil {
		return nil
	}
	clients := rangesOf(f.Clients)
	few, err := haveFew(ctx, tx, t, clients, r.few)
	if err != nil {
		return err
	}
	if few {
		for _, k := range clients {
			q := byClient(f, t, columns, k)
			if err := collect(ctx, tx, q, f, t, n, false); err != nil {
				return err
			}
		}
		return nil
	}
	return collect(ctx, tx, byTime(f, t, columns), f, t, n, true)
}

// byTime is the query for all rows that f asks for, the newest first.
func byTime(f *Filter, t *table, columns []condition) condition {
	q := query(t.byTime(), t, columns, f.ofAll(t))
	q.sql += " ORDER BY time DESC"
	return q
}

// byClient is the query for those of some clients, in no order.
func byClient(f *Filter, t *table, columns []condition, clients keys) condition {
	return query(t.byClient(), t, columns, inRanges("client", []keys{clients}).and(f.rows(t)))
}

// query is for the times of some rows and of their events, by an index.
func query(index string, t *table, columns []condition, where condition) condition {
	q := condition{sql: "SELECT time, seq"}
	for _, c := range columns {
		q.sql += ", " + c.sql
		q.args = append(q.args, c.args...)
	}
	q.sql += " FROM " + t.name + " INDEXED BY " + index + where.clause()
	q.args = append(q.args, where.args...)
	return q
}

// haveFew reports whether some clients have so many rows at the most. None means all.
func haveFew(ctx context.Context, tx *sql.Tx, t *table, clients []keys, most int) (bool, error) {
	for _, k := range clients {
		c := inRanges("client", []keys{k})
		count := "SELECT count(*) FROM (SELECT 1 FROM " + t.name + " INDEXED BY " + t.byClient() + c.clause() + " LIMIT ?)"
		var n int
		if err := tx.QueryRowContext(ctx, count, append(c.args, most+1)...).Scan(&n); err != nil {
			return false, err
		}
		if most -= n; most < 0 {
			return false, nil
		}
	}
	return clients != nil, nil
}

// collect gives n the records that a query finds.
func collect(ctx context.Context, tx *sql.Tx, q condition, f *Filter, t *table, n *newest, ordered bool) error {
	rows, err := tx.QueryContext(ctx, q.sql, q.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var time, seq int64
	at := make([]sql.Null[int64], len(t.events))
	into := []any{&time, &seq}
	for i := range at {
		into = append(into, &at[i])
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if ordered && n.enough(time) {
			return nil
		}
		for i := range at {
			if at[i].Valid && f.has(at[i].V) {
				n.add(found{at[i].V, i, seq, t})
			}
		}
	}
	return rows.Err()
}

// listed is the condition for the rows of a JSON array of numbers.
const listed = "seq IN (SELECT value FROM json_each(?))"

// read makes the records of what was found, in the order of their times.
func read(ctx context.Context, tx *sql.Tx, n *newest) ([]conntrack.Record, error) {
	lives := make(map[*table]map[int64]life)
	for _, t := range tables {
		seqs, some, err := n.rows(t)
		if err != nil {
			return nil, err
		}
		if !some {
			continue
		}
		if lives[t], err = whole(ctx, tx, t, listed, seqs); err != nil {
			return nil, err
		}
	}
	var out []conntrack.Record
	for _, f := range slices.Backward(n.all) {
		out = append(out, *lives[f.table][f.seq][f.event])
	}
	return out, nil
}

// whole are the lives of a table that a condition holds for, by their seq.
func whole(ctx context.Context, tx *sql.Tx, t *table, where string, args ...any) (map[int64]life, error) {
	rows, err := tx.QueryContext(ctx, t.selection(where), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := make(map[int64]life)
	for rows.Next() {
		seq, l, err := t.scanned(rows.Scan)
		if err != nil {
			return nil, err
		}
		out[seq] = l
	}
	return out, rows.Err()
}
