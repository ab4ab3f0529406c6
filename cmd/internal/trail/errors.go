package trail

import (
	"errors"
	"io/fs"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Errors that are told apart with errors.Is.
var (
	// ErrNone: there is no database.
	ErrNone = errors.New("there is no audit trail")
	// ErrTaken: another daemon writes the database.
	ErrTaken = errors.New("another daemon writes this audit trail")
	// ErrUnknown: the trail has no pinhole of that id.
	ErrUnknown = errors.New("the audit trail has no such pinhole")
	// ErrBehind: records wait for the disk.
	ErrBehind = errors.New("the audit trail is behind: its disk is too slow; see to it")
	// ErrClosed: the trail was closed.
	ErrClosed = errors.New("the audit trail is closed")
)

var errNewer = errors.New("a newer version of ftpinhole has written it")

// primary is SQLite's primary result code, or 0 for another error.
func primary(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// unusable says of an error of openStore that the file is none of ours, or
// broken: no further attempt would mend that.
func unusable(err error) bool {
	switch primary(err) {
	case sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_MISMATCH:
		return true // it has other tables
	}
	return broken(err) || errors.Is(err, errNewer)
}

// broken says that the file is damaged.
func broken(err error) bool {
	switch primary(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return true
	}
	return false
}

// lasting says of an error of openStore that waiting does not mend it.
func lasting(err error) bool {
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return true
	}
	switch primary(err) {
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH:
		return true
	}
	return false
}
