package top

// column is how a list shows one of its cells.
type column struct {
	title string
	least int  // columns of the terminal
	end   bool // the end is what counts
	wide  bool // only where there is room to spare
}

func pinholeColumns() []column {
	return []column{
		{title: "LEFT", least: 11}, {title: "CMD", least: 4}, {title: "FROM", least: 21, end: true}, {title: "TO", least: 21, end: true},
		{title: "USER", least: 10}, {title: "ID", least: 18, wide: true},
	}
}

func sessionColumns() []column {
	return []column{
		{title: "STATE", least: 9}, {title: "AGE", least: 6}, {title: "CLIENT", least: 21, end: true}, {title: "SERVER", least: 15, end: true},
		{title: "HOLES", least: 5}, {title: "DENIED", least: 6}, {title: "USER", least: 8}, {title: "FLOW", least: 16, wide: true},
	}
}

// widths gives each column its least, then lets those grow whose cells are
// longer; 0 is a column that is left out.
func widths(columns []column, list []row, room int) []int {
	w := make([]int, len(columns))
	left := room - 1 // the mark of what is selected
	for i, c := range columns {
		if !c.wide {
			w[i] = c.least
			left -= c.least + 1
		}
	}
	for i, c := range columns {
		want := len(c.title)
		for _, r := range list {
			want = max(want, width(r.cells[i]))
		}
		switch grow := min(want-c.least, left); {
		case c.wide && left > c.least:
			w[i] = c.least
			left -= c.least + 1
		case !c.wide && grow > 0:
			w[i] += grow
			left -= grow
		}
	}
	return w
}

// line is a row of cells in their columns.
func line(mark string, columns []column, w []int, cells []string) string {
	out := mark
	for i, c := range columns {
		if w[i] > 0 {
			out += fit(cells[i], w[i], c.end) + " "
		}
	}
	return out
}
