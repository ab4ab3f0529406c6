package top

import (
	"context"
	"fmt"
	"time"

	"ftpinhole/cmd/internal/cell"
	"ftpinhole/cmd/internal/control"

	tea "charm.land/bubbletea/v2"
)

// tab is which list is shown.
type tab int

const (
	pinholes tab = iota
	sessions
	tabs // how many there are
)

// mode is what keys mean.
type mode int

const (
	browsing mode = iota
	filtering
	confirming
)

// Model is everything that is shown. Update returns a changed copy.
type Model struct {
	ctx context.Context
	src Source

	width, height int
	now           *sample // nil: the daemon did not answer
	why           string  // why not
	history       history

	tab      tab
	orders   [tabs]int
	reverse  [tabs]bool
	filter   string
	list     []row  // what the tab shows, sorted and filtered
	selected string // a row's id
	mode     mode
	closing  row // what is asked about
	message  string
}

// New returns a model that knows nothing yet. Its questions to the daemon end
// with the context.
func New(ctx context.Context, src Source) Model {
	return Model{ctx: ctx, src: src, width: 80, height: 24, why: "asking the daemon"}
}

// The messages of the model to itself.
type (
	sampled struct {
		sample sample
		err    error
	}
	due    struct{} // it is time for a sample
	closed struct {
		id  string
		err error
	}
)

// Init asks for the first sample.
func (m Model) Init() tea.Cmd { return m.ask }

func (m Model) ask() tea.Msg {
	s, err := take(m.ctx, m.src)
	return sampled{s, err}
}

// Update takes a key, an answer of the daemon or the terminal's size.
func (m Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	m, cmd := m.update(msg)
	return m, cmd
}

func (m Model) update(msg tea.Msg) (Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case due:
		return m, m.ask
	case sampled:
		return m.sampled(msg), tea.Tick(every, func(time.Time) tea.Msg { return due{} })
	case closed:
		m.message = "closed " + cell.Of(msg.id)
		if msg.err != nil {
			m.message = sentence(msg.err.Error())
		}
	case tea.KeyPressMsg:
		return m.key(msg)
	}
	return m, nil
}

func (m Model) sampled(msg sampled) Model {
	if msg.err != nil {
		m.now, m.history, m.why = nil, nil, "trying again; "+sentence(msg.err.Error())
	} else {
		m.now, m.why = &msg.sample, ""
		m.history = m.history.add(msg.sample)
	}
	m.list = m.rows()
	return m
}

// rows are those of the list that is shown.
func (m Model) rows() []row {
	if m.now == nil {
		return nil
	}
	if m.tab == sessions {
		return rows(m.now.sessions.Sessions, sessionOrders()[m.orders[m.tab]], m.reverse[m.tab], m.filter, sessionRow(m.now.at))
	}
	return rows(m.now.pinholes.Pinholes, pinholeOrders()[m.orders[m.tab]], m.reverse[m.tab], m.filter, pinholeRow)
}

// orderName is how the list is sorted, and how many ways there are.
func (m Model) orderName() (name string, n int) {
	if m.tab == sessions {
		all := sessionOrders()
		return all[m.orders[m.tab]].name, len(all)
	}
	all := pinholeOrders()
	return all[m.orders[m.tab]].name, len(all)
}

// index is where the selected row is; the first if it is gone.
func (m Model) index() int {
	for i, r := range m.list {
		if r.id == m.selected {
			return i
		}
	}
	return 0
}

func (m Model) close(id string) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, answer)
		defer cancel()
		return closed{id, m.src.ClosePinhole(ctx, id)}
	}
}

// counts are the number of entries shown and of those that there are.
func (m Model) counts() (got, total int) {
	if m.tab == sessions {
		return len(m.now.sessions.Sessions), m.now.sessions.Total
	}
	return len(m.now.pinholes.Pinholes), m.now.pinholes.Total
}

// perSecond is a rate in brackets, "" while it is not known.
func (m Model) perSecond(of func(control.Status) uint64) string {
	r, known := m.history.rate(of)
	if !known {
		return ""
	}
	return fmt.Sprintf(" (%.1f/s)", r)
}
