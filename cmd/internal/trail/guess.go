package trail

import (
	"cmp"
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"time"
)

// sampled is how many records are looked at for a guess.
const sampled = 512

// spare is how many more of the sample's matches are taken for newer than is
// likely, so that a guess hardly ever falls short and is made for nothing.
const spare = 6

// guess is for filters that match so many records that nobody counts them. From
// a sample of all it guesses since when there are enough that match: that is what
// newer asks for. by is the index that finds those sooner than going back in time
// does; nil if none does.
func (r *Reader) guess(ctx context.Context, f Filter) (newer Filter, by *index, err error) {
	var unordered []index
	for _, i := range f.indices() {
		if !i.ordered {
			unordered = append(unordered, i)
		}
	}
	if len(unordered) == 0 {
		return f, nil, nil
	}
	var first, last int64
	err = r.db.QueryRowContext(ctx, "SELECT coalesce((SELECT min(seq) FROM records), 0), coalesce((SELECT max(seq) FROM records), 0)").
		Scan(&first, &last)
	if err != nil {
		return f, nil, err
	}
	all, matches, entries, err := r.sample(ctx, first, last, f.where(), unordered)
	if err != nil {
		return f, nil, err
	}
	at := int(int64(f.limit())*sampled/(last-first+1)) + spare
	if at >= len(matches) {
		return f, nil, nil
	}
	least := 0
	for _, t := range all {
		if t >= matches[at] && (f.Until.IsZero() || t < f.Until.UnixMicro()) {
			least++ // entries of by_time are looked at, in this proportion
		}
	}
	for i, n := range entries {
		if n < least {
			by, least = &unordered[i], n
		}
	}
	newer = f
	newer.Since = time.UnixMicro(matches[at])
	return newer, by, nil
}

// sample looks at some of the records from first to last. It returns the times of
// all of them, of those that match, the latest of these first, and how many each of
// the indices would find.
func (r *Reader) sample(ctx context.Context, first, last int64, where condition, of []index) (all, matches []int64, entries []int, err error) {
	seqs := make([]int64, sampled)
	for i := range seqs {
		seqs[i] = first + rand.Int64N(last-first+1)
	}
	array, err := json.Marshal(seqs)
	if err != nil {
		return nil, nil, nil, err
	}
	query, args := sampling(where, of)
	rows, err := r.db.QueryContext(ctx, query, append(args, string(array))...)
	if err != nil {
		return nil, nil, nil, err
	}
	defer rows.Close()
	var t int64
	var match bool
	found := make([]bool, len(of))
	into := []any{&t, &match}
	for i := range found {
		into = append(into, &found[i])
	}
	entries = make([]int, len(of))
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, nil, nil, err
		}
		all = append(all, t)
		if match {
			matches = append(matches, t)
		}
		for i, yes := range found {
			if yes {
				entries[i]++
			}
		}
	}
	slices.SortFunc(matches, func(a, b int64) int { return cmp.Compare(b, a) })
	return all, matches, entries, rows.Err()
}

// sampling is the query for the time of each record of a JSON array of numbers,
// and whether it matches and each index would find it.
func sampling(where condition, of []index) (query string, args []any) {
	query, args = "SELECT time, "+where.sql, slices.Clone(where.args)
	for _, i := range of {
		c := i.condition.and(i.exact)
		query += ", " + c.sql
		args = append(args, c.args...)
	}
	return query + " FROM records NOT INDEXED WHERE seq IN (SELECT value FROM json_each(?))", args
}
