package trail

import (
	"bytes"
	"cmp"
	"net/netip"
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
}

// where joins all that f asks for.
func (f *Filter) where() condition {
	c := f.period()
	for _, i := range f.indices() {
		c = c.and(i.condition)
	}
	return c.and(within("client", f.Clients)).and(within("server", f.Servers))
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
		out = append(out, index{"by_user", condition{"user = ? AND user <> x''", []any{[]byte(f.User)}}, true})
	}
	if f.Port != 0 {
		out = append(out, index{"by_port", condition{"dst_port = ? AND dst_port <> 0", []any{int64(f.Port)}}, true})
	}
	if n := len(f.Reasons); n > 0 {
		c := condition{sql: "reason IN (?" + strings.Repeat(", ?", n-1) + ") AND reason <> ''"}
		for _, reason := range f.Reasons {
			c.args = append(c.args, string(reason))
		}
		out = append(out, index{"by_reason", c, n == 1})
	}
	if f.Action != 0 {
		out = append(out, index{"by_action", condition{"action = ?", []any{int64(f.Action)}}, true})
	}
	if len(f.Clients) > 0 {
		out = append(out, index{"by_client", hull("client", f.Clients), false})
	}
	if len(f.Servers) > 0 {
		out = append(out, index{"by_server", hull("server", f.Servers), false})
	}
	return out
}

// byTime is the index that any filter can use.
func byTime(f *Filter) index { return index{"by_time", f.period(), true} }

func (f *Filter) limit() int { return cmp.Or(f.Limit, defaultLimit) }

// hull is the one range of addresses in which all the prefixes are.
func hull(column string, prefixes []netip.Prefix) condition {
	var least, greatest []byte
	for i, p := range prefixes {
		low, high := keyRange(p)
		if i == 0 || bytes.Compare(low, least) < 0 {
			least = low
		}
		if i == 0 || bytes.Compare(high, greatest) > 0 {
			greatest = high
		}
	}
	return condition{column + " BETWEEN ? AND ?", []any{least, greatest}}
}

// within asks for an address in one of several prefixes; of one, the hull does.
func within(column string, prefixes []netip.Prefix) condition {
	if len(prefixes) < 2 {
		return condition{}
	}
	var any condition
	for _, p := range prefixes {
		low, high := keyRange(p)
		any.args = append(any.args, low, high)
	}
	each := "+" + column + " BETWEEN ? AND ?" // the + keeps it from choosing an index
	any.sql = "(" + each + strings.Repeat(" OR "+each, len(prefixes)-1) + ")"
	return any
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
