package top

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"ftpinhole/cmd/internal/cell"
	"ftpinhole/cmd/internal/control"
)

// row is a line of a list.
type row struct {
	id    string   // what it is, from one sample to the next
	cells []string // as they are shown
	// more is what a filter finds besides the cells.
	more string
}

func (r row) matches(filter string) bool {
	if filter == "" {
		return true
	}
	text := strings.ToLower(strings.Join(append(slices.Clone(r.cells), r.id, r.more), "\n"))
	return strings.Contains(text, strings.ToLower(filter))
}

// order is one way to sort a list.
type order[T any] struct {
	name    string
	compare func(a, b T) int
}

func pinholeOrders() []order[control.PinholeInfo] {
	type p = control.PinholeInfo
	return []order[p]{
		{"time left", func(a, b p) int {
			// Those that are used come last: their time is over.
			return cmp.Or(cmp.Compare(flag(a.SrcPort != 0), flag(b.SrcPort != 0)), cmp.Compare(a.ExpiresIn, b.ExpiresIn))
		}},
		{"age", func(a, b p) int { return a.Opened.Compare(b.Opened) }},
		{"source", func(a, b p) int { return cmp.Compare(a.Src, b.Src) }},
		{"target", func(a, b p) int { return cmp.Or(cmp.Compare(a.Dst, b.Dst), cmp.Compare(a.DstPort, b.DstPort)) }},
		{"user", func(a, b p) int { return cmp.Compare(a.User, b.User) }},
	}
}

func sessionOrders() []order[control.SessionInfo] {
	type s = control.SessionInfo
	return []order[s]{
		{"age", func(a, b s) int { return a.Since.Compare(b.Since) }},
		{"client", func(a, b s) int { return cmp.Compare(a.Client, b.Client) }},
		{"server", func(a, b s) int { return cmp.Compare(a.Server, b.Server) }},
		{"pinholes", func(a, b s) int { return cmp.Compare(b.Pinholes, a.Pinholes) }},
		{"refusals", func(a, b s) int { return cmp.Compare(b.Denied, a.Denied) }},
		{"user", func(a, b s) int { return cmp.Compare(a.User, b.User) }},
	}
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rows are the lines of a list, those that match the filter, in order. What is
// equal stays in the order of its id, so that nothing jumps.
func rows[T any](list []T, by order[T], reverse bool, filter string, show func(T) row) []row {
	type entry struct {
		T   T
		row row
	}
	var found []entry
	for _, v := range list {
		if r := show(v); r.matches(filter) {
			found = append(found, entry{v, r})
		}
	}
	slices.SortFunc(found, func(a, b entry) int {
		n := by.compare(a.T, b.T)
		if reverse {
			n = -n
		}
		return cmp.Or(n, cmp.Compare(a.row.id, b.row.id))
	})
	out := make([]row, len(found))
	for i, e := range found {
		out[i] = e.row
	}
	return out
}

func pinholeRow(p control.PinholeInfo) row {
	from, left := p.Src, p.State
	if p.SrcPort != 0 {
		from = net.JoinHostPort(p.Src, strconv.Itoa(int(p.SrcPort)))
	} else if p.ExpiresIn > 0 {
		left = strconv.FormatFloat(p.ExpiresIn, 'f', 1, 64) + "s"
	}
	return row{
		id: p.ID,
		cells: []string{
			cell.Of(left), cell.Of(p.Command), cell.Of(from), cell.Of(net.JoinHostPort(p.Dst, strconv.Itoa(int(p.DstPort)))), cell.Of(p.User), cell.Of(p.ID),
		},
		more: cell.Of(p.Client) + "\n" + cell.Of(p.Server) + "\n" + cell.Of(p.State) + "\n" + cell.Of(p.Mode),
	}
}

// sessionRow is a session as it stands at a time.
func sessionRow(at time.Time) func(control.SessionInfo) row {
	return func(s control.SessionInfo) row {
		id := strconv.FormatUint(s.FlowID, 10)
		return row{id: id, cells: []string{
			cell.Of(s.State), age(at.Sub(s.Since)), cell.Of(s.Client), cell.Of(s.Server), strconv.Itoa(s.Pinholes), strconv.Itoa(s.Denied), cell.Of(s.User), id,
		}}
	}
}

// age is a time in at most six columns.
func age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Hour:
		return d.Truncate(time.Second).String()
	case d < 100*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + "h" + strconv.Itoa(int(d%time.Hour/time.Minute)) + "m"
	}
	return strconv.Itoa(int(d/(24*time.Hour))) + "d"
}
