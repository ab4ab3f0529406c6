package trail

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
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

// weighed is how many entries of an index are counted at the most, to choose
// one. Where each has more, a sample says which is best.
const weighed = 5000

// Reader asks a database, which a daemon may be writing meanwhile.
type Reader struct {
	path    string
	db      *sql.DB
	weighed int
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
	r := &Reader{path: path, db: db, weighed: weighed}
	version, err := schemaVersion(db)
	if err == nil && version == 0 {
		err = fmt.Errorf("%w in %s; the daemon makes it: start it with ftpinhole run", ErrNone, path)
	} else if err == nil && version != len(migrations) {
		err = fmt.Errorf("the audit trail %s is of version %d, this program reads %d; use the ftpinhole that the daemon is", path, version, len(migrations))
	} else if err != nil {
		err = r.failed(err)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return r, nil
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
	all, err := r.indices(ctx, f)
	if err != nil {
		return nil, err
	}
	by, n, err := r.choose(ctx, f, all)
	if err != nil {
		return nil, err
	}
	if n > r.weighed && len(all) > 1 {
		var newer Filter
		if newer, by, err = r.guess(ctx, *f, all); err != nil {
			return nil, err
		}
		if !by.ordered {
			out, err := r.findBy(ctx, &newer, by)
			if err != nil || len(out) == f.limit() { // so many are the newest of all
				return out, err
			}
		}
	}
	return r.findBy(ctx, f, by)
}

// findBy is Find by one index. Which records are the newest is found with the
// index alone as far as that goes; only then are whole rows read.
func (r *Reader) findBy(ctx context.Context, f *Filter, by index) ([]conntrack.Record, error) {
	c := f.newest(&by)
	if !by.ordered {
		seqs, err := r.newestOf(ctx, f.matching(&by), f.limit())
		if err != nil {
			return nil, err
		}
		c = condition{these, []any{seqs}}
	}
	out, err := r.records(ctx, c.sql, c.args...)
	slices.Reverse(out)
	return out, err
}

// newest is the query for the latest records, the newest first, by an index that
// gives them in this order.
func (f *Filter) newest(by *index) condition {
	c := f.matching(by)
	return condition{"SELECT " + columns + " FROM records WHERE seq IN (SELECT seq FROM (" + c.sql +
		" ORDER BY time DESC, seq DESC LIMIT ?)) ORDER BY time DESC, seq DESC", append(c.args, f.limit())}
}

// matching is the query for the times and numbers of all records, in no order.
func (f *Filter) matching(by *index) condition {
	return by.selection("time, seq", f.where(by.answers...))
}

// these is the query for the records of a JSON array of numbers, the newest first.
const these = "SELECT " + columns + " FROM records WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY time DESC, seq DESC"

// entry is a record as an index has it.
type entry struct{ time, seq int64 }

// newestOf gives the numbers of the latest records that a query finds, as a JSON
// array. SQLite would sort them too, but much slower: it keeps a tree of the
// latest so far, and where they come in the order of time each goes into it.
func (r *Reader) newestOf(ctx context.Context, q condition, limit int) (string, error) {
	all, err := r.entries(ctx, q)
	if err != nil {
		return "", err
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Or(cmp.Compare(b.time, a.time), cmp.Compare(b.seq, a.seq)) })
	seqs := make([]int64, min(len(all), limit))
	for i := range seqs {
		seqs[i] = all[i].seq
	}
	array, err := json.Marshal(seqs)
	return string(array), err
}

// entries are what a query finds.
func (r *Reader) entries(ctx context.Context, q condition) ([]entry, error) {
	rows, err := r.db.QueryContext(ctx, q.sql, q.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []entry
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.time, &e.seq); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, rows.Err()
}

// choose weighs the indices that f can use, and gives the one by which the
// fewest records must be looked at, and how many. SQLite itself would guess.
func (r *Reader) choose(ctx context.Context, f *Filter, all []index) (best index, least int, err error) {
	for _, i := range all {
		n, err := r.weigh(ctx, f, &i)
		if err != nil {
			return index{}, 0, err
		}
		if best.name == "" || n < least {
			best, least = i, n
		}
	}
	return best, least, nil
}

// weigh counts the entries of an index that must be looked at, up to a bound.
func (r *Reader) weigh(ctx context.Context, f *Filter, i *index) (n int, err error) {
	var c condition
	if i.ordered { // time follows what is looked up
		c = f.period()
	}
	c = i.selection("1", c)
	err = r.db.QueryRowContext(ctx, "SELECT count(*) FROM ("+c.sql+" LIMIT ?)", append(c.args, r.weighed+1)...).Scan(&n)
	return n, err
}

func (r *Reader) records(ctx context.Context, query string, args ...any) ([]conntrack.Record, error) {
	rows, err := r.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []conntrack.Record
	for rows.Next() {
		rec, err := scanned(rows.Scan)
		if err != nil {
			return nil, err
		}
		out = append(out, rec)
	}
	return out, rows.Err()
}
