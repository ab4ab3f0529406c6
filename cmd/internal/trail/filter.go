package trail

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ftpinhole/conntrack"
)

// Filter says which records are asked for. What is zero matches all.
type Filter struct {
	Since, Until     time.Time      // from Since on, and before Until
	Clients, Servers []netip.Prefix // of the control connection; in any of them
	User             string
	Port             uint16 // the data port that was opened or refused
	Action           conntrack.Action
	Reasons          []conntrack.Reason // any of them
	// Limit is how many records there are at the most, the newest; 0 is 1000.
	Limit int
}

const defaultLimit = 1000

// condition is a part of a WHERE clause with its arguments.
type condition struct {
	sql  string
	args []any
}

// index is a way to find the records of a filter.
type index struct {
	name string
	condition
	// ordered: the index gives what it finds in the order of time.
	ordered bool
	// Of several ranges, the condition has all and what is between them, exact
	// takes that out, and parts are each for itself. Both are empty of one.
	exact condition
	parts []condition
}

// where joins all that f asks for.
func (f *Filter) where() condition { return f.whereBut("") }

// whereBut leaves one index's condition out.
func (f *Filter) whereBut(name string) condition {
	c := f.period()
	for _, i := range f.indices() {
		if i.name != name {
			c = c.and(i.condition).and(i.exact)
		}
	}
	return c
}

// ranges are the conditions which together are i's, no record in two of them.
func (i *index) ranges() []condition {
	if len(i.parts) == 0 {
		return []condition{i.condition}
	}
	return i.parts
}

// period is the condition on the time.
func (f *Filter) period() condition {
	var c condition
	if !f.Since.IsZero() {
		c = c.and(condition{"time >= ?", []any{f.Since.UnixMicro()}})
	}
	if !f.Until.IsZero() {
		c = c.and(condition{"time < ?", []any{f.Until.UnixMicro()}})
	}
	return c
}

// indices are the indices that f's conditions can use, beside that on time.
// Those in part need their own condition repeated.
func (f *Filter) indices() []index {
	var out []index
	if f.User != "" {
		out = append(out, index{name: "by_user", condition: condition{"user = ? AND user <> x''", []any{[]byte(f.User)}}, ordered: true})
	}
	if f.Port != 0 {
		out = append(out, index{name: "by_port", condition: condition{"dst_port = ? AND dst_port <> 0", []any{int64(f.Port)}}, ordered: true})
	}
	if n := len(f.Reasons); n > 0 {
		c := condition{sql: "reason IN (?" + strings.Repeat(", ?", n-1) + ") AND reason <> ''"}
		for _, reason := range f.Reasons {
			c.args = append(c.args, string(reason))
		}
		out = append(out, index{name: "by_reason", condition: c, ordered: n == 1})
	}
	if f.Action != 0 {
		out = append(out, index{name: "by_action", condition: condition{"action = ?", []any{int64(f.Action)}}, ordered: true})
	}
	if len(f.Clients) > 0 {
		out = append(out, byAddress("by_client", "client", f.Clients))
	}
	if len(f.Servers) > 0 {
		out = append(out, byAddress("by_server", "server", f.Servers))
	}
	return out
}

// byTime is the index that any filter can use.
func byTime(f *Filter) index { return index{name: "by_time", condition: f.period(), ordered: true} }

func (f *Filter) limit() int { return cmp.Or(f.Limit, defaultLimit) }

// byAddress is the index on a column of addresses, for those in some prefixes.
func byAddress(name, column string, prefixes []netip.Prefix) index {
	type keys struct{ low, high []byte }
	var all []keys
	for _, p := range prefixes {
		low, high := keyRange(p)
		all = append(all, keys{low, high})
	}
	// Of two prefixes one is in the other, or they have no address in common.
	slices.SortFunc(all, func(a, b keys) int {
		return cmp.Or(bytes.Compare(a.low, b.low), bytes.Compare(b.high, a.high))
	})
	apart := all[:1]
	for _, k := range all[1:] {
		if bytes.Compare(k.low, apart[len(apart)-1].high) > 0 {
			apart = append(apart, k)
		}
	}
	between := func(column string, low, high []byte) condition {
		return condition{column + " BETWEEN ? AND ?", []any{low, high}}
	}
	i := index{name: name, condition: between(column, apart[0].low, apart[len(apart)-1].high)}
	if len(apart) == 1 {
		return i
	}
	for _, k := range apart {
		i.parts = append(i.parts, between(column, k.low, k.high))
		each := between("+"+column, k.low, k.high) // the + keeps it from choosing an index
		if i.exact.sql != "" {
			i.exact.sql += " OR "
		}
		i.exact = condition{i.exact.sql + each.sql, append(i.exact.args, each.args...)}
	}
	i.exact.sql = "(" + i.exact.sql + ")"
	return i
}

func (c condition) and(more condition) condition {
	switch {
	case more.sql == "":
		return c
	case c.sql == "":
		return more
	}
	return condition{c.sql + " AND " + more.sql, append(append([]any{}, c.args...), more.args...)}
}

// clause is the condition as it follows a table's name.
func (c condition) clause() string {
	if c.sql == "" {
		return ""
	}
	return " WHERE " + c.sql
}
