package trail

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

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
}

// openStore opens or makes the database, with its directory. One of an older
// version is converted, which the log is told of.
func openStore(path string, log *slog.Logger) (*store, error) {
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
	if err := s.prepare(log); err != nil {
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

func (s *store) prepare(log *slog.Logger) error {
	if err := s.persistWAL(); err != nil {
		return err
	}
	if err := migrate(s, log); err != nil {
		return err
	}
	var err error
	if s.file, err = os.Stat(s.path); err != nil {
		return err
	}
	for _, t := range tables {
		var next int64
		if err := s.db.QueryRow("SELECT coalesce(max(seq), 0) + 1 FROM " + t.name).Scan(&next); err != nil {
			return err
		}
		s.next = max(s.next, next)
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

// write adds the records in one transaction; those that are there already, not
// again.
func (s *store) write(batch []numbered) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	more, err := put(tx, batch)
	if err != nil {
		return err
	}
	return s.commit(tx, more)
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
