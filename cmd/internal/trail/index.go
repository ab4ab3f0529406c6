package trail

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"ftpinhole/conntrack"
)

// index is a way to find the records of a filter.
type index struct {
	name string
	// parts are what is looked up, no record in two of them.
	parts []part
	// ordered: each part is in the order of time.
	ordered bool
	// answers are the filter's conditions that hold for all it finds, and knows
	// those for which no row need be read.
	answers, knows []string
}

// part is a range of an index of the schema.
type part struct {
	of string
	condition
}

// manyParts is how many are looked up in one query; SQLite takes no more than 500.
const manyParts = 400

// kind is what a record tells: there are few.
type kind struct {
	action conntrack.Action
	reason conntrack.Reason
}

// allKinds is the query for all kinds that there are, and first that of no record.
// It steps from one to the next; DISTINCT would read all.
const allKinds = `WITH RECURSIVE kinds (action, reason) AS (
	SELECT 0, '' UNION ALL
	SELECT r.action, r.reason FROM kinds CROSS JOIN records AS r ON r.seq = coalesce(
		(SELECT seq FROM records INDEXED BY by_kind WHERE action = +kinds.action AND reason > +kinds.reason ORDER BY reason LIMIT 1),
		(SELECT seq FROM records INDEXED BY by_kind WHERE action > +kinds.action ORDER BY action, reason LIMIT 1))
) SELECT action, reason FROM kinds`

// kinds are those of which f may find records, and that of none.
func (r *Reader) kinds(ctx context.Context, f *Filter) ([]kind, error) {
	rows, err := r.db.QueryContext(ctx, allKinds)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []kind
	for rows.Next() {
		var k kind
		if err := rows.Scan(&k.action, &k.reason); err != nil {
			return nil, err
		}
		if k.action == 0 || f.finds(k) {
			out = append(out, k)
		}
	}
	return out, rows.Err()
}

// finds says whether f may find records of a kind.
func (f *Filter) finds(k kind) bool {
	return (f.Action == 0 || f.Action == k.action) && (len(f.Reasons) == 0 || slices.Contains(f.Reasons, k.reason))
}

// indices are the indices that f can use.
func (r *Reader) indices(ctx context.Context, f *Filter) ([]index, error) {
	kinds, err := r.kinds(ctx, f)
	return f.indices(kinds), err
}

// indices are the indices that f can use, of these kinds. Those in part need their
// own condition repeated.
func (f *Filter) indices(kinds []kind) []index {
	var out []index
	clients, servers := rangesOf(f.Clients), rangesOf(f.Servers)
	user := condition{"user = ? AND user <> x''", []any{[]byte(f.User)}}
	if f.User != "" && clients != nil {
		out = append(out, ofKinds("by_user_client", kinds).with("user", user).within("client", clients))
	}
	if f.User != "" && servers != nil {
		out = append(out, ofKinds("by_user_server", kinds, "client").with("user", user).within("server", servers))
	}
	if f.User != "" {
		out = append(out, ofKinds("by_user", kinds).with("user", user))
	}
	if f.Port != 0 {
		out = append(out, byPort(f.Port, kinds))
	}
	if servers != nil && clients != nil {
		out = append(out, ofKinds("by_server", kinds).within("server", servers).within("client", clients))
	} else if servers != nil {
		out = append(out, ofKinds("by_server", kinds).within("server", servers).unordered())
	}
	ofAKind := f.Action != 0 || len(f.Reasons) > 0
	if clients != nil && ofAKind {
		out = append(out, ofKinds("by_kind_client", kinds).within("client", clients))
	} else if clients != nil {
		out = append(out, index{name: "by_client", parts: []part{{of: "by_client"}}, ordered: true}.within("client", clients))
	}
	if ofAKind {
		out = append(out, ofKinds("by_kind", kinds))
	}
	return append(out, index{name: "by_time", parts: []part{{of: "by_time"}}, ordered: true, knows: []string{"client", "server"}})
}

// ofKinds is an index, which begins with the kind of record.
func ofKinds(name string, kinds []kind, knows ...string) index {
	i := index{name: name, ordered: true, answers: []string{"kind"}, knows: append(knows, "kind")}
	for _, k := range kinds {
		i.parts = append(i.parts, part{name, condition{"action = ? AND reason = ?", []any{int64(k.action), string(k.reason)}}})
	}
	return i
}

// byPort looks up a data port in two indices: as it is, and as it is from outside.
func byPort(port uint16, kinds []kind) index {
	p := int64(port)
	i := ofKinds("by_port", kinds, "user", "client", "server").
		with("port", condition{"dst_port = ? AND dst_port <> 0", []any{p}})
	outside := ofKinds("by_outside", kinds).
		with("port", condition{"outside_port = ? AND outside_port <> 0 AND dst_port <> ?", []any{p, p}})
	i.parts = append(i.parts, outside.parts...)
	return i
}

// with looks up, in each part, what a condition holds for.
func (i index) with(of string, c condition) index {
	parts := make([]part, len(i.parts))
	for n, p := range i.parts {
		parts[n] = part{p.of, p.and(c)}
	}
	i.parts, i.answers, i.knows = parts, append(i.answers, of), append(i.knows, of)
	return i
}

// within looks up, in each part, ranges of addresses; of too many, all from the
// first to the last.
func (i index) within(column string, ranges []keys) index {
	i.knows = append(i.knows, column)
	if len(i.parts)*len(ranges) > manyParts {
		ranges = []keys{{ranges[0].low, ranges[len(ranges)-1].high}}
	} else {
		i.answers = append(i.answers, column)
	}
	parts := i.parts
	i.parts = nil
	for _, k := range ranges {
		c := condition{column + " = ?", []any{k.low}}
		if !bytes.Equal(k.low, k.high) {
			i.ordered = false
			c = condition{column + " BETWEEN ? AND ?", []any{k.low, k.high}}
		}
		for _, p := range parts {
			i.parts = append(i.parts, part{p.of, p.and(c)})
		}
	}
	return i
}

// unordered is for one that has another column before the time.
func (i index) unordered() index {
	i.ordered = false
	return i
}

// covers says that i has all that f asks for: no rows are read to look.
func (i *index) covers(f *Filter) bool {
	return !slices.ContainsFunc(f.asked(), func(a asked) bool { return !slices.Contains(i.knows, a.of) })
}

// selection is the query for some columns of what the index finds and more holds
// of; where it is ordered, an ORDER BY time may follow.
func (i *index) selection(columns string, more condition) condition {
	var all condition
	var each []string
	for _, p := range i.parts {
		c := p.and(more)
		each = append(each, "SELECT "+columns+" FROM records INDEXED BY "+p.of+c.clause())
		all.args = append(all.args, c.args...)
	}
	all.sql = strings.Join(each, " UNION ALL ")
	return all
}
