package trail

import (
	"net/netip"
	"time"

	"ftpinhole/conntrack"
)

// Before version 7 there was one table, with a row for each record. One of the
// migrations below makes each of these versions from the one before. They stay as
// they were released: databases of all these versions are converted.
var migrations = []string{created, translated, served, covered, outsides, apart}

// apart makes the tables of today beside the old one, which is read from then on in
// the order of seq alone: without its indices its pages are taken for the new ones.
const apart = `
DROP INDEX once_pinhole;
DROP INDEX once_session;
DROP INDEX by_time;
DROP INDEX by_client;
DROP INDEX by_kind;
DROP INDEX by_kind_client;
DROP INDEX by_server;
DROP INDEX by_user;
DROP INDEX by_user_client;
DROP INDEX by_user_server;
DROP INDEX by_port;
DROP INDEX by_outside;
DROP INDEX refused;
DROP TABLE unclosed;
DROP TABLE totals;
` + today

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

// oldColumns are the record's, in the order of scannedRecord; seq stands before them.
const oldColumns = "time, action, reason, flow, client, client_port, server, server_port, user, " +
	"mode, command, transfer, path, id, src, src_port, from_port, dst, dst_port, timeout, count, " +
	"to_server, to_client, duration, pinholes, denied, conflicts, flags, outside, outside_port, seen_as, backend"

// The flags of an old row.
const (
	oldObserved = 1 << iota
	oldCounted
	oldEncrypted
	oldReconstructed
)

// scannedRecord reads a row of oldColumns, with seq before them.
func scannedRecord(scan func(...any) error) (seq int64, r conntrack.Record, err error) {
	var (
		at, flow, toServer, toClient, f      int64
		timeout, duration                    int64
		client, server, user, path, src, dst []byte
		outside, seenAs                      []byte
		clientPort, serverPort, dstPort      uint16
		outsidePort                          uint16
	)
	p := &r.Pinhole
	err = scan(&seq, &at, &r.Action, &r.Reason, &flow, &client, &clientPort, &server, &serverPort, &user,
		&r.Mode, &r.Command, &r.Transfer, &path, &p.ID, &src, &p.SrcPort, &p.FromPort, &dst, &dstPort, &timeout, &r.Count,
		&toServer, &toClient, &duration, &r.Pinholes, &r.Denied, &r.Conflicts, &f,
		&outside, &outsidePort, &seenAs, &p.Backend)
	if err != nil {
		return seq, r, err
	}
	r.Time = time.UnixMicro(at).UTC()
	r.FlowID, r.BytesToServer, r.BytesToClient = uint64(flow), uint64(toServer), uint64(toClient)
	r.Client, r.Server = netip.AddrPortFrom(addrOf(client), clientPort), netip.AddrPortFrom(addrOf(server), serverPort)
	p.Src, p.Dst = addrOf(src), netip.AddrPortFrom(addrOf(dst), dstPort)
	p.Outside, p.SeenAs = netip.AddrPortFrom(addrOf(outside), outsidePort), addrOf(seenAs)
	r.User, r.Path = string(user), string(path)
	p.Timeout, r.Duration = time.Duration(timeout)*time.Microsecond, time.Duration(duration)*time.Microsecond
	r.Observed, r.Counted = f&oldObserved != 0, f&oldCounted != 0
	r.Encrypted, r.Reconstructed = f&oldEncrypted != 0, f&oldReconstructed != 0
	return seq, r, nil
}
