package trail

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// sampled is how many records are looked at for a guess.
const sampled = 512

// spare is how many more of the sample's matches are taken for newer than is
// likely, so that a guess hardly ever falls short and is made for nothing.
const spare = 6

// rowWork is how much more work a row is than an entry of an index.
const rowWork = 3

// sample is a record that a guess is made from.
type sample struct {
	time  int64
	match bool
	in    []bool // which indices find it
}

// guess is for filters whose indices all find so many records that nobody counts
// them. From a sample of all it guesses since when there are enough that match:
// that is what newer asks for; and which index finds those with the least work.
func (r *Reader) guess(ctx context.Context, f Filter, all []index) (newer Filter, by index, err error) {
	var first, last int64
	err = r.db.QueryRowContext(ctx, "SELECT coalesce((SELECT min(seq) FROM records), 0), coalesce((SELECT max(seq) FROM records), 0)").
		Scan(&first, &last)
	if err != nil {
		return f, by, err
	}
	samples, err := r.sample(ctx, first, last, &f, all)
	if err != nil {
		return f, by, err
	}
	newer = f.newer(samples, int(int64(f.limit())*sampled/(last-first+1))+spare)
	least := math.MaxInt
	for i := range all {
		n := newer.work(samples, i, all[i].ordered)
		if !all[i].covers(&f) {
			n *= rowWork
		}
		if n < least {
			by, least = all[i], n
		}
	}
	return newer, by, nil
}

// newer asks for what matches since the nth of the samples that do, if there are
// so many.
func (f Filter) newer(samples []sample, n int) Filter {
	var matches []int64
	for _, s := range samples {
		if s.match {
			matches = append(matches, s.time)
		}
	}
	if n < len(matches) {
		slices.Sort(matches)
		f.Since = time.UnixMicro(matches[len(matches)-1-n])
	}
	return f
}

// work is how many of the samples the ith index looks at. One in order ends when
// there are enough.
func (f *Filter) work(samples []sample, i int, ordered bool) (n int) {
	for _, s := range samples {
		at := time.UnixMicro(s.time)
		if s.in[i] && !(ordered && (at.Before(f.Since) || !f.Until.IsZero() && !at.Before(f.Until))) {
			n++
		}
	}
	return n
}

// sample looks at some of the records from first to last.
func (r *Reader) sample(ctx context.Context, first, last int64, f *Filter, of []index) (out []sample, err error) {
	seqs := make([]int64, sampled)
	for i := range seqs {
		seqs[i] = first + rand.Int64N(last-first+1)
	}
	array, err := json.Marshal(seqs)
	if err != nil {
		return nil, err
	}
	q := f.sampling(of)
	rows, err := r.db.QueryContext(ctx, q.sql, append(q.args, string(array))...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		s := sample{in: make([]bool, len(of))}
		into := []any{&s.time, &s.match}
		for i := range s.in {
			into = append(into, &s.in[i])
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

// sampling is the query for the time of each record of a JSON array of numbers,
// and whether it matches and each index would find it.
func (f *Filter) sampling(of []index) condition {
	q := condition{sql: "SELECT time"}
	add := func(c condition) {
		q = condition{q.sql + ", " + cmp.Or(c.sql, "1"), append(q.args, c.args...)}
	}
	add(f.where())
	for _, i := range of {
		add(f.answered(i.answers))
	}
	q.sql += " FROM records NOT INDEXED WHERE seq IN (SELECT value FROM json_each(?))"
	return q
}
