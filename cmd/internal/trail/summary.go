package trail

import (
	"context"
	"fmt"
	"time"

	"ftpinhole/conntrack"
)

// By is what a summary has a line for each of.
type By string

// The kinds of summary.
const (
	ByClient By = "client"
	ByServer By = "server"
	ByUser   By = "user"
	ByReason By = "reason"
)

// Line is one line of a summary.
type Line struct {
	// Key is an address, a reason, or a user: bytes from the wire.
	Key string
	// Pinholes were opened; of a reason: were closed for it.
	Pinholes      int
	BytesToServer uint64 // by data connections, as far as they were counted
	BytesToClient uint64
	Refusals      int
	Longest       time.Duration // that a pinhole, or the connection through it, was open
}

// Summary adds up all records that match, whatever the limit: that is for the
// lines, the largest first.
func (r *Reader) Summary(ctx context.Context, f Filter, by By) ([]Line, error) {
	all, err := r.indices(ctx, &f)
	if err != nil {
		return nil, r.failed(err)
	}
	chosen, _, err := r.choose(ctx, &f, all)
	if err != nil {
		return nil, r.failed(err)
	}
	counted := conntrack.Open
	if by == ByReason {
		counted = conntrack.Close
	}
	c := f.where(chosen.answers...).and(condition{"+action IN (?, ?, ?)", []any{int64(conntrack.Open), int64(conntrack.Close), int64(conntrack.Deny)}})
	if by == ByReason {
		c = c.and(condition{"+reason <> ''", nil})
	}
	c = chosen.selection(string(by)+", action, to_server, to_client, count, duration", c)
	query := fmt.Sprintf(`SELECT %[1]s, sum(action = %[2]d) AS opened,
		sum(CASE action WHEN %[3]d THEN to_server ELSE 0 END), sum(CASE action WHEN %[3]d THEN to_client ELSE 0 END),
		sum(CASE action WHEN %[4]d THEN max(count, 1) ELSE 0 END) AS refused,
		max(CASE action WHEN %[3]d THEN duration ELSE 0 END)
		FROM (%[5]s) GROUP BY %[1]s ORDER BY opened DESC, refused DESC, %[1]s LIMIT ?`,
		by, counted, conntrack.Close, conntrack.Deny, c.sql)
	rows, err := r.db.QueryContext(ctx, query, append(c.args, f.limit())...)
	if err != nil {
		return nil, r.failed(err)
	}
	defer rows.Close()
	var out []Line
	for rows.Next() {
		var l Line
		var longest int64
		var key []byte
		if err := rows.Scan(&key, &l.Pinholes, &l.BytesToServer, &l.BytesToClient, &l.Refusals, &longest); err != nil {
			return nil, r.failed(err)
		}
		l.Key, l.Longest = string(key), time.Duration(longest)*time.Microsecond
		if by == ByClient || by == ByServer {
			l.Key = addrOf(key).String()
		}
		out = append(out, l)
	}
	if err := rows.Err(); err != nil {
		return nil, r.failed(err)
	}
	return out, nil
}
