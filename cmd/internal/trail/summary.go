package trail

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
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
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // it changes nothing
	lines := make(map[string]*Line)
	for _, t := range []*table{&pinholes, &refusals} {
		if f.times(t) == nil {
			continue
		}
		if err := addUp(ctx, tx, f, by, t, lines); err != nil {
			return nil, err
		}
	}
	out := slices.Collect(maps.Values(lines))
	slices.SortFunc(out, func(a, b *Line) int {
		return cmp.Or(cmp.Compare(b.Pinholes, a.Pinholes), cmp.Compare(b.Refusals, a.Refusals), cmp.Compare(a.Key, b.Key))
	})
	return named(out[:min(len(out), f.limit())], by), nil
}

// named gives the lines the keys that are shown.
func named(lines []*Line, by By) []Line {
	out := make([]Line, len(lines))
	for i, l := range lines {
		out[i] = *l
		if by == ByClient || by == ByServer {
			out[i].Key = addrOf([]byte(l.Key)).String()
		}
	}
	return out
}

// The records of a row that count, as a number.
const (
	countsOpen  = 1
	countsClose = 2
	countsDeny  = 4
)

// addUp adds the rows of a table. SQLite would sort them first, by what each line is
// for, which takes longer.
func addUp(ctx context.Context, tx *sql.Tx, f *Filter, by By, t *table, lines map[string]*Line) error {
	q, err := f.summing(ctx, tx, by, t)
	if err != nil {
		return err
	}
	rows, err := tx.QueryContext(ctx, q.sql, q.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var key sql.RawBytes
	var counts, toServer, toClient, amount any
	for rows.Next() {
		if err := rows.Scan(&key, &counts, &toServer, &toClient, &amount); err != nil {
			return err
		}
		if integer(counts) == 0 { // none of its records is of the period
			continue
		}
		l := lines[string(key)]
		if l == nil {
			l = &Line{Key: string(key)}
			lines[l.Key] = l
		}
		l.add(by, integer(counts), integer(toServer), integer(toClient), integer(amount))
	}
	return rows.Err()
}

// integer is a value of SQLite's, which has one kind of them.
func integer(v any) int64 {
	n, _ := v.(int64)
	return n
}

// add adds a row; amount is its duration, or how many refusals it stands for.
func (l *Line) add(by By, counts, toServer, toClient, amount int64) {
	if counts&countsOpen != 0 && by != ByReason || counts&countsClose != 0 && by == ByReason {
		l.Pinholes++
	}
	if counts&countsClose != 0 {
		l.BytesToServer += uint64(toServer)
		l.BytesToClient += uint64(toClient)
		l.Longest = max(l.Longest, time.Duration(amount)*time.Microsecond)
	}
	if counts&countsDeny != 0 {
		l.Refusals += max(int(amount), 1)
	}
}

// summing is the query for the rows of a table. By reason, only records with one count.
func (f *Filter) summing(ctx context.Context, tx *sql.Tx, by By, t *table) (condition, error) {
	columns, counts := "to_server, to_client, duration", condition{sql: "0"}
	count := func(event, as int) {
		c := f.counts(t, event)
		counts = condition{fmt.Sprintf("%s + %d*%s", counts.sql, as, c.sql), slices.Concat(counts.args, c.args)}
	}
	switch {
	case t == &refusals:
		columns = "0, 0, count"
		count(0, countsDeny)
	case by == ByReason:
		count(2, countsClose)
	default:
		count(0, countsOpen)
		count(2, countsClose)
	}
	where := f.ofAll(t)
	if by == ByReason {
		where = where.and(condition{"reason <> ''", nil})
	}
	through, err := f.through(ctx, tx, t)
	return condition{
		"SELECT " + string(by) + ", " + counts.sql + ", " + columns + " FROM " + t.name + through + where.clause(),
		slices.Concat(counts.args, where.args),
	}, err
}

// manyRows is how many rows are looked up by their time: of more, all are read, which
// is sooner done.
const manyRows = 50000

// through is how a summary goes through a table.
func (f *Filter) through(ctx context.Context, tx *sql.Tx, t *table) (string, error) {
	if f.Since.IsZero() {
		return " NOT INDEXED", nil
	}
	var n int
	count := "SELECT count(*) FROM (SELECT 1 FROM " + t.name + " INDEXED BY " + t.byTime() + " WHERE time >= ? LIMIT ?)"
	if err := tx.QueryRowContext(ctx, count, f.Since.UnixMicro(), manyRows).Scan(&n); err != nil {
		return "", err
	}
	if n < manyRows {
		return " INDEXED BY " + t.byTime(), nil
	}
	return " NOT INDEXED", nil
}
