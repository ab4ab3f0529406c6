package trail

import (
	"database/sql"
	"errors"
	"slices"

	"ftpinhole/conntrack"
)

// numbered is a record with its seq, by which a second attempt to write it is
// known.
type numbered struct {
	seq    int64
	record *conntrack.Record
}

// entry is what a batch tells of one life; seq is that of its first record.
type entry struct {
	table *table
	seq   int64
	life  life
}

// gathered are the lives of a batch, in the order of their first records: one that
// begins and ends in the batch is written once.
func gathered(batch []numbered) []*entry {
	type name struct {
		table *table
		of    any
	}
	var all []*entry
	known := make(map[name]*entry, len(batch)/3)
	for _, n := range batch {
		t, i := tableOf(n.record.Action)
		var l life
		l[i] = n.record
		of := name{t, t.nameOf(n.record)}
		if e := known[of]; of.of != nil && e != nil {
			e.life = e.life.with(l)
			continue
		}
		e := &entry{t, n.seq, l}
		all = append(all, e)
		if of.of != nil {
			known[of] = e
		}
	}
	return all
}

// putter writes the rows of one transaction.
type putter struct {
	tx      *sql.Tx
	inserts map[*table]*sql.Stmt
}

// put writes a batch, and returns how many bytes are added of each kind. What is
// there already is not written again.
func put(tx *sql.Tx, batch []numbered) (more [kinds]int64, err error) {
	p := &putter{tx, make(map[*table]*sql.Stmt)}
	for _, e := range gathered(batch) {
		n, err := p.put(e)
		if err != nil {
			return more, err
		}
		more[e.table.kind] += n
	}
	return more, nil
}

// put writes one row, and returns how much larger it is than the row that was there.
func (p *putter) put(e *entry) (int64, error) {
	named := e.table.nameOf(e.life.latest())

	// What begins in this batch is mostly not there; that is found out by the way.
	if named == nil || e.life[0] != nil {
		if added, err := p.insert(e); err != nil || added {
			return e.table.sizeOf(&e.life), err
		}
		if named == nil {
			return 0, nil
		}
	}
	return p.change(e, named)
}

func (p *putter) insert(e *entry) (added bool, err error) {
	insert := p.inserts[e.table]
	if insert == nil {
		if insert, err = p.tx.Prepare(e.table.insertion()); err != nil {
			return false, err
		}
		p.inserts[e.table] = insert
	}
	res, err := insert.Exec(slices.Concat([]any{e.seq}, e.table.values(&e.life))...)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// change adds to the row of this name what it lacks.
func (p *putter) change(e *entry, named any) (int64, error) {
	seq, before, err := e.table.scanned(p.tx.QueryRow(e.table.named(), named).Scan)
	if errors.Is(err, sql.ErrNoRows) { // its begin was lost, or pruned
		_, err := p.insert(e)
		return e.table.sizeOf(&e.life), err
	}
	if err != nil {
		return 0, err
	}
	after := before.with(e.life)
	if after == before {
		return 0, nil
	}
	_, err = p.tx.Exec(e.table.update(), append(e.table.values(&after), seq)...)
	return e.table.sizeOf(&after) - e.table.sizeOf(&before), err
}
