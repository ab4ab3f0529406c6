package trail

import (
	"database/sql"
	"slices"

	"ftpinhole/conntrack"
)

var pinholeEvents = []event{{action: conntrack.Open, at: "opened"}, {action: conntrack.Use, at: "used"}, {action: conntrack.Close, at: "closed"}}

// pinholes has a row for each pinhole. It is written with the batch in which the
// pinhole closes: for most that is the one in which it opened. A pinhole that is
// open at the end of its batch has its row then, so that it is found while it is
// open, and after a crash, whatever became of the log.
var pinholes = table{
	name: "pinholes", kind: others, key: "id",
	events: pinholeEvents,
	columns: "time, opened, used, closed, " + sessionColumns + ", " + channelColumns +
		", to_server, to_client, duration, open_transfer, open_path, use_transfer, use_path",
	size: pinholeSize, sizeOf: pinholeBytes, values: pinholeValues, scanned: scannedPinhole,
}

// What a pinhole's row takes, about: measured, with IPv6 addresses, which the gateway
// translates. The user stands in an index too. Totals that a database has are not of
// another size: who changes it changes them in a migration.
const pinholeSize = "440 + 2*length(user) + length(path) + coalesce(length(open_path), 0) + coalesce(length(use_path), 0)"

func pinholeBytes(l *life) int64 {
	r := l.latest()
	n := 440 + 2*len(r.User) + len(r.Path)
	for _, early := range l[:2] {
		if early != nil && differs(early, r) {
			n += len(early.Path)
		}
	}
	return int64(n)
}

// differs reports whether an earlier record names the transfer otherwise. All else
// that is known when a pinhole opens stays.
func differs(early, latest *conntrack.Record) bool {
	return early.Transfer != latest.Transfer || early.Path != latest.Path
}

func pinholeValues(l *life) []any {
	r := l.latest()
	v := slices.Concat(times(l, 3), sessionValues(l), channelValues(r),
		[]any{int64(r.BytesToServer), int64(r.BytesToClient), r.Duration.Microseconds()})

	// Mostly a client names the transfer after the answer to PASV: then the open
	// record has none. NULL is what the row says.
	for _, early := range l[:2] {
		if early != nil && differs(early, r) {
			v = append(v, early.Transfer, []byte(early.Path))
		} else {
			v = append(v, nil, nil)
		}
	}
	return v
}

func scannedPinhole(scan func(...any) error) (seq int64, l life, err error) {
	var r row
	var transfers [2]sql.Null[string]
	var paths [2][]byte
	err = scan(slices.Concat(r.times(3), r.session(), r.channel(), []any{&r.toServer, &r.toClient, &r.duration},
		[]any{&transfers[0], &paths[0], &transfers[1], &paths[1]})...)
	if err != nil {
		return 0, l, err
	}
	l = r.life(pinholeEvents)
	for i, early := range l[:2] {
		if early != nil && transfers[i].Valid {
			early.Transfer, early.Path = transfers[i].V, string(paths[i])
		}
	}
	if use := l[1]; use != nil {
		use.Pinhole.SrcPort = r.srcPort
	}
	if closed := l[2]; closed != nil {
		closed.Pinhole.SrcPort = r.srcPort
		r.end(closed)
	}
	return r.seq, l, nil
}
