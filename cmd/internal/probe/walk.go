package probe

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Bounds of one walk: the kernel allows 16 jumps; the rest is for rulesets
// that jump to the same large chains over and over.
const (
	maxDepth = 16
	maxRules = 200_000
)

// Verdicts of include/uapi/linux/netfilter.h.
const (
	nfDrop   = 0 // NF_DROP
	nfAccept = 1 // NF_ACCEPT
	nfStolen = 2 // NF_STOLEN
	nfQueue  = 3 // NF_QUEUE
)

// walk plays a packet through chains.
type walk struct {
	rs  *ruleset
	pkt packet
	// visit, if set, sees each rule that the packet may reach, and whether it
	// matches; certain says that it reaches it in any case.
	visit func(c *chain, r rule, matches answer, certain bool)

	rules int
	// conditional is a rule that accepts, of marked packets for the mark's sake,
	// but only under conditions that we do not know.
	conditional string
	// unmarked says that this walk only asks what the mark changes.
	unmarked bool
}

// fate is what becomes of the packet.
type fate struct {
	kind fateKind
	at   string // where, for people
}

type fateKind uint8

const (
	goesOn   fateKind = iota // to the next rule or chain
	accepted                 // by this base chain
	dropped
	unsure // taken by something else: a queue, a proxy
)

// through walks one base chain to its end, its policy included.
func (w *walk) through(c *chain) fate {
	f := w.chain(c, 0, true)
	if f.kind != goesOn {
		return f
	}
	if c.drops {
		return fate{dropped, "the policy of " + c.String()}
	}
	return fate{accepted, "the policy of " + c.String()}
}

func (w *walk) chain(c *chain, depth int, certain bool) fate {
	for _, r := range c.rules {
		if w.rules++; w.rules > maxRules || depth > maxDepth {
			return fate{unsure, fmt.Sprintf("the ruleset is too large to follow beyond %s", c)}
		}
		matches, verdicts := w.rule(c, r)
		if w.visit != nil && matches != no {
			w.visit(c, r, matches, certain)
		}
		if matches == no {
			continue
		}
		here := c.nameOf(r)
		for _, v := range verdicts {
			surely := matches == yes && len(verdicts) == 1
			f, ends := w.verdict(c, v, depth, certain && surely)
			if f.at == "" {
				f.at = here
			}
			switch {
			case surely && ends:
				return f
			case !surely && f.kind == accepted && w.conditional == "" && w.meant(c, r, v, depth):
				w.conditional = here
			}
		}
	}
	return fate{}
}

// meant reports whether a rule that accepts means our packet: one with a mark
// because of that, and not without.
func (w *walk) meant(c *chain, r rule, v verdict, depth int) bool {
	if w.unmarked || w.pkt.mark == 0 {
		return !w.unmarked
	}
	without := &walk{rs: w.rs, pkt: w.pkt, rules: w.rules, unmarked: true}
	without.pkt.mark = 0
	defer func() { w.rules = without.rules }()
	if matches, _ := without.rule(c, r); matches == no {
		return true
	}
	f, _ := without.verdict(c, v, depth, false)
	return f.kind != accepted
}

// verdict follows one; ends says that the chain ends with it.
func (w *walk) verdict(c *chain, v verdict, depth int, certain bool) (f fate, ends bool) {
	switch v.code {
	case nfAccept:
		return fate{kind: accepted}, true
	case nfDrop:
		return fate{kind: dropped}, true
	case unix.NFT_RETURN:
		return fate{}, true
	case unix.NFT_JUMP, unix.NFT_GOTO:
		to := w.rs.chains[chainKey{c.family, c.table, v.chain, c.legacy}]
		if to == nil {
			return fate{}, false
		}
		f := w.chain(to, depth+1, certain)
		return f, f.kind != goesOn || v.code == unix.NFT_GOTO
	case unix.NFT_CONTINUE, unix.NFT_BREAK:
		return fate{}, false
	}
	return fate{kind: unsure}, true // nfQueue, nfStolen
}

// rule gives whether the packet matches, and the verdicts that it may bring:
// none, one, or one for each element of a map that is looked up by a value we
// do not know.
func (w *walk) rule(c *chain, r rule) (matches answer, verdicts []verdict) {
	matches = yes
	var regs registers
	for _, e := range r.exprs {
		a := yes
		switch e.name {
		case "counter", "log", "notrack", "flow_offload", "last", "masq", "nat", "redir", "tproxy", "dup", "secmark":
		case "objref":
			const counter = 1 // NFT_OBJECT_COUNTER
			kind, immediate := e.number(unix.NFTA_OBJREF_IMM_TYPE)
			switch {
			case !immediate: // a map of objects; what is not in it ends the rule
				a, _ = w.lookupObject(c, &regs, e)
			case kind == objectSynproxy:
				verdicts = append(verdicts, verdict{code: nfStolen})
			case kind != counter && kind != unix.NFT_OBJECT_CT_HELPER:
				a = maybe // a limit or a quota
			}
		case "meta":
			if dreg, ok := e.number(unix.NFTA_META_DREG); ok {
				key, _ := e.number(unix.NFTA_META_KEY)
				regs.store(dreg, w.pkt.meta(key))
			}
		case "ct":
			if dreg, ok := e.number(unix.NFTA_CT_DREG); ok {
				key, _ := e.number(unix.NFTA_CT_KEY)
				regs.store(dreg, w.pkt.ct(key, e.attr[unix.NFTA_CT_DIRECTION]))
			}
		case "payload":
			if dreg, ok := e.number(unix.NFTA_PAYLOAD_DREG); ok {
				base, _ := e.number(unix.NFTA_PAYLOAD_BASE)
				offset, _ := e.number(unix.NFTA_PAYLOAD_OFFSET)
				n, _ := e.number(unix.NFTA_PAYLOAD_LEN)
				regs.store(dreg, w.pkt.payload(base, offset, n))
			}
		case "immediate":
			dreg, _ := e.number(unix.NFTA_IMMEDIATE_DREG)
			if v := dataVerdict(e.attr[unix.NFTA_IMMEDIATE_DATA]); v != nil {
				verdicts = append(verdicts, *v)
			} else {
				regs.store(dreg, known(dataValue(e.attr[unix.NFTA_IMMEDIATE_DATA])))
			}
		case "verdict":
			verdicts = append(verdicts, *e.verdict)
		case "cmp":
			a = compare(&regs, e)
		case "range":
			a = inRange(&regs, e)
		case "bitwise":
			bitwise(&regs, e)
		case "lookup":
			var vs []verdict
			a, vs = w.lookup(c, &regs, e)
			verdicts = append(verdicts, vs...)
		case "match":
			a = w.pkt.xtables(e)
		case "target":
			verdicts = append(verdicts, target(e)...)
		case "reject":
			verdicts = append(verdicts, verdict{code: nfDrop})
		case "synproxy":
			verdicts = append(verdicts, verdict{code: nfStolen})
		case "queue":
			verdicts = append(verdicts, verdict{code: nfQueue})
		default: // limit, fib, socket, and what is yet to come
			regs.forget()
			a = maybe
		}
		if matches = min(matches, a); matches == no {
			return no, nil
		}
	}
	return matches, verdicts
}

// lookup is the lookup expression, in a set or in a verdict map.
func (w *walk) lookup(c *chain, regs *registers, e expression) (answer, []verdict) {
	const inverted = 1 // NFT_LOOKUP_F_INV
	sreg, _ := e.number(unix.NFTA_LOOKUP_SREG)
	dreg, isMap := e.number(unix.NFTA_LOOKUP_DREG)
	flags, _ := e.number(unix.NFTA_LOOKUP_FLAGS)
	verdictMap := isMap && dreg == unix.NFT_REG_VERDICT
	// Sets of addresses may be huge, and say nothing about our packet.
	if first := regs.load(sreg, 1); !verdictMap && !first.whole() {
		regs.store(dreg, unknown(16))
		return maybe, nil
	}
	elems, err := w.rs.elements(c.family, c.table, e.text(unix.NFTA_LOOKUP_SET))
	if err != nil {
		regs.forget()
		return maybe, nil
	}
	a, i := contains(elems, func(n int) bits { return regs.load(sreg, n) })
	var verdicts []verdict
	for j, el := range elems {
		if verdictMap && el.verdict != nil && (a == maybe || a == yes && (i == j || i < 0)) {
			verdicts = append(verdicts, *el.verdict)
		}
	}
	if isMap && !verdictMap {
		regs.store(dreg, unknown(16))
	}
	if flags&inverted != 0 {
		a = a.not()
	}
	return a, verdicts
}

// lookupObject is the objref expression with a map.
func (w *walk) lookupObject(c *chain, regs *registers, e expression) (answer, int) {
	sreg, _ := e.number(unix.NFTA_OBJREF_SET_SREG)
	elems, err := w.rs.elements(c.family, c.table, e.text(unix.NFTA_OBJREF_SET_NAME))
	if err != nil {
		return maybe, -1
	}
	return contains(elems, func(n int) bits { return regs.load(sreg, n) })
}

// target is an iptables target in an nft rule. Those that are not here let the
// packet go on (XT_CONTINUE).
func target(e expression) []verdict {
	switch e.text(unix.NFTA_TARGET_NAME) {
	case "REJECT":
		return []verdict{{code: nfDrop}}
	case "NFQUEUE":
		return []verdict{{code: nfQueue}}
	case "SYNPROXY", "TARPIT":
		return []verdict{{code: nfStolen}}
	}
	return nil
}
