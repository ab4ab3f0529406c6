package probe

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// conntrackAt is the priority at which conntrack takes packets at prerouting and
// output (NF_IP_PRI_CONNTRACK). Behind it, notrack has no effect.
const conntrackAt = -200

// Flags of TCP.
const (
	syn = 0x02
	ack = 0x10
)

// untracked looks for rules that keep connections out of conntrack. Ours match
// by what conntrack knows: such control connections are not read, and such data
// connections find no pinhole.
func untracked(rs *ruleset, cfg Config) []Row {
	const name = "notrack"
	early := []uint32{prerouting, output}
	wanted := func(_ *chain, r rule) bool { return slices.ContainsFunc(r.exprs, notracks) }

	control := wherever(rs, cfg, early, cfg.earlyControl, wanted)
	rows := hiders(name, Error, control, "take", "control connections to port %d out of conntrack: nothing of them is read, and nothing is recorded")

	// What takes both is said once.
	data := slices.DeleteFunc(wherever(rs, cfg, early, cfg.earlyData, wanted), func(r reaches) bool {
		return slices.ContainsFunc(control, r.sameRule)
	})
	rows = append(rows, hiders(name, Warning, data, "take", "data connections to port %d out of conntrack: no pinhole lets them in")...)

	if len(rows) == 0 {
		rows = []Row{{Name: name, Detail: "conntrack sees the connections to port " + portList(cfg.Ports)}}
	}
	return append(rows, synproxies(rs, cfg, control)...)
}

// synproxies looks for SYNPROXY, which shakes hands in the server's place and
// takes up the connection to the server by itself: that handshake passes no hook
// of ours. Its rules see the SYNs that the rules in notracked kept out of
// conntrack, or all of them.
func synproxies(rs *ruleset, cfg Config, notracked []reaches) []Row {
	const name, what = "synproxy", "the clients of port %d in their server's place (SYNPROXY): nothing of these sessions is followed, and nothing opens for them"
	find := func(state uint32) []reaches {
		return wherever(rs, cfg, []uint32{input, forward}, func(family uint8, c *chain) []packet {
			return cfg.requests(c, packet{family: family, state: state, flags: syn})
		}, func(c *chain, r rule) bool {
			return slices.ContainsFunc(r.exprs, func(e expression) bool { return rs.synproxies(c, e) })
		})
	}

	found := find(stateNew)
	if len(notracked) > 0 {
		for _, r := range find(stateUntracked) {
			r.certain = r.certain && notracked[0].certain
			if !slices.ContainsFunc(found, r.sameRule) {
				found = append(found, r)
			}
		}
	}
	if len(found) == 0 {
		return []Row{{Name: name, Detail: "not on port " + portList(cfg.Ports)}}
	}
	return hiders(name, Error, found, "answer", what)
}

// hiders are the rows of rules that hide connections from us; the level is for
// those that surely do.
func hiders(name string, level Level, found []reaches, verb, what string) []Row {
	var rows []Row
	for _, r := range found {
		whom := fmt.Sprintf(what, r.port)
		row := Row{Name: name, Level: level, Detail: fmt.Sprintf("%s %ss %s", r, verb, whom),
			Mend: "leave these ports out of that rule, or delete it: " + r.chain.deletion(r.rule)}
		if !r.certain {
			row.Level = Warning
			row.Detail = fmt.Sprintf("%s may %s %s", r, verb, whom)
		}
		rows = append(rows, row)
	}
	return rows
}

func (r reaches) sameRule(other reaches) bool {
	return r.chain.chainKey == other.chain.chainKey && r.rule.handle == other.rule.handle
}

// earlyControl are the packets of control connections that come by a chain
// before conntrack.
func (cfg Config) earlyControl(family uint8, c *chain) []packet {
	if c.priority >= conntrackAt {
		return nil
	}
	var all []packet
	for _, flags := range []uint8{syn, ack} {
		pkt := packet{family: family, state: stateInvalid, flags: flags}
		all = append(all, cfg.requests(c, pkt)...)
		pkt.flags |= ack
		all = append(all, cfg.answers(c, pkt)...)
	}
	return all
}

// earlyData are SYNs of data connections, as any of them may come: to the first
// port, the last, and one that all systems choose; in active mode from port 20.
func (cfg Config) earlyData(family uint8, c *chain) []packet {
	if c.priority >= conntrackAt || !slices.Contains(cfg.way(), c.hook) {
		return nil
	}
	var all []packet
	for _, port := range []uint16{1024, clientPort, 65535} {
		for _, from := range []uint16{20, clientPort} {
			all = append(all, packet{family: family, state: stateInvalid, sport: from, dport: port, flags: syn})
		}
	}
	return all
}

// requests gives the packet a copy for each control port, if a client's packets
// come by the chain's hook.
func (cfg Config) requests(c *chain, pkt packet) []packet {
	var all []packet
	if cfg.passes(c.hook, map[uint32][]string{
		prerouting: {"forward", "input"}, input: {"input"}, forward: {"forward"}, output: {"output"},
	}) {
		for _, port := range cfg.Ports {
			pkt.sport, pkt.dport = clientPort, port
			all = append(all, pkt)
		}
	}
	return all
}

// answers is requests for a server's packets, before conntrack.
func (cfg Config) answers(c *chain, pkt packet) []packet {
	var all []packet
	if cfg.passes(c.hook, map[uint32][]string{prerouting: {"forward", "output"}, output: {"input"}}) {
		for _, port := range cfg.Ports {
			pkt.sport, pkt.dport, pkt.reply = port, clientPort, true
			all = append(all, pkt)
		}
	}
	return all
}

// passes reports whether one of our hooks has connections that pass this one.
func (cfg Config) passes(hook uint32, by map[uint32][]string) bool {
	return slices.ContainsFunc(by[hook], func(ours string) bool { return slices.Contains(cfg.Hooks, ours) })
}

// notracks reports whether an expression is notrack, or iptables' -j CT
// --notrack or -j NOTRACK.
func notracks(e expression) bool {
	const notrack = 1 // XT_CT_NOTRACK, in the flags that struct xt_ct_target_info begins with
	switch e.name {
	case "notrack":
		return true
	case "target":
		info := e.attr[unix.NFTA_TARGET_INFO]
		switch e.text(unix.NFTA_TARGET_NAME) {
		case "NOTRACK":
			return true
		case "CT":
			return len(info) >= 2 && native16(info, 0)&notrack != 0
		}
	}
	return false
}

// objectSynproxy is NFT_OBJECT_SYNPROXY.
const objectSynproxy = 10

// synproxies reports whether an expression is the synproxy statement, with its
// parameters, with an object or with a map of objects, or iptables' -j SYNPROXY.
func (rs *ruleset) synproxies(c *chain, e expression) bool {
	switch e.name {
	case "synproxy":
		return true
	case "objref":
		if kind, immediate := e.number(unix.NFTA_OBJREF_IMM_TYPE); immediate {
			return kind == objectSynproxy
		}
		elems, err := rs.elements(c.family, c.table, e.text(unix.NFTA_OBJREF_SET_NAME))
		return err == nil && slices.ContainsFunc(elems, func(el element) bool {
			return rs.proxies[objectKey{c.family, c.table, el.object}]
		})
	case "target":
		return e.text(unix.NFTA_TARGET_NAME) == "SYNPROXY"
	}
	return false
}
