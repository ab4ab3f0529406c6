package trail

import (
	"database/sql"
	"slices"

	"ftpinhole/conntrack"
)

var sessionEvents = []event{{action: conntrack.Start, at: "started", user: "coalesce(start_user, user)"}, {action: conntrack.End, at: "ended", user: "user"}}

// sessions has a row for each control session.
var sessions = table{
	name: "sessions", kind: others, key: "flow",
	events:  sessionEvents,
	columns: "time, started, ended, " + sessionColumns + ", to_server, to_client, duration, pinholes, denied, conflicts, start_user",
	size:    "250 + 3*length(user)", sizeOf: sessionBytes, values: valuesOfSession, scanned: scannedSession,
}

func sessionBytes(l *life) int64 { return 250 + 3*int64(len(l.latest().User)) }

func valuesOfSession(l *life) []any {
	r := l.latest()
	v := slices.Concat(times(l, 2), sessionValues(l), []any{
		int64(r.BytesToServer), int64(r.BytesToClient), r.Duration.Microseconds(), int64(r.Pinholes), int64(r.Denied), int64(r.Conflicts),
	})
	// A session mostly starts before anybody has logged in. NULL is what the row says.
	if start := l[0]; start != nil && start.User != r.User {
		return append(v, []byte(start.User))
	}
	return append(v, nil)
}

func scannedSession(scan func(...any) error) (seq int64, l life, err error) {
	var r row
	var opened, denied, conflicts int
	var startUser sql.Null[[]byte]
	err = scan(slices.Concat(r.times(2), r.session(), []any{&r.toServer, &r.toClient, &r.duration, &opened, &denied, &conflicts, &startUser})...)
	if err != nil {
		return 0, l, err
	}
	l = r.life(sessionEvents)
	if start := l[0]; start != nil && startUser.Valid {
		start.User = string(startUser.V)
	}
	if end := l[1]; end != nil {
		end.Pinholes, end.Denied, end.Conflicts = opened, denied, conflicts
		r.end(end)
	}
	return r.seq, l, nil
}
