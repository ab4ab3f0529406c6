package trail

import (
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
	Port             uint16 // the data port that was opened or refused, also as it is from outside
	Action           conntrack.Action
	Reasons          []conntrack.Reason // any of them
	// Limit is how many records there are at the most, the newest; 0 is 1000.
	Limit int
}

const defaultLimit = 1000

func (f *Filter) limit() int { return cmp.Or(f.Limit, defaultLimit) }

// condition is a part of a WHERE clause with its arguments.
type condition struct {
	sql  string
	args []any
}

func (c condition) and(more condition) condition {
	switch {
	case more.sql == "":
		return c
	case c.sql == "":
		return more
	}
	return condition{c.sql + " AND " + more.sql, slices.Concat(c.args, more.args)}
}

// clause is the condition as it follows a table's name.
func (c condition) clause() string {
	if c.sql == "" {
		return ""
	}
	return " WHERE " + c.sql
}

// rows is the condition for the rows of a table in which f may find records, but for
// the clients.
func (f *Filter) rows(t *table) condition {
	var c condition
	if !f.Since.IsZero() { // the time of a row is its latest
		c = c.and(condition{"time >= ?", []any{f.Since.UnixMicro()}})
	}
	c = c.and(f.events(t))
	if f.User != "" {
		c = c.and(condition{"? IN (" + t.users() + ")", []any{[]byte(f.User)}})
	}
	if f.Port != 0 {
		c = c.and(condition{"? IN (dst_port, outside_port)", []any{int64(f.Port)}})
	}
	if n := len(f.Reasons); n > 0 {
		c = c.and(condition{sql: "reason IN (?" + strings.Repeat(", ?", n-1) + ")"})
		for _, reason := range f.Reasons {
			c.args = append(c.args, string(reason))
		}
	}
	if len(f.Servers) > 0 {
		c = c.and(inRanges("server", rangesOf(f.Servers)))
	}
	return c
}

// ofAll is the condition for the rows that f asks for, with the clients.
func (f *Filter) ofAll(t *table) condition {
	c := f.rows(t)
	if len(f.Clients) > 0 {
		c = c.and(inRanges("client", rangesOf(f.Clients)))
	}
	return c
}

// events is the condition that a row may have an event that f asks for, in its
// period. What the other conditions hold for already is not asked again: each costs
// time for every row.
func (f *Filter) events(t *table) condition {
	if len(f.Reasons) > 0 && f.Until.IsZero() || f.Action == 0 && f.Until.IsZero() {
		return condition{} // the latest is one
	}
	some := condition{sql: "0"}
	for i, e := range t.events {
		switch {
		case !f.asks(t, i):
		case f.Until.IsZero():
			some.sql += " OR " + e.at + " IS NOT NULL"
		default:
			some.sql += " OR " + e.at + " < ?"
			some.args = append(some.args, f.Until.UnixMicro())
		}
	}
	return condition{"(" + some.sql + ")", some.args}
}

// counts is the condition that f asks for an event of a row, as a number.
func (f *Filter) counts(t *table, event int) condition {
	if !f.asks(t, event) {
		return condition{sql: "0"}
	}
	at := t.events[event].at
	c := condition{sql: at + " IS NOT NULL"}
	if !f.Since.IsZero() {
		c = c.and(condition{at + " >= ?", []any{f.Since.UnixMicro()}})
	}
	if !f.Until.IsZero() {
		c = c.and(condition{at + " < ?", []any{f.Until.UnixMicro()}})
	}
	c.sql = "(" + c.sql + ")"
	return c
}

// times are the columns with the times of a table's events, NULL where f does not ask
// for that record. There are none if f asks for none of the table's.
func (f *Filter) times(t *table) (columns []condition) {
	some := false
	for i, e := range t.events {
		c := condition{sql: e.at}
		switch {
		case !f.asks(t, i):
			c.sql = "NULL"
		case f.User != "" && e.user != "":
			c = condition{"CASE WHEN " + e.user + " = ? THEN " + e.at + " END", []any{[]byte(f.User)}}
		}
		some = some || c.sql != "NULL"
		columns = append(columns, c)
	}
	if !some {
		return nil
	}
	return columns
}

// asks reports whether f may find records of an event. Only the last one has a
// reason, and sessions have no port.
func (f *Filter) asks(t *table, event int) bool {
	switch {
	case f.Action != 0 && f.Action != t.events[event].action:
	case len(f.Reasons) > 0 && event != len(t.events)-1:
	case f.Port != 0 && t == &sessions:
	default:
		return true
	}
	return false
}

// has reports whether a time is in the period of f.
func (f *Filter) has(at int64) bool {
	return (f.Since.IsZero() || at >= f.Since.UnixMicro()) && (f.Until.IsZero() || at < f.Until.UnixMicro())
}
