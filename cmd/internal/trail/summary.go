package trail

import (
	"context"
	"fmt"
	"slices"
	"time"
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
	out, err := r.summary(ctx, &f, by)
	if err != nil {
		return nil, r.failed(err)
	}
	return out, nil
}

func (r *Reader) summary(ctx context.Context, f *Filter, by By) ([]Line, error) {
	q := f.summing(by)
	rows, err := r.db.QueryContext(ctx, q.sql, q.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Line
	for rows.Next() {
		var l Line
		var longest int64
		var key []byte
		if err := rows.Scan(&key, &l.Pinholes, &l.BytesToServer, &l.BytesToClient, &l.Refusals, &longest); err != nil {
			return nil, err
		}
		l.Key, l.Longest = string(key), time.Duration(longest)*time.Microsecond
		if by == ByClient || by == ByServer {
			l.Key = addrOf(key).String()
		}
		out = append(out, l)
	}
	return out, rows.Err()
}

// summing is the query for the lines of a summary.
func (f *Filter) summing(by By) condition {
	opened, refused := f.opened(by), f.refused(by)
	return condition{
		"SELECT line, sum(pinholes) AS pinholes, sum(to_server), sum(to_client), sum(refusals) AS refusals, max(longest) FROM (" +
			opened.sql + " UNION ALL " + refused.sql + ") GROUP BY line ORDER BY pinholes DESC, refusals DESC, line LIMIT ?",
		slices.Concat(opened.args, refused.args, []any{f.limit()}),
	}
}

// opened is the part of it for pinholes. Each row has two records that count: of the
// open and of the close, which tells the bytes.
func (f *Filter) opened(by By) condition {
	open, closed := f.counts(&pinholes, 0), f.counts(&pinholes, 2)
	counted, some := open, condition{"(" + open.sql + " OR " + closed.sql + ")", slices.Concat(open.args, closed.args)}
	if by == ByReason { // which only the close has
		counted, some = closed, closed.and(condition{"reason <> ''", nil})
	}
	q := condition{"SELECT " + string(by) + " AS line, sum(" + counted.sql + ") AS pinholes", counted.args}
	for _, column := range []string{"sum(%s * to_server) AS to_server", "sum(%s * to_client) AS to_client", "max(%s * duration) AS longest"} {
		q.sql += ", " + fmt.Sprintf(column, closed.sql)
		q.args = slices.Concat(q.args, closed.args)
	}
	where := f.ofAll(&pinholes).and(some)
	return condition{q.sql + ", 0 AS refusals FROM pinholes" + f.through(&pinholes) + where.clause() + " GROUP BY line", slices.Concat(q.args, where.args)}
}

// refused is the part for refusals, whose records say how many they stand for.
func (f *Filter) refused(by By) condition {
	where := f.ofAll(&refusals).and(f.counts(&refusals, 0))
	if by == ByReason {
		where = where.and(condition{"reason <> ''", nil})
	}
	return condition{
		"SELECT " + string(by) + ", 0, 0, 0, 0, sum(max(count, 1)) FROM refusals" + f.through(&refusals) + where.clause() + " GROUP BY " + string(by),
		where.args,
	}
}

// through is how a summary goes through a table: a row of all is read sooner than one
// that is looked up by its time.
func (f *Filter) through(t *table) string {
	if f.Since.IsZero() {
		return " NOT INDEXED"
	}
	return " INDEXED BY " + t.byTime()
}
