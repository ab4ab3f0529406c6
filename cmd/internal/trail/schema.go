package trail

import (
	"database/sql"
	"fmt"
)

// migrations make each version of the schema from the one before; how many of
// them were applied is the database's user_version. One that was released is
// never changed.
//
// Times are microseconds since 1970, durations microseconds, addresses 16
// bytes (IPv4 mapped), so that a prefix is a range. Texts from the wire are
// blobs: any bytes. A pinhole's records and a session's are unique by what they
// tell; a refusal is by its seq, which the writer gives it once.
var migrations = []string{created, translated, served, covered, outsides}

// outsides finds a data port as those outside see it.
const outsides = `
CREATE INDEX by_outside ON records (action, reason, outside_port, time, seq, client, server, user, dst_port) WHERE outside_port <> 0;
`

// covered makes indices by which any two conditions are looked up, or looked at
// without reading rows: each may hold for very many records and both for none. The
// kinds of records are few, so that an index can begin with them and serve without
// them too; by_client stays, since a prefix may have half of all. The totals are of
// the records with these indices.
const covered = `
DROP INDEX by_server;
DROP INDEX by_user;
DROP INDEX by_port;
DROP INDEX by_action;
DROP INDEX by_reason;
CREATE INDEX by_kind ON records (action, reason, time);
CREATE INDEX by_kind_client ON records (action, reason, client, time);
CREATE INDEX by_server ON records (action, reason, server, client, time);
CREATE INDEX by_user ON records (action, reason, user, time) WHERE user <> x'';
CREATE INDEX by_user_client ON records (action, reason, user, client, time) WHERE user <> x'';
CREATE INDEX by_user_server ON records (action, reason, user, server, time, seq, client) WHERE user <> x'';
CREATE INDEX by_port ON records (action, reason, dst_port, time, seq, client, server, user) WHERE dst_port <> 0;
CREATE INDEX refused ON records (time) WHERE action = 4;
UPDATE totals SET bytes = (SELECT coalesce(sum(900 + 6*length(user) + length(path)), 0) FROM records WHERE (action = 4) = refusals);
`

// served adds which backend serves a pinhole.
const served = `
ALTER TABLE records ADD COLUMN backend TEXT NOT NULL DEFAULT '';
`

// translated adds what the gateway translates (NAT).
const translated = `
ALTER TABLE records ADD COLUMN outside BLOB NOT NULL DEFAULT x'';
ALTER TABLE records ADD COLUMN outside_port INTEGER NOT NULL DEFAULT 0;
ALTER TABLE records ADD COLUMN seen_as BLOB NOT NULL DEFAULT x'';
`

const created = `
CREATE TABLE records (
	seq INTEGER PRIMARY KEY,
	time INTEGER NOT NULL,
	action INTEGER NOT NULL,
	reason TEXT NOT NULL,
	flow INTEGER NOT NULL,
	client BLOB NOT NULL,
	client_port INTEGER NOT NULL,
	server BLOB NOT NULL,
	server_port INTEGER NOT NULL,
	user BLOB NOT NULL,
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
	count INTEGER NOT NULL,
	to_server INTEGER NOT NULL,
	to_client INTEGER NOT NULL,
	duration INTEGER NOT NULL,
	pinholes INTEGER NOT NULL,
	denied INTEGER NOT NULL,
	conflicts INTEGER NOT NULL,
	flags INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX once_pinhole ON records (id, action) WHERE id <> '';
CREATE UNIQUE INDEX once_session ON records (flow, action) WHERE action >= 5;
-- With what a search for many looks at, so that it need not read the rows.
CREATE INDEX by_time ON records (time, client, server, action);
CREATE INDEX by_client ON records (client, time);
CREATE INDEX by_server ON records (server, time);
CREATE INDEX by_user ON records (user, time) WHERE user <> x'';
CREATE INDEX by_port ON records (dst_port, time) WHERE dst_port <> 0;
CREATE INDEX by_action ON records (action, time);
CREATE INDEX by_reason ON records (reason, time) WHERE reason <> '';

-- The pinholes that have no close yet, so that those of a crash are found at once.
CREATE TABLE unclosed (id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

-- How much there is of refusals (1) and of all else (0), about, in bytes.
CREATE TABLE totals (refusals INTEGER PRIMARY KEY, bytes INTEGER NOT NULL) STRICT;
INSERT INTO totals VALUES (0, 0), (1, 0);
`

// migrate brings the schema up to date.
func migrate(db *sql.DB) error {
	version, err := schemaVersion(db)
	if err != nil {
		return err
	}
	if version > len(migrations) {
		return errNewer
	}
	for ; version < len(migrations); version++ {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback() // after Commit it does nothing
		if _, err := tx.Exec(migrations[version]); err != nil {
			return err
		}
		if _, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", version+1)); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}

func schemaVersion(db *sql.DB) (version int, err error) {
	err = db.QueryRow("PRAGMA user_version").Scan(&version)
	return version, err
}
