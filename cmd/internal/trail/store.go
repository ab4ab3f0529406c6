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

	"ftpinhole/conntrack"

	"modernc.org/sqlite"
)

// store is the database of the one that writes it. It belongs to one goroutine.
type store struct {
	path string
	file os.FileInfo // to notice that another file has its place
	db   *sql.DB
	next int64 // the next record's seq
	// kept is about how many bytes there are, by kind.
	kept [kinds]int64
	// oldest is the least seq that a record other than a refusal may have: none
	// is looked for among the refusals before it.
	oldest int64
}

// What is pruned apart: a flood of refusals pushes out nothing else.
const (
	others = iota
	refusals
	kinds
)

func kindOf(r *conntrack.Record) int {
	if r.Action == conntrack.Deny {
		return refusals
	}
	return others
}

// openStore opens or makes the database, with its directory.
func openStore(path string) (*store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	// SQLite gives the files beside it the mode of this one.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	// Temporary files elsewhere would be out of the confined daemon's reach.
	db, err := sql.Open("sqlite", dsn(path, url.Values{
		"_auto_vacuum": {"incremental"}, "_busy_timeout": {"1000"}, "_journal_mode": {"wal"}, "_synchronous": {"normal"},
		"_txlock": {"immediate"}, "_pragma": {"cache_size(-16384)", "journal_size_limit(16777216)", "temp_store(memory)"},
	}))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	s := &store{path: path, db: db}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// dsn names the database for SQLite; without a file: URI it would take a ? in
// the path for the beginning of options.
func dsn(path string, options url.Values) string {
	u := url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}
	return u.String()
}

func (s *store) prepare() error {
	if err := s.persistWAL(); err != nil {
		return err
	}
	if err := migrate(s.db); err != nil {
		return err
	}
	var err error
	if s.file, err = os.Stat(s.path); err != nil {
		return err
	}
	if err := s.db.QueryRow("SELECT coalesce(max(seq), 0) + 1 FROM records").Scan(&s.next); err != nil {
		return err
	}
	for kind := range s.kept {
		if err := s.db.QueryRow("SELECT bytes FROM totals WHERE refusals = ?", kind).Scan(&s.kept[kind]); err != nil {
			return err
		}
	}
	return nil
}

// persistWAL leaves the files beside the database when it is closed: who may
// read but not write could not make them, and so not read.
func (s *store) persistWAL() error {
	conn, err := s.db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(c any) error {
		control, ok := c.(sqlite.FileControl)
		if !ok {
			return errors.New("the SQLite driver has no file control")
		}
		_, err := control.FileControlPersistWAL("main", 1)
		return err
	})
}

// numbered is a record with its seq, by which a second attempt to write it is
// known.
type numbered struct {
	seq    int64
	record *conntrack.Record
}

// write adds the records in one transaction; those that are there already, not
// again.
func (s *store) write(batch []numbered) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	insert, err := tx.Prepare(insertion)
	if err != nil {
		return err
	}
	var more [kinds]int64
	for _, n := range batch {
		res, err := insert.Exec(values(n.seq, n.record)...)
		if err != nil {
			return err
		}
		if added, err := res.RowsAffected(); err != nil {
			return err
		} else if added == 0 {
			continue
		}
		more[kindOf(n.record)] += rowBytes(n.record)
		if err := noteOpen(tx, n.record); err != nil {
			return err
		}
	}
	return s.commit(tx, more)
}

// noteOpen keeps the list of pinholes that have no close.
func noteOpen(tx *sql.Tx, r *conntrack.Record) error {
	var err error
	switch r.Action {
	case conntrack.Open:
		_, err = tx.Exec("INSERT OR IGNORE INTO unclosed VALUES (?)", r.Pinhole.ID)
	case conntrack.Close:
		_, err = tx.Exec("DELETE FROM unclosed WHERE id = ?", r.Pinhole.ID)
	}
	return err
}

// commit ends a transaction that has added so many bytes, or removed them.
func (s *store) commit(tx *sql.Tx, more [kinds]int64) error {
	var kept [kinds]int64
	for kind, bytes := range more {
		row := tx.QueryRow("UPDATE totals SET bytes = bytes + ? WHERE refusals = ? RETURNING bytes", bytes, kind)
		if err := row.Scan(&kept[kind]); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.kept = kept
	return nil
}

// replaced says whether the path no longer names the database: somebody has
// moved or removed it.
func (s *store) replaced() bool {
	now, err := os.Stat(s.path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, s.file)
}

func (s *store) close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("audit trail %s: %w", s.path, err)
	}
	return nil
}
