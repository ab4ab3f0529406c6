package probe

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// entry is one of a table of the old iptables: a rule, or a mark where a chain
// begins or ends.
type entry struct {
	at, next int
	rule     rule
	error    string // what an ERROR target names: the chain that begins behind it
	jump     int    // to the chain that begins there, if it is not 0
	foreign  bool   // not for TCP
}

// addLegacyTable makes chains of a table's entries.
func (rs *ruleset) addLegacyTable(l legacyFamily, table string, info legacyInfo, b []byte) error {
	all, err := l.entries(b)
	if err != nil {
		return err
	}
	names := make(map[int]string) // of chains, by where they begin
	for hook, name := range []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"} {
		if info.hooks&(1<<hook) != 0 {
			names[int(info.entry[hook])] = name
		}
	}
	for _, e := range all {
		if e.error != "" {
			names[e.next] = e.error
		}
	}
	priority, kind := legacyPlace(table)
	var c *chain
	for _, e := range all {
		if name, begins := names[e.at]; begins {
			c = &chain{chainKey: chainKey{l.family, table, name, true}, kind: kind, priority: priority}
			rs.chains[c.chainKey] = c
			for hook := range info.entry {
				if info.hooks&(1<<hook) != 0 && int(info.entry[hook]) == e.at {
					c.base, c.hook = true, uint32(hook)
				}
			}
			if c.base && c.kind == "nat" && (c.hook == input || c.hook == postrouting) {
				c.priority = 100 // NF_IP_PRI_NAT_SRC
			}
		}
		if c == nil || e.error != "" {
			continue
		}
		if c.base && int(info.underflow[c.hook]) == e.at { // its policy
			for _, x := range e.rule.exprs {
				c.drops = x.verdict != nil && x.verdict.code == nfDrop
			}
			continue
		}
		c.lines++
		e.rule.handle, e.rule.line = uint64(c.lines), c.lines
		if e.foreign {
			continue
		}
		if e.jump != 0 {
			e.rule.exprs[len(e.rule.exprs)-1].verdict.chain = names[e.jump]
		}
		c.rules = append(c.rules, e.rule)
	}
	return nil
}

// legacyPlace is where a table's chains stand in their hooks (enum
// nf_ip_hook_priorities), and their kind.
func legacyPlace(table string) (priority int32, kind string) {
	switch table {
	case "raw":
		return -300, "filter"
	case "mangle":
		return -150, "filter"
	case "nat":
		return -100, "nat"
	case "security":
		return 50, "filter"
	}
	return 0, "filter"
}

var errEntry = errors.New("an entry that is not as expected")

// entries takes a table apart.
func (l legacyFamily) entries(b []byte) ([]entry, error) {
	var all []entry
	for at := 0; at < len(b); {
		if len(b)-at < l.size {
			return nil, errEntry
		}
		target, next := int(native16(b, at+l.offsets)), int(native16(b, at+l.offsets+2))
		if target < l.size || next < target+targetHeader || next > len(b)-at {
			return nil, errEntry
		}
		e := entry{at: at, next: at + next}
		if err := l.parse(&e, b[at:at+next], target); err != nil {
			return nil, fmt.Errorf("at byte %d: %w", at, err)
		}
		all = append(all, e)
		at += next
	}
	return all, nil
}

// targetHeader is struct xt_entry_target without its data, and that of a match.
const targetHeader = 32

// parse takes one entry apart.
func (l legacyFamily) parse(e *entry, b []byte, target int) error {
	const (
		invProto = 0x40 // IPT_INV_PROTO, IP6T_INV_PROTO
		fragment = 1    // IPT_F_FRAG: what comes after the first fragment
	)
	proto, flags, inverted := native16(b, l.proto), b[l.flags], b[l.flags+1]
	if proto != 0 && (l.protoFlag == 0 || flags&l.protoFlag != 0) {
		e.foreign = (proto == unix.IPPROTO_TCP) == (inverted&invProto != 0)
	}
	e.foreign = e.foreign || l.family == unix.NFPROTO_IPV4 && flags&fragment != 0 && inverted == 0
	if !zero(b[l.masks[0]:l.masks[1]]) || !zero(b[l.devices[0]:l.devices[1]]) {
		e.rule.exprs = append(e.rule.exprs, expression{name: "address or interface"})
	}
	for at := l.size; at < target; {
		name, rev, data, size, err := extension(b[at:target])
		if err != nil {
			return err
		}
		e.rule.exprs = append(e.rule.exprs, expression{name: "match", attr: map[uint16][]byte{
			unix.NFTA_MATCH_NAME: name, unix.NFTA_MATCH_REV: rev, unix.NFTA_MATCH_INFO: data,
		}})
		at += size
	}
	name, rev, data, _, err := extension(b[target:])
	if err != nil {
		return err
	}
	switch text(name) {
	case "ERROR":
		e.error = text(data)
	case "": // XT_STANDARD_TARGET
		if len(data) < 4 {
			return errEntry
		}
		return e.standard(int32(native32(data, 0)), flags&l.gotoFlag != 0)
	default:
		e.rule.exprs = append(e.rule.exprs, expression{name: "target", attr: map[uint16][]byte{
			unix.NFTA_TARGET_NAME: name, unix.NFTA_TARGET_REV: rev, unix.NFTA_TARGET_INFO: data,
		}})
	}
	return nil
}

// standard is a verdict: one of Netfilter's, or where to go on.
func (e *entry) standard(n int32, isGoto bool) error {
	v := &verdict{code: unix.NFT_JUMP}
	switch {
	case n == -5: // XT_RETURN
		v.code = unix.NFT_RETURN
	case n < 0:
		v.code = -n - 1
	case int(n) == e.next: // no target
		v.code = unix.NFT_CONTINUE
	case isGoto:
		v.code, e.jump = unix.NFT_GOTO, int(n)
	default:
		e.jump = int(n)
	}
	e.rule.exprs = append(e.rule.exprs, expression{name: "verdict", verdict: v})
	return nil
}

// extension is a match or target: its name, revision, data, and size in all.
func extension(b []byte) (name, rev, data []byte, size int, err error) {
	if len(b) < targetHeader {
		return nil, nil, nil, 0, errEntry
	}
	size = int(native16(b, 0))
	if size < targetHeader || size > len(b) {
		return nil, nil, nil, 0, errEntry
	}
	return b[2:31], binary.BigEndian.AppendUint32(nil, uint32(b[31])), b[targetHeader:size], size, nil
}

func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
