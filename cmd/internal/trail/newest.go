package trail

import (
	"cmp"
	"encoding/json"
	"slices"

	"ftpinhole/conntrack"
)

// found is a record that matches: an event of a row.
type found struct {
	time  int64
	event int
	seq   int64
	table *table
}

// order is how records of the same microsecond follow each other.
var order = [...]int{conntrack.Start: 0, conntrack.Open: 1, conntrack.Use: 2, conntrack.Close: 3, conntrack.Deny: 4, conntrack.End: 5}

func (f *found) compare(g *found) int {
	return cmp.Or(cmp.Compare(f.time, g.time), cmp.Compare(order[f.table.events[f.event].action], order[g.table.events[g.event].action]), cmp.Compare(f.seq, g.seq))
}

// newest keeps the newest of what it is given.
type newest struct {
	limit int
	all   []found
	// from is the oldest time that is among the newest, once there are enough.
	from int64
}

func (n *newest) add(f found) {
	n.all = append(n.all, f)
	if len(n.all) == n.limit || len(n.all) >= 2*n.limit {
		n.cut()
	}
}

// cut sorts what there is, the newest first, and drops what is too much.
func (n *newest) cut() {
	slices.SortFunc(n.all, func(f, g found) int { return g.compare(&f) })
	if len(n.all) >= n.limit {
		n.all = n.all[:n.limit]
		n.from = n.all[n.limit-1].time
	}
}

// enough reports whether nothing of a time, and before, is among the newest.
func (n *newest) enough(time int64) bool { return len(n.all) >= n.limit && time < n.from }

// rows are the numbers of a table's rows among what was found, as a JSON array.
func (n *newest) rows(t *table) (string, bool, error) {
	var seqs []int64
	for _, f := range n.all {
		if f.table == t {
			seqs = append(seqs, f.seq)
		}
	}
	slices.Sort(seqs)
	array, err := json.Marshal(slices.Compact(seqs))
	return string(array), len(seqs) > 0, err
}
