package trail

import (
	"database/sql"
	"fmt"
	"log/slog"
)

// version is the database's user_version. In converting, the tables of today are
// there, and the old one still has what was not moved.
const (
	version    = 7
	converting = version - 1
)

// today is the schema.
//
// Times are microseconds since 1970, durations microseconds, addresses 16 bytes
// (IPv4 mapped), so that a prefix is a range. Texts from the wire are blobs: any
// bytes. The time of a row is that of its latest record, and reason why it closed,
// ended or was refused. What is asked for stands in the index of the time too: whatever
// the conditions, that is looked through fast enough. In a row, what is added up stands
// first, since SQLite reads a row up to the last column that is asked for.
const today = `
CREATE TABLE pinholes (
	seq INTEGER PRIMARY KEY,
	time INTEGER NOT NULL,
	opened INTEGER,
	used INTEGER,
	closed INTEGER,
	to_server INTEGER NOT NULL,
	to_client INTEGER NOT NULL,
	duration INTEGER NOT NULL,
	client BLOB NOT NULL,
	server BLOB NOT NULL,
	user BLOB NOT NULL,
	reason TEXT NOT NULL,
	flags INTEGER NOT NULL,
	flow INTEGER NOT NULL,
	client_port INTEGER NOT NULL,
	server_port INTEGER NOT NULL,
	mode INTEGER NOT NULL,
	command TEXT NOT NULL,
	transfer TEXT NOT NULL,
	path BLOB NOT NULL,
	id TEXT NOT NULL,
	src BLOB NOT NULL,
	src_port INTEGER NOT NULL,
	from_port INTEGER NOT NULL,
	dst BLOB NOT NULL,
	dst_port INTEGER NOT NULL,
	timeout INTEGER NOT NULL,
	outside BLOB NOT NULL,
	outside_port INTEGER NOT NULL,
	seen_as BLOB NOT NULL,
	backend TEXT NOT NULL,
	-- What the open and the use record say otherwise; NULL: the same.
	open_transfer TEXT,
	open_path BLOB,
	use_transfer TEXT,
	use_path BLOB
) STRICT;
CREATE UNIQUE INDEX pinholes_by_id ON pinholes (id) WHERE id <> '';
CREATE INDEX pinholes_by_time ON pinholes (time, user, client, server, reason, dst_port, outside_port, opened, used, closed);
CREATE INDEX pinholes_by_client ON pinholes (client, time);
CREATE INDEX pinholes_open ON pinholes (seq) WHERE closed IS NULL;

CREATE TABLE sessions (
	seq INTEGER PRIMARY KEY,
	time INTEGER NOT NULL,
	started INTEGER,
	ended INTEGER,
	flow INTEGER NOT NULL UNIQUE,
	client BLOB NOT NULL,
	client_port INTEGER NOT NULL,
	server BLOB NOT NULL,
	server_port INTEGER NOT NULL,
	user BLOB NOT NULL,
	reason TEXT NOT NULL,
	flags INTEGER NOT NULL,
	to_server INTEGER NOT NULL,
	to_client INTEGER NOT NULL,
	duration INTEGER NOT NULL,
	pinholes INTEGER NOT NULL,
	denied INTEGER NOT NULL,
	conflicts INTEGER NOT NULL,
	start_user BLOB -- NULL: the same
) STRICT;
CREATE INDEX sessions_by_time ON sessions (time, user, start_user, client, server, reason, started, ended);
CREATE INDEX sessions_by_client ON sessions (client, time);

CREATE TABLE refusals (
	seq INTEGER PRIMARY KEY,
	time INTEGER NOT NULL,
	flow INTEGER NOT NULL,
	client BLOB NOT NULL,
	client_port INTEGER NOT NULL,
	server BLOB NOT NULL,
	server_port INTEGER NOT NULL,
	user BLOB NOT NULL,
	reason TEXT NOT NULL,
	flags INTEGER NOT NULL,
	mode INTEGER NOT NULL,
	command TEXT NOT NULL,
	transfer TEXT NOT NULL,
	path BLOB NOT NULL,
	id TEXT NOT NULL,
	src BLOB NOT NULL,
	src_port INTEGER NOT NULL,
	from_port INTEGER NOT NULL,
	dst BLOB NOT NULL,
	dst_port INTEGER NOT NULL,
	timeout INTEGER NOT NULL,
	outside BLOB NOT NULL,
	outside_port INTEGER NOT NULL,
	seen_as BLOB NOT NULL,
	backend TEXT NOT NULL,
	count INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX refusals_by_id ON refusals (id) WHERE id <> '';
CREATE INDEX refusals_by_time ON refusals (time, user, client, server, reason, dst_port, outside_port, flow);
CREATE INDEX refusals_by_client ON refusals (client, time);

-- How much there is of refusals (1) and of all else (0), about, in bytes.
CREATE TABLE totals (refusals INTEGER PRIMARY KEY, bytes INTEGER NOT NULL) STRICT;
INSERT INTO totals VALUES (0, 0), (1, 0);
`

// migrate brings the schema up to date. What it has done stays done when it is
// killed, and the next one goes on from there.
func migrate(s *store, log *slog.Logger) error {
	v, err := schemaVersion(s.db)
	if err != nil {
		return err
	}
	if v > version {
		return errNewer
	}
	if v == 0 {
		return s.step(today, version)
	}
	for ; v < converting; v++ {
		if err := s.step(migrations[v], v+1); err != nil {
			return err
		}
	}
	if v == converting {
		return s.convert(log)
	}
	return nil
}

// step makes one version from another.
func (s *store) step(sql string, version int) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	if _, err := tx.Exec(sql); err != nil {
		return err
	}
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
		return err
	}
	return tx.Commit()
}

func schemaVersion(db *sql.DB) (version int, err error) {
	err = db.QueryRow("PRAGMA user_version").Scan(&version)
	return version, err
}
