package probe

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxCandidates bounds how many ports are tried in a hook.
const maxCandidates = 256

// openRanges looks for ranges of ports that are open to all, as servers'
// passive ports had to be: with pinholes they need not.
func openRanges(rs *ruleset, cfg Config) []Row {
	const name = "open ports"
	var rows []Row
	all := false
	for _, hook := range cfg.Hooks {
		number, ok := hookNumber(hook)
		if !ok {
			continue
		}
		for _, family := range families {
			v := visitor{rs: rs, cfg: cfg, hook: number, family: family}
			if _, passes := v.passes(0); passes {
				all = true
				continue
			}
			for _, port := range v.candidates() {
				at, passes := v.passes(port)
				if _, next := v.passes(port + 1); !passes || !next {
					continue // one port is a service
				}
				row := Row{Name: name, Level: Warning,
					Detail: fmt.Sprintf("%s lets everybody connect to port %d and some after it", at, port),
					Mend:   "if that is for passive FTP, delete the rule: pinholes take its place"}
				if !slices.ContainsFunc(rows, func(r Row) bool { return strings.HasPrefix(r.Detail, at+" lets ") }) {
					rows = append(rows, row)
				}
			}
		}
	}
	switch {
	case len(rows) > 0:
	case all:
		rows = []Row{{Name: name, Detail: "your firewall drops no new connections"}}
	default:
		rows = []Row{{Name: name, Detail: "no range is open to all"}}
	}
	return rows
}

// visitor is somebody who has no pinhole.
type visitor struct {
	rs     *ruleset
	cfg    Config
	hook   uint32
	family uint8
}

// passes plays a new connection to a port, 0 being any, through the hook, and
// says which rule lets it through.
func (v visitor) passes(port uint16) (at string, passes bool) {
	for _, c := range v.rs.base(v.hook, v.family) {
		if c.kind != "filter" || v.cfg.own(c) {
			continue
		}
		w := &walk{rs: v.rs, pkt: v.packet(port)}
		f := w.through(c)
		if f.kind != accepted {
			return "", false
		}
		if at == "" || strings.HasPrefix(f.at, "rule ") {
			at = f.at
		}
	}
	return at, true
}

func (v visitor) packet(port uint16) packet {
	return packet{family: v.family, state: stateNew, sport: clientPort, dport: port, markKnown: ^uint32(0)}
}

// candidates are the ports from 1024 up that rules name where such a
// connection may come by, without the control ports.
func (v visitor) candidates() []uint16 {
	var ports []uint16
	for _, c := range v.rs.base(v.hook, v.family) {
		if c.kind != "filter" || v.cfg.own(c) {
			continue
		}
		w := &walk{rs: v.rs, pkt: v.packet(0)}
		w.visit = func(c *chain, r rule, _ answer, _ bool) {
			for _, e := range r.exprs {
				ports = append(ports, v.named(c, e)...)
			}
		}
		w.through(c)
	}
	slices.Sort(ports)
	ports = slices.DeleteFunc(slices.Compact(ports), func(p uint16) bool {
		return p < 1024 || p == 0xffff || slices.Contains(v.cfg.Ports, p)
	})
	return ports[:min(len(ports), maxCandidates)]
}

// named are the ports that an expression may be about: every number of two
// bytes, since one too many does no harm.
func (v visitor) named(c *chain, e expression) (ports []uint16) {
	add := func(b []byte) {
		if len(b) == 2 {
			port := uint16(b[0])<<8 | uint16(b[1])
			ports = append(ports, port, port+1) // it may be the last that is not meant
		}
	}
	switch e.name {
	case "cmp":
		add(dataValue(e.attr[unix.NFTA_CMP_DATA]))
	case "range":
		add(dataValue(e.attr[unix.NFTA_RANGE_FROM_DATA]))
	case "lookup":
		elems, err := v.rs.elements(c.family, c.table, e.text(unix.NFTA_LOOKUP_SET))
		if err != nil {
			return nil
		}
		for _, el := range elems {
			add(el.key)
		}
	case "match":
		info := e.attr[unix.NFTA_MATCH_INFO]
		switch name := e.text(unix.NFTA_MATCH_NAME); {
		case name == "tcp" && len(info) >= 12: // xt_tcp
			ports = append(ports, native16(info, 4))
		case name == "multiport" && len(info) >= 48: // xt_multiport_v1
			for i := range min(int(info[1]), 15) {
				ports = append(ports, native16(info, 2+2*i))
			}
		}
	}
	return ports
}
