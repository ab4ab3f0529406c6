package trail

import (
	"fmt"
	"slices"
	"strings"

	"ftpinhole/conntrack"
)

// life is what the records tell of one thing, in the order of its events: a
// pinhole's open, use and close, a session's start and end, or a refusal. An
// event that has not come is nil.
type life [3]*conntrack.Record

// latest returns the record that knows most.
func (l *life) latest() *conntrack.Record {
	for _, r := range slices.Backward(l[:]) {
		if r != nil {
			return r
		}
	}
	return nil
}

// with adds the events that l lacks. An event is recorded once: of two records
// of the same event the first counts.
func (l life) with(more life) life {
	for i, r := range more {
		if l[i] == nil {
			l[i] = r
		}
	}
	return l
}

// table holds one kind of life, a row each.
type table struct {
	name   string
	kind   int // by which it is pruned
	events []event
	// key is the column that names a life; "" if nothing does.
	key string
	// columns are those of values and scanned; seq stands before them.
	columns string
	// size is about what a row takes, in SQL; sizeOf is the same of a life.
	size    string
	sizeOf  func(*life) int64
	values  func(*life) []any
	scanned func(scan func(...any) error) (seq int64, l life, err error)
}

// event is one of a life's records.
type event struct {
	action conntrack.Action
	// at is the column of its time, NULL if it has not come.
	at string
	// user is the name that this record alone may tell otherwise than the row, in SQL.
	user string
}

// What is pruned apart: a flood of refusals pushes out nothing else.
const (
	others = iota
	refused
	kinds
)

var tables = []*table{&pinholes, &sessions, &refusals}

// tableOf returns the table of an action, and which of its events that is.
func tableOf(a conntrack.Action) (*table, int) {
	for _, t := range tables {
		for i, e := range t.events {
			if e.action == a {
				return t, i
			}
		}
	}
	return &refusals, 0 // there is no other action
}

func kindOf(r *conntrack.Record) int {
	t, _ := tableOf(r.Action)
	return t.kind
}

// recordBytes is about what a record takes in the database, at the most.
func recordBytes(r *conntrack.Record) int64 {
	t, i := tableOf(r.Action)
	var l life
	l[i] = r
	return t.sizeOf(&l)
}

func (t *table) byTime() string   { return t.name + "_by_time" }
func (t *table) byClient() string { return t.name + "_by_client" }

// insertion adds a life, unless it is there already.
func (t *table) insertion() string {
	n := strings.Count(t.columns, ",") + 1
	return fmt.Sprintf("INSERT OR IGNORE INTO %s (seq, %s) VALUES (?%s)", t.name, t.columns, strings.Repeat(", ?", n))
}

// update changes all columns of a row; seq is the last argument.
func (t *table) update() string {
	return fmt.Sprintf("UPDATE %s SET %s = ? WHERE seq = ?", t.name, strings.ReplaceAll(t.columns, ",", " = ?,"))
}

// selection is the query for the whole lives that a condition holds for.
func (t *table) selection(where string) string {
	return fmt.Sprintf("SELECT seq, %s FROM %s WHERE %s", t.columns, t.name, where)
}

// named is the query for the one life of a name.
func (t *table) named() string { return t.selection(t.isNamed()) }

// having is the query for whether the life of a name has an event.
func (t *table) having(e event) string {
	return fmt.Sprintf("SELECT 1 FROM %s WHERE %s AND %s IS NOT NULL", t.name, t.isNamed(), e.at)
}

// idIs is the condition for a pinhole. An id is never empty: the index has only
// those.
const idIs = "id = ? AND id <> ''"

// isNamed is the condition that a life has a name.
func (t *table) isNamed() string {
	if t.key == "id" {
		return idIs
	}
	return t.key + " = ?"
}

// nameOf returns what names the life of a record, or nil.
func (t *table) nameOf(r *conntrack.Record) any {
	switch {
	case t.key == "id" && r.Pinhole.ID != "":
		return r.Pinhole.ID
	case t.key == "flow":
		return int64(r.FlowID)
	}
	return nil
}

// users are the columns with the names that the records of a row may tell.
func (t *table) users() string {
	if t == &sessions {
		return "user, start_user"
	}
	return "user"
}
