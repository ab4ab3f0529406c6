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

// acceptLines plays the first packet of a data connection, marked, and related if
// it is expected, through every filter chain at our hooks: none may drop it.
func acceptLines(rs *ruleset, cfg Config, expected bool) []Row {
	const name = "accept line"
	var rows []Row
	add := func(r Row) {
		if !slices.Contains(rows, r) { // IPv6 as IPv4
			rows = append(rows, r)
		}
	}
	state := uint32(stateNew)
	if expected {
		state = stateRelated
	}
	var judged []string
	for _, hook := range cfg.Hooks {
		number, ok := hookNumber(hook)
		if !ok {
			continue
		}
		for _, family := range families {
			for _, c := range rs.base(number, family) {
				if c.kind != "filter" || cfg.own(c) {
					continue
				}
				if !slices.Contains(judged, c.String()) {
					judged = append(judged, c.String())
				}
				pkt := packet{family: family, state: state, mark: cfg.Mark, markKnown: cfg.Mark}
				if c.priority <= markedAt {
					pkt.mark = 0
				}
				w := &walk{rs: rs, pkt: pkt}
				switch f := w.through(c); {
				case f.kind == accepted:
				case f.kind == unsure:
					add(Row{Name: name, Level: Warning, Detail: fmt.Sprintf("it depends on %s whether data connections pass", f.at),
						Mend: "put this line before it: " + acceptLine(c, cfg.Mark)})
				case c.priority <= markedAt:
					add(Row{Name: name, Level: Error,
						Detail: fmt.Sprintf("%s drops data connections at priority %d, before they are marked at %d", f.at, c.priority, markedAt),
						Mend:   fmt.Sprintf("give this chain a priority above %d (filter is 0)", markedAt)})
				case w.conditional != "":
					add(Row{Name: name, Level: Warning,
						Detail: fmt.Sprintf("%s accepts the mark, but only under conditions of its own; else %s drops", w.conditional, f.at),
						Mend:   "if data connections end as blocked: " + acceptLine(c, cfg.Mark)})
				default:
					add(Row{Name: name, Level: Error,
						Detail: fmt.Sprintf("%s drops data connections", f.at), Mend: acceptLine(c, cfg.Mark)})
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
	return c.legacy || c.family != unix.NFPROTO_INET && c.table == "filter" && slices.Contains([]string{"INPUT", "FORWARD", "OUTPUT"}, c.name)
}

// xtablesTool is the program that changes a chain.
func xtablesTool(k chainKey) string {
	tool := "iptables"
	if k.family == unix.NFPROTO_IPV6 {
		tool = "ip6tables"
	}
	if k.legacy {
		tool += "-legacy"
	}
	return tool
}
