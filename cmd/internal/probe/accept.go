package probe

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// markedAt is the priority at which our rules set the mark in each hook: in a
// chain before it the first packet of a data connection bears none.
const markedAt = -90

// enum nf_inet_hooks (include/uapi/linux/netfilter.h).
const (
	prerouting  uint32 = iota // NF_INET_PRE_ROUTING
	input                     // NF_INET_LOCAL_IN
	forward                   // NF_INET_FORWARD
	output                    // NF_INET_LOCAL_OUT
	postrouting               // NF_INET_POST_ROUTING
)

func allHooks() []uint32 { return []uint32{prerouting, input, forward, output, postrouting} }

// hookNumber knows the names that the configuration has.
func hookNumber(name string) (uint32, bool) {
	n, ok := map[string]uint32{"input": input, "forward": forward, "output": output}[name]
	return n, ok
}

var families = [...]uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}

// own reports whether a chain is ours.
func (cfg Config) own(c *chain) bool { return c.family == unix.NFPROTO_INET && c.table == cfg.Table }

// acceptLines plays the first packet of a data connection, related if it is
// expected, through every filter chain on its way: none may drop it.
func acceptLines(rs *ruleset, cfg Config, expected bool) []Row {
	const name = "accept line"
	var rows []Row
	state := uint32(stateNew)
	if expected {
		state = stateRelated
	}
	var judged []string
	for _, hook := range cfg.way() {
		for _, family := range families {
			for _, c := range rs.base(hook, family) {
				if c.kind != "filter" || cfg.own(c) {
					continue
				}
				if !slices.Contains(judged, c.String()) {
					judged = append(judged, c.String())
				}
				row := rs.judge(cfg, c, packet{family: family, state: state, mark: cfg.Mark, markKnown: cfg.Mark})
				row.Name = name
				if row.Level != OK && !slices.Contains(rows, row) { // IPv6 as IPv4
					rows = append(rows, row)
				}
			}
		}
	}
	if len(rows) == 0 {
		detail := "no filter chain at " + strings.Join(cfg.Hooks, ", ")
		if len(judged) > 0 {
			detail = "data connections pass " + strings.Join(judged, "; ")
		}
		rows = append(rows, Row{Name: name, Detail: detail})
	}
	for _, r := range rs.unread {
		r.Name = name
		rows = append(rows, r)
	}
	return rows
}

// way are the hooks that a data connection comes by, in order: ours, and what is
// before and behind them.
func (cfg Config) way() []uint32 {
	passed := make(map[uint32]bool)
	for _, name := range cfg.Hooks {
		switch name {
		case "forward":
			passed[prerouting], passed[forward], passed[postrouting] = true, true, true
		case "input":
			passed[prerouting], passed[input] = true, true
		case "output":
			passed[output], passed[postrouting] = true, true
		}
	}
	return slices.DeleteFunc(allHooks(), func(hook uint32) bool { return !passed[hook] })
}

// judge plays the packet through one chain. The row is ok if it passes.
func (rs *ruleset) judge(cfg Config, c *chain, pkt packet) Row {
	w := &walk{rs: rs, pkt: pkt}
	marked := c.hook == postrouting || c.hook != prerouting && c.priority > markedAt
	if !marked {
		w.pkt.mark = 0
	}
	if (c.hook == prerouting || c.hook == output) && c.priority < conntrackAt {
		w.pkt.state = stateInvalid
	}
	switch f := w.through(c); {
	case f.kind == accepted, !marked && rs.anyPort(c, w.pkt):
		return Row{}
	case !marked:
		return tooEarly(cfg, c, w.conditional, f)
	case f.kind == unsure:
		return Row{Level: Warning, Detail: fmt.Sprintf("it depends on %s whether data connections pass", f.at),
			Mend: "put this line before it: " + acceptLine(c, cfg.Mark)}
	case w.conditional != "":
		return Row{Level: Warning, Detail: fmt.Sprintf("%s accepts the mark, but only under conditions of its own; else %s drops", w.conditional, f.at),
			Mend: "if data connections end as blocked: " + acceptLine(c, cfg.Mark)}
	default:
		return Row{Level: Error, Detail: fmt.Sprintf("%s drops data connections", f.at), Mend: acceptLine(c, cfg.Mark)}
	}
}

// anyPort plays the packet through a chain with the first and the last port of
// data connections.
func (rs *ruleset) anyPort(c *chain, pkt packet) bool {
	for _, pkt.dport = range []uint16{1024, 65535} {
		w := &walk{rs: rs, pkt: pkt}
		if w.through(c).kind != accepted {
			return false
		}
	}
	return true
}

// tooEarly is about a chain that comes before the mark: no line helps there.
func tooEarly(cfg Config, c *chain, conditional string, f fate) Row {
	row := Row{Level: Error,
		Detail: fmt.Sprintf("%s drops data connections at priority %d, before they are marked at %d", f.at, c.priority, markedAt),
		Mend:   fmt.Sprintf("give this chain a priority above %d (filter is 0)", markedAt)}
	if c.hook == prerouting {
		row.Detail = fmt.Sprintf("%s drops data connections at prerouting, before they are marked", f.at)
		row.Mend = fmt.Sprintf("let TCP to ports from 1024 on pass there, and drop in a chain at %s, which sees the mark", strings.Join(cfg.Hooks, ", "))
	}
	switch {
	case f.kind == unsure:
		row.Level, row.Detail = Warning, fmt.Sprintf("it depends on %s whether data connections pass, before they are marked", f.at)
		row.Mend = "see that what reads that queue lets them pass"
	case conditional != "":
		row.Level, row.Detail = Warning, fmt.Sprintf("%s accepts under conditions of its own; else %s", conditional, row.Detail)
		row.Mend = "if data connections never come: " + row.Mend
	}
	return row
}

// acceptLine is the command that mends a chain that drops.
func acceptLine(c *chain, mark uint32) string {
	switch {
	case c.table == "firewalld":
		return "firewalld takes no line for a mark, but lets pass what is related: that takes the backend expect, see its row"
	case isXtables(c):
		table := ""
		if c.table != "filter" {
			table = "-t " + c.table + " "
		}
		return fmt.Sprintf("%s %s-I %s %s", xtablesTool(c.chainKey), table, c.name, xtablesLine(mark))
	}
	return fmt.Sprintf("nft insert rule %s %s %s ct mark and %#x == %#x accept", familyName(c.family), c.table, c.name, mark, mark)
}

func xtablesLine(mark uint32) string {
	return fmt.Sprintf("-m connmark --mark %#x/%#x -j ACCEPT", mark, mark)
}

// isXtables tells a table of iptables-nft by its names.
func isXtables(c *chain) bool {
	return c.legacy || c.family != unix.NFPROTO_INET && slices.Contains([]string{"filter", "mangle", "raw", "security"}, c.table) &&
		slices.Contains([]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}, c.name)
}

// xtablesTool is the program that changes a chain. Which one "iptables" is, the
// machine has chosen, and it may have chosen the other.
func xtablesTool(k chainKey) string {
	tool := "iptables"
	if k.family == unix.NFPROTO_IPV6 {
		tool = "ip6tables"
	}
	if k.legacy {
		return tool + "-legacy"
	}
	return tool + "-nft"
}
