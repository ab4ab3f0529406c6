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

// asked is what a filter asks of one thing.
type asked struct {
	of string
	condition
}

// asked are f's conditions, but for the time.
func (f *Filter) asked() []asked {
	var out []asked
	if f.User != "" {
		out = append(out, asked{"user", condition{"user = ?", []any{[]byte(f.User)}}})
	}
	if f.Port != 0 {
		out = append(out, asked{"port", condition{"? IN (dst_port, outside_port)", []any{int64(f.Port)}}})
	}
	if f.Action != 0 {
		out = append(out, asked{"kind", condition{"action = ?", []any{int64(f.Action)}}})
	}
	if n := len(f.Reasons); n > 0 {
		c := condition{sql: "reason IN (?" + strings.Repeat(", ?", n-1) + ")"}
		for _, reason := range f.Reasons {
			c.args = append(c.args, string(reason))
		}
		out = append(out, asked{"kind", c})
	}
	if ranges := rangesOf(f.Clients); ranges != nil {
		out = append(out, asked{"client", inRanges("client", ranges)})
	}
	if ranges := rangesOf(f.Servers); ranges != nil {
		out = append(out, asked{"server", inRanges("server", ranges)})
	}
	return out
}

// where joins all that f asks for, but for what is answered.
func (f *Filter) where(answered ...string) condition {
	c := f.period()
	for _, a := range f.asked() {
		if !slices.Contains(answered, a.of) {
			c = c.and(a.condition)
		}
	}
	return c
}

// answered joins what f asks of some things.
func (f *Filter) answered(of []string) condition {
	var c condition
	for _, a := range f.asked() {
		if slices.Contains(of, a.of) {
			c = c.and(a.condition)
		}
	}
	return c
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
