package probe

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"
)

// A chain belongs to a table, a table to a family.
type chainKey struct {
	family      uint8 // NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6, …
	table, name string
	legacy      bool // of the old iptables
}

func (k chainKey) String() string {
	if k.legacy {
		return fmt.Sprintf("chain %s of table %s of %s", k.name, k.table, xtablesTool(k))
	}
	return fmt.Sprintf("chain %s of table %s %s", k.name, familyName(k.family), k.table)
}

func familyName(f uint8) string {
	switch f {
	case unix.NFPROTO_INET:
		return "inet"
	case unix.NFPROTO_IPV4:
		return "ip"
	case unix.NFPROTO_IPV6:
		return "ip6"
	}
	return fmt.Sprintf("family %d", f)
}

type chain struct {
	chainKey
	base     bool
	hook     uint32
	priority int32
	kind     string // filter, nat or route
	drops    bool   // by policy
	rules    []rule
	lines    int // of the old iptables: those that are not for TCP too
}

type rule struct {
	handle uint64
	line   int // as iptables --line-numbers counts
	exprs  []expression
}

// nameOf says which rule of the chain it is, as the tool that shows it does.
func (c *chain) nameOf(r rule) string {
	if isXtables(c) {
		return fmt.Sprintf("rule %d of %s", r.line, c)
	}
	return fmt.Sprintf("rule with handle %d of %s", r.handle, c)
}

// deletion is the command that takes a rule away.
func (c *chain) deletion(r rule) string {
	if isXtables(c) {
		return fmt.Sprintf("%s -t %s -D %s %d", xtablesTool(c.chainKey), c.table, c.name, r.line)
	}
	return fmt.Sprintf("nft delete rule %s %s %s handle %d", familyName(c.family), c.table, c.name, r.handle)
}

// expression keeps the kernel's name and attributes: a library that leaves out
// the expressions it does not know would make conditions look like none.
type expression struct {
	name    string
	attr    map[uint16][]byte
	verdict *verdict // of a "verdict", which is the old iptables' own
}

func (e expression) number(a uint16) (uint32, bool) {
	b := e.attr[a]
	if len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}

func (e expression) text(a uint16) string { return text(e.attr[a]) }

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// element is one of a set: from key to end, if there is an end.
type element struct {
	key, end    []byte
	intervalEnd bool
	verdict     *verdict
	object      string // of a map of objects
}

type verdict struct {
	code  int32
	chain string
}

// objectKey names a stateful object.
type objectKey struct {
	family      uint8
	table, name string
}

type flowtable struct {
	family      uint8
	table, name string
}

// ruleset is what nf_tables held at one moment.
type ruleset struct {
	k          *kernel
	chains     map[chainKey]*chain
	helpers    map[objectKey]string // ct helper objects: the helper's name
	proxies    map[objectKey]bool   // synproxy objects
	flowtables []flowtable
	sets       map[objectKey][]element // read when asked for
	unread     []Row                   // of the old iptables
}

func (k *kernel) ruleset() (*ruleset, error) {
	rs := &ruleset{
		k: k, chains: make(map[chainKey]*chain),
		helpers: make(map[objectKey]string), proxies: make(map[objectKey]bool), sets: make(map[objectKey][]element),
	}
	for _, part := range []struct {
		what string
		msg  netfilter.MessageType
		put  func(*netlink.AttributeEncoder)
		add  func(family uint8, a map[uint16][]byte) error
	}{
		{"chains", unix.NFT_MSG_GETCHAIN, nil, rs.addChain},
		{"rules", unix.NFT_MSG_GETRULE, nil, rs.addRule},
		{"ct helpers", unix.NFT_MSG_GETOBJ, func(ae *netlink.AttributeEncoder) {
			ae.Uint32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_CT_HELPER)
		}, rs.addHelper},
		{"synproxies", unix.NFT_MSG_GETOBJ, func(ae *netlink.AttributeEncoder) {
			ae.Uint32(unix.NFTA_OBJ_TYPE, objectSynproxy)
		}, rs.addSynproxy},
		{"flowtables", unix.NFT_MSG_GETFLOWTABLE, nil, rs.addFlowtable},
	} {
		msgs, err := k.dump(part.msg, unix.NFPROTO_UNSPEC, part.put)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", part.what, err)
		}
		for _, m := range msgs {
			if len(m.Data) < 4 {
				continue
			}
			a, err := attributes(m.Data[4:])
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", part.what, err)
			}
			if err := part.add(m.Data[0], a); err != nil {
				return nil, fmt.Errorf("list %s: %w", part.what, err)
			}
		}
	}
	rs.addLegacy()
	return rs, nil
}

func (rs *ruleset) addChain(family uint8, a map[uint16][]byte) error {
	c := &chain{chainKey: chainKey{family: family, table: text(a[unix.NFTA_CHAIN_TABLE]), name: text(a[unix.NFTA_CHAIN_NAME])}}
	c.kind = text(a[unix.NFTA_CHAIN_TYPE])
	if b := a[unix.NFTA_CHAIN_HOOK]; b != nil {
		h, err := attributes(b)
		if err != nil {
			return err
		}
		hook, priority := expression{attr: h}, int32(0)
		c.hook, c.base = hook.number(unix.NFTA_HOOK_HOOKNUM)
		if n, ok := hook.number(unix.NFTA_HOOK_PRIORITY); ok {
			priority = int32(n)
		}
		c.priority = priority
	}
	policy, ok := expression{attr: a}.number(unix.NFTA_CHAIN_POLICY)
	c.drops = ok && policy == 0 // NF_DROP
	rs.chains[c.chainKey] = c
	return nil
}

func (rs *ruleset) addRule(family uint8, a map[uint16][]byte) error {
	c := rs.chains[chainKey{family: family, table: text(a[unix.NFTA_RULE_TABLE]), name: text(a[unix.NFTA_RULE_CHAIN])}]
	if c == nil {
		return nil // made since the chains were listed
	}
	r := rule{line: len(c.rules) + 1}
	if b := a[unix.NFTA_RULE_HANDLE]; len(b) == 8 {
		r.handle = binary.BigEndian.Uint64(b)
	}
	elems, err := list(a[unix.NFTA_RULE_EXPRESSIONS])
	if err != nil {
		return err
	}
	for _, b := range elems {
		parts, err := attributes(b)
		if err != nil {
			return err
		}
		e := expression{name: text(parts[unix.NFTA_EXPR_NAME])}
		if e.attr, err = attributes(parts[unix.NFTA_EXPR_DATA]); err != nil {
			return err
		}
		r.exprs = append(r.exprs, e)
	}
	c.rules = append(c.rules, r)
	return nil
}

func (rs *ruleset) addHelper(family uint8, a map[uint16][]byte) error {
	data, err := attributes(a[unix.NFTA_OBJ_DATA])
	if err != nil {
		return err
	}
	key := objectKey{family, text(a[unix.NFTA_OBJ_TABLE]), text(a[unix.NFTA_OBJ_NAME])}
	rs.helpers[key] = text(data[unix.NFTA_CT_HELPER_NAME])
	return nil
}

func (rs *ruleset) addSynproxy(family uint8, a map[uint16][]byte) error {
	rs.proxies[objectKey{family, text(a[unix.NFTA_OBJ_TABLE]), text(a[unix.NFTA_OBJ_NAME])}] = true
	return nil
}

func (rs *ruleset) addFlowtable(family uint8, a map[uint16][]byte) error {
	const table, name = 1, 2 // NFTA_FLOWTABLE_TABLE, NFTA_FLOWTABLE_NAME
	rs.flowtables = append(rs.flowtables, flowtable{family, text(a[table]), text(a[name])})
	return nil
}

// base gives the base chains at a hook in the order in which packets of family
// (NFPROTO_IPV4 or NFPROTO_IPV6) pass them.
func (rs *ruleset) base(hook uint32, family uint8) []*chain {
	var all []*chain
	for _, c := range rs.chains {
		if c.base && c.hook == hook && (c.family == family || c.family == unix.NFPROTO_INET) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *chain) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.table, b.table), cmp.Compare(a.name, b.name))
	})
	return all
}

// elements reads a set, once.
func (rs *ruleset) elements(family uint8, table, set string) ([]element, error) {
	const keyEnd = 10 // NFTA_SET_ELEM_KEY_END
	key := objectKey{family, table, set}
	if have, ok := rs.sets[key]; ok {
		return have, nil
	}
	msgs, err := rs.k.dump(unix.NFT_MSG_GETSETELEM, family, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
	})
	if err != nil {
		return nil, fmt.Errorf("list set %s: %w", set, err)
	}
	var all []element
	for _, m := range msgs {
		if len(m.Data) < 4 {
			continue
		}
		a, err := attributes(m.Data[4:])
		if err != nil {
			return nil, err
		}
		elems, err := list(a[unix.NFTA_SET_ELEM_LIST_ELEMENTS])
		if err != nil {
			return nil, err
		}
		for _, b := range elems {
			a, err := attributes(b)
			if err != nil {
				return nil, err
			}
			flags, _ := expression{attr: a}.number(unix.NFTA_SET_ELEM_FLAGS)
			all = append(all, element{
				key: dataValue(a[unix.NFTA_SET_ELEM_KEY]), end: dataValue(a[keyEnd]),
				intervalEnd: flags&unix.NFT_SET_ELEM_INTERVAL_END != 0,
				verdict:     dataVerdict(a[unix.NFTA_SET_ELEM_DATA]),
				object:      text(a[unix.NFTA_SET_ELEM_OBJREF]),
			})
		}
	}
	rs.sets[key] = all
	return all, nil
}

// dataValue and dataVerdict take apart enum nft_data_attributes.
func dataValue(b []byte) []byte {
	a, err := attributes(b)
	if err != nil {
		return nil
	}
	return a[unix.NFTA_DATA_VALUE]
}

func dataVerdict(b []byte) *verdict {
	a, err := attributes(b)
	if err != nil || a[unix.NFTA_DATA_VERDICT] == nil {
		return nil
	}
	v, err := attributes(a[unix.NFTA_DATA_VERDICT])
	if err != nil {
		return nil
	}
	code, _ := expression{attr: v}.number(unix.NFTA_VERDICT_CODE)
	return &verdict{code: int32(code), chain: text(v[unix.NFTA_VERDICT_CHAIN])}
}
