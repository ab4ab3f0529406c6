package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ftpinhole/cmd/internal/cell"
	"ftpinhole/cmd/internal/control"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// headLines is how many lines stand above the rows, and footLines below.
const (
	headLines = 9
	footLines = 1
)

// View draws the model.
func (m Model) View() tea.View {
	lines := m.frame()
	for i, l := range lines {
		switch {
		case i == headLines-1 || strings.HasPrefix(l, ">"):
			lines[i] = ansi.NewStyle().Reverse(true).Styled(l)
		case i == 0 || i == len(lines)-1:
			lines[i] = ansi.NewStyle().Bold().Styled(l)
		}
	}
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	return v
}

// visible is how many rows there is room for.
func (m Model) visible() int { return max(m.height-headLines-footLines, 1) }

// frame is the screen, each line as wide as the terminal, without styles.
func (m Model) frame() []string {
	lines := append(m.head(), "", m.heading())
	columns := pinholeColumns()
	if m.tab == sessions {
		columns = sessionColumns()
	}
	w := widths(columns, m.list, m.width)
	lines = append(lines, line(" ", columns, w, titles(columns)))
	at, n := m.index(), m.visible()
	first := max(0, min(at-n/2, len(m.list)-n))
	for i := first; i < min(first+n, len(m.list)); i++ {
		mark := " "
		if i == at {
			mark = ">"
		}
		lines = append(lines, line(mark, columns, w, m.list[i].cells))
	}
	room := max(m.height-footLines, 0)
	for len(lines) < room {
		lines = append(lines, "")
	}
	lines = append(lines[:room], m.foot())
	for i, l := range lines {
		lines[i] = fit(l, m.width, false)
	}
	return lines
}

func titles(columns []column) []string {
	var out []string
	for _, c := range columns {
		out = append(out, c.title)
	}
	return out
}

// head is how the daemon is: six lines.
func (m Model) head() []string {
	if m.now == nil {
		return append(strings.Split(ansi.Wrap("ftpinhole: "+m.why, m.width, ""), "\n"), "", "", "", "", "")[:headLines-3]
	}
	s := m.now.status
	state := "ready"
	if !s.Ready {
		state = "not ready: " + sentence(cmp.Or(s.Reason, "no reason is known"))
	}
	if s.Observe {
		state += " (observes only)"
	}
	return []string{
		fmt.Sprintf("ftpinhole %s, pid %d, up %s: %s", sentence(s.Version), s.PID, age(m.now.at.Sub(s.Since)), state),
		fmt.Sprintf("sessions  %d, and %d half open", s.Sessions, s.HalfOpen),
		fmt.Sprintf("pinholes  %d open, %d opened%s, %d used%s, %d refused%s", s.Pinholes.Open,
			s.Pinholes.Opened, m.perSecond(func(s control.Status) uint64 { return s.Pinholes.Opened }),
			s.Pinholes.Used, m.perSecond(func(s control.Status) uint64 { return s.Pinholes.Used }),
			s.Pinholes.Refused, m.perSecond(func(s control.Status) uint64 { return s.Pinholes.Refused })),
		"refused   " + m.refused(),
		fmt.Sprintf("queue     %d packets%s, %d verdict errors, %d overruns", s.Packets,
			m.perSecond(func(s control.Status) uint64 { return s.Packets }), s.VerdictErrors, s.Overruns),
		"audit     " + m.records(),
	}
}

// records is how they are written; the numbers first, which always fit.
func (m Model) records() string {
	s := m.now.status
	text := fmt.Sprintf("%d records wait, %d lost", s.RecordsWaiting, s.RecordsLost)
	if s.AuditTrouble != "" {
		text += ": " + sentence(s.AuditTrouble)
	}
	return text
}

// refused are the refusals by reason, most frequent first.
func (m Model) refused() string {
	by := m.now.status.RefusedByReason
	if len(by) == 0 {
		return "nothing so far"
	}
	var reasons []string
	for reason := range by {
		reasons = append(reasons, reason)
	}
	slices.SortFunc(reasons, func(a, b string) int { return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b)) })
	for i, reason := range reasons {
		of := func(s control.Status) uint64 { return s.RefusedByReason[reason] }
		reasons[i] = fmt.Sprintf("%s %d", cell.Of(reason), by[reason])
		if rate, _ := m.history.rate(of); rate > 0 {
			reasons[i] += m.perSecond(of)
		}
	}
	return strings.Join(reasons, ", ")
}

// heading says which list it is, and how it is sorted and filtered.
func (m Model) heading() string {
	name := "PINHOLES"
	if m.tab == sessions {
		name = "SESSIONS"
	}
	if m.now == nil {
		return name
	}
	order, _ := m.orderName()
	if m.reverse[m.tab] {
		order += ", reversed"
	}
	text := fmt.Sprintf("%s by %s", name, order)
	if m.filter != "" {
		text += fmt.Sprintf(", %d with %q", len(m.list), m.filter)
	}
	if got, total := m.counts(); got < total {
		text += fmt.Sprintf(" (the first %d of %d)", got, total)
	}
	return text
}

// foot is what is asked, what came of it, or which keys there are.
func (m Model) foot() string {
	switch {
	case m.mode == filtering:
		return "/" + m.filter + "_  enter keeps it, esc clears it"
	case m.mode == confirming:
		c := m.closing.cells
		return fmt.Sprintf("close %s? y/n  %s > %s", cell.Of(m.closing.id), c[2], c[3])
	case m.message != "":
		return m.message
	}
	return "q quit  tab list  arrows select  s sort  r reverse  / filter  c close"
}
