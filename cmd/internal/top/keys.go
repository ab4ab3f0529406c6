package top

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"ftpinhole/cmd/internal/cell"

	tea "charm.land/bubbletea/v2"
)

// maxFilter bounds what is typed, in bytes.
const maxFilter = 64

// key takes a key for what it means at the moment.
func (m Model) key(msg tea.KeyPressMsg) (Model, tea.Cmd) {
	key := msg.String()
	if key == "ctrl+c" {
		return m, tea.Quit
	}
	m.message = ""
	switch m.mode {
	case filtering:
		return m.edit(key, msg.Text), nil
	case confirming:
		m.mode = browsing
		if key == "y" {
			m.message = "closing " + cell.Of(m.closing.id)
			return m, m.close(m.closing.id)
		}
		m.message = "nothing is closed"
		return m, nil
	}
	if key == "q" {
		return m, tea.Quit
	}
	return m.browse(key), nil
}

func (m Model) browse(key string) Model {
	switch key {
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup":
		m.move(-m.visible())
	case "pgdown":
		m.move(m.visible())
	case "home", "g":
		m.move(-len(m.list))
	case "end", "G":
		m.move(len(m.list))
	case "tab":
		m.tab = (m.tab + 1) % tabs
		m.selected = ""
	case "s":
		_, n := m.orderName()
		m.orders[m.tab] = (m.orders[m.tab] + 1) % n
	case "r":
		m.reverse[m.tab] = !m.reverse[m.tab]
	case "/":
		m.mode = filtering
	case "esc":
		m.filter = ""
	case "c":
		m.confirm()
	}
	m.list = m.rows()
	return m
}

// move selects the row that is so many further down.
func (m *Model) move(by int) {
	if len(m.list) > 0 {
		m.selected = m.list[min(max(m.index()+by, 0), len(m.list)-1)].id
	}
}

// confirm asks whether the selected pinhole is to be closed.
func (m *Model) confirm() {
	switch {
	case m.tab != pinholes:
		m.message = "only a pinhole can be closed: tab"
	case len(m.list) > 0:
		m.mode, m.closing = confirming, m.list[m.index()]
		m.selected = m.closing.id
	}
}

// edit edits the filter.
func (m Model) edit(key, text string) Model {
	switch key {
	case "enter":
		m.mode = browsing
	case "esc":
		m.mode, m.filter = browsing, ""
	case "backspace":
		_, n := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-n]
	default:
		printable := strings.IndexFunc(text, func(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }) < 0
		if printable && len(m.filter)+len(text) <= maxFilter {
			m.filter += text
		}
	}
	m.list = m.rows()
	return m
}
