package probe

import "golang.org/x/sys/unix"

// xtables is an iptables match in an nft rule (nft_compat): its name, and its
// structure of include/uapi/linux/netfilter/ as it is in memory.
func (p packet) xtables(e expression) answer {
	rev, _ := e.number(unix.NFTA_MATCH_REV)
	info := e.attr[unix.NFTA_MATCH_INFO]
	switch name := e.text(unix.NFTA_MATCH_NAME); {
	case name == "comment":
		return yes
	case name == "connmark" && rev == 1 && len(info) >= 9: // xt_connmark_mtinfo1
		a := p.hasMark(native32(info, 0), native32(info, 4))
		if info[8] != 0 {
			return a.not()
		}
		return a
	case name == "state" && len(info) >= 4: // xt_state_info
		return sure(native32(info, 0)&p.state != 0)
	case name == "conntrack" && rev >= 1 && rev <= 3 && len(info) >= 152:
		return p.conntrack(rev, info)
	case name == "tcp" && len(info) >= 12: // xt_tcp
		return p.tcp(info)
	case name == "multiport" && rev == 1 && len(info) >= 48: // xt_multiport_v1
		return p.multiport(info)
	case name == "udp" || name == "icmp" || name == "icmp6" || name == "sctp":
		return no
	}
	return maybe
}

func (p packet) hasMark(mark, mask uint32) answer {
	switch {
	case (p.mark^mark)&mask&p.markKnown != 0 || mark&^mask != 0:
		return no
	case mask&^p.markKnown != 0:
		return maybe
	}
	return yes
}

// conntrack is xt_conntrack_mtinfo1 to 3, of which it knows the state.
func (p packet) conntrack(rev uint32, info []byte) answer {
	const (
		flags, inverted, states = 146, 148, 150 // match_flags, invert_flags, state_mask
		byState                 = 1             // XT_CONNTRACK_STATE
		alias                   = 1 << 13       // XT_CONNTRACK_STATE_ALIAS: it was -m state
		untracked               = 1 << 8        // XT_CONNTRACK_STATE_UNTRACKED, which is another bit here
	)
	mask := uint32(info[states])
	if rev >= 2 {
		mask = uint32(native16(info, states))
	}
	if native16(info, flags)&byState == 0 {
		return maybe
	}
	state := p.state
	if state == stateUntracked {
		state = untracked
	}
	a := sure(mask&state != 0)
	if native16(info, inverted)&byState != 0 {
		a = a.not()
	}
	if a == yes && native16(info, flags)&^alias != byState {
		return maybe
	}
	return a
}

func (p packet) tcp(info []byte) answer {
	const invertSource, invertDest, invertFlags = 1, 2, 4 // XT_TCP_INV_SRCPT, XT_TCP_INV_DSTPT, XT_TCP_INV_FLAGS
	a := between(p.sport, native16(info, 0), native16(info, 2), info[11]&invertSource != 0)
	a = min(a, between(p.dport, native16(info, 4), native16(info, 6), info[11]&invertDest != 0))
	if info[8] != 0 { // an option
		a = min(a, maybe)
	}
	return min(a, p.hasFlags(info[9], info[10], info[11]&invertFlags != 0))
}

func (p packet) hasFlags(mask, want uint8, invert bool) answer {
	a := sure(p.flags&mask == want)
	switch {
	case mask == 0:
		return yes
	case p.flags == 0:
		return maybe
	case invert:
		return a.not()
	}
	return a
}

func between(port, from, to uint16, invert bool) answer {
	a := sure(port >= from && port <= to)
	switch {
	case from == 0 && to == 0xffff:
		a = yes
	case port == 0:
		return maybe
	}
	if invert {
		return a.not()
	}
	return a
}

func (p packet) multiport(info []byte) answer {
	const source, dest = 0, 1 // enum xt_multiport_flags; 2 is either
	a := no
	for i, n := 0, min(int(info[1]), 15); i < n; i++ {
		from := native16(info, 2+2*i)
		to := from
		if info[32+i] != 0 && i+1 < n { // the first of a range
			i++
			to = native16(info, 2+2*i)
		}
		if info[0] != dest {
			a = max(a, between(p.sport, from, to, false))
		}
		if info[0] != source {
			a = max(a, between(p.dport, from, to, false))
		}
	}
	if info[47] != 0 {
		return a.not()
	}
	return a
}
