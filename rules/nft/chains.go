package nft

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Where our chains stand in their hooks.
const (
	// pinholePriority is after conntrack (-200) and after the operator's
	// DNAT (-100), so that the mark is there before any filter asks for it.
	pinholePriority = -90
	// controlPriority is after the operator's filter (0), so that what is
	// read is what passed.
	controlPriority = 50
	// marksPriority is right after conntrack, before any chain of the operator that
	// asks for a mark (mangle, -150), and before the packet is routed.
	marksPriority = -199
	// acksPriority is before conntrack looks at sequence numbers and
	// acknowledgements, and after fragments are put together (-400).
	acksPriority = -300
	// dnatPriority and snatPriority are just before the operator's (-100, 100):
	// the first that translates a connection is the only one.
	dnatPriority = -101
	snatPriority = 99
	// helperPriority is after every queue and every translation (100). A packet
	// that returns from a queue confirms its connection at once where that has a
	// user-space helper (nf_confirm_cthelper, net/netfilter/nf_conntrack_core.c),
	// and a connection that is confirmed is not translated any more.
	helperPriority = 300
)

// The types of base chains.
const (
	filterChain = "filter"
	natChain    = "nat" // sees a connection's first packet only
)

// chain is a base chain of policy accept.
type chain struct {
	name     string
	kind     string
	hook     uint32 // enum nf_inet_hooks
	priority int32
	rules    []rule
}

// chains returns the chains of c. With xtables the queue statement is the
// iptables target, for kernels without nft's own.
func chains(c *Config, xtables bool) []chain {
	var forward, input, output []rule
	read := func(direction byte, port uint32, iface ...expr.Any) rule {
		return controlRule(c, xtables, direction, port, iface)
	}
	if c.hooked(Forward) {
		forward = append(forward, read(original, tcpDestination), read(reply, tcpSource))
	}
	if c.hooked(Input) {
		input = append(input, read(original, tcpDestination, notLoopback(expr.MetaKeyIIF)...))
		output = append(output, read(reply, tcpSource, notLoopback(expr.MetaKeyOIF)...))
	}
	if c.hooked(Output) {
		// A loopback packet comes twice, first here: read it here.
		output = append(output, read(original, tcpDestination), read(reply, tcpSource, onLoopback(expr.MetaKeyOIF)...))
		input = append(input, read(reply, tcpSource, notLoopback(expr.MetaKeyIIF)...))
	}
	// The same with rewritten sessions: in input and prerouting, what comes by
	// loopback was read in output.
	elsewhere := notLoopback(expr.MetaKeyIIF)
	out := []chain{
		{"acks_prerouting", filterChain, unix.NF_INET_PRE_ROUTING, acksPriority, acksRules(c, xtables, elsewhere...)},
		{"marks_prerouting", filterChain, unix.NF_INET_PRE_ROUTING, marksPriority, marksRules(c)},
		{"translate_prerouting", natChain, unix.NF_INET_PRE_ROUTING, dnatPriority, destinationRules(c)},
	}
	add := func(name string, hook uint32, rewritten, control []rule) {
		rules := append([]rule{{exprs: invalidReturn()}}, rewritten...)
		out = append(out,
			chain{"pinholes_" + name, filterChain, hook, pinholePriority, pinholeRules(c)},
			chain{"control_" + name, filterChain, hook, controlPriority, append(rules, control...)})
	}
	if len(forward) > 0 {
		add("forward", unix.NF_INET_FORWARD, rewriteRules(c, xtables), forward)
	}
	if len(input) > 0 { // output too: sessions of this machine go through both
		add("input", unix.NF_INET_LOCAL_IN, rewriteRules(c, xtables, elsewhere...), input)
		add("output", unix.NF_INET_LOCAL_OUT, rewriteRules(c, xtables), output)
		out = append(out,
			chain{"acks_output", filterChain, unix.NF_INET_LOCAL_OUT, acksPriority, acksRules(c, xtables)},
			chain{"marks_output", filterChain, unix.NF_INET_LOCAL_OUT, marksPriority, marksRules(c)},
			chain{"translate_output", natChain, unix.NF_INET_LOCAL_OUT, dnatPriority, destinationRules(c)},
			chain{"translate_input", natChain, unix.NF_INET_LOCAL_IN, snatPriority, sourceRules(c)})
	}
	out = append(out,
		chain{"translate_postrouting", natChain, unix.NF_INET_POST_ROUTING, snatPriority, sourceRules(c)})
	if c.Helper == "" {
		return out
	}
	if c.hooked(Input) {
		out = append(out, chain{"helper_input", filterChain, unix.NF_INET_LOCAL_IN, helperPriority, []rule{attachRule(c)}})
	}
	return append(out,
		chain{"helper_postrouting", filterChain, unix.NF_INET_POST_ROUTING, helperPriority, []rule{attachRule(c)}})
}
