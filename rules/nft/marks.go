package nft

import (
	"github.com/google/nftables/expr"
)

// candidateMark is on a connection that has a control connection's mark, until it
// uses the pinhole. It is ReopenMark, which only a connection that has used one
// bears.
const candidateMark = ReopenMark

// marksRules give a connection the mark of its control connection before it is
// routed: ct mark 0 … ct mark set … map @marks4, and so on for each map. There is
// nothing yet that this could overwrite: conntrack makes connections without a
// mark, and the operator's chains come later. One SYN gets it, since the mark
// alone may be what the operator lets pass.
func marksRules(c *Config) []rule {
	var out []rule
	for _, s := range c.sets(marks) {
		exprs := append(loneSYN(expr.CtStateBitNEW),
			&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: native(0)})
		exprs = append(exprs, s.load()...)
		out = append(out, rule{exprs: append(exprs,
			&expr.Lookup{SourceRegister: 1, SetName: s.name(), DestRegister: register(0), IsDestRegSet: true},
			&expr.Ct{Key: expr.CtKeyMARK, Register: register(0), SourceRegister: true},
		)})
	}
	return out
}

// candidateRules drop a SYN that got the mark while another used the pinhole. Sent
// again it has none, and is the operator's to judge. So is whatever else bears the
// bit: where there is no such pinhole, used or not. A lookup that is inverted leaves
// the limit alone.
func candidateRules(c *Config) []rule {
	candidate := func() []expr.Any {
		return append(loneSYN(expr.CtStateBitNEW), marked(c.Mark|candidateMark, candidateMark)...)
	}
	var out []rule
	for _, ipv6 := range []bool{false, true} {
		exprs := candidate()
		for _, s := range c.sets(pinholes) {
			if s.ipv6 == ipv6 {
				exprs = append(exprs, s.load()...)
				exprs = append(exprs, &expr.Lookup{SourceRegister: 1, SetName: s.name(), Invert: true})
			}
		}
		out = append(out, rule{exprs: append(exprs, &expr.Verdict{Kind: expr.VerdictReturn})})
	}
	return append(out, rule{exprs: append(candidate(), &expr.Verdict{Kind: expr.VerdictDrop})})
}
