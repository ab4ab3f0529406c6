package nft

import (
	"fmt"
	"maps"

	"github.com/google/nftables/expr"

	"ftpinhole/rules"
)

// AddRewritten sends all packets of these directions through Config.AckQueue
// before conntrack sees them, and through Config.RewriteQueue after the
// operator's filter, from the moment on that it returns. Without a reader of
// those queues they are dropped. Before Install the table only remembers them.
// ErrFull: more than Config.SetSize in all. After an error none was added.
func (t *Table) AddRewritten(tuples []rules.Tuple) error {
	t.changes.Lock()
	defer t.changes.Unlock()
	given := make(map[rules.Tuple]bool)
	fresh := 0
	b := &batch{}
	for _, tuple := range tuples {
		tuple = normalTuple(tuple)
		if err := checkTuple(tuple); err != nil {
			return err
		}
		if given[tuple] {
			continue
		}
		given[tuple] = true
		if !t.rewritten[tuple] {
			fresh++
		}
		b.addElement(directionOf(tuple), 0, 0)
	}
	if most := int(t.config.Load().SetSize); len(t.rewritten)+fresh > most {
		return fmt.Errorf("nft: rewritten sessions: %w: %d directions are in it: end some of them", ErrFull, most)
	}
	if t.installed && len(given) > 0 {
		if err := t.writer.commit(b); err != nil {
			return explain("add rewritten session", err)
		}
	}
	maps.Copy(t.rewritten, given)
	return nil
}

// RemoveRewritten ends what AddRewritten began. It is no error if it did not.
func (t *Table) RemoveRewritten(tuples []rules.Tuple) error {
	t.changes.Lock()
	defer t.changes.Unlock()
	var changes []change
	for _, tuple := range tuples {
		tuple = normalTuple(tuple)
		if t.rewritten[tuple] {
			changes = append(changes, change{element: directionOf(tuple), remove: true})
		}
		delete(t.rewritten, tuple) // lest Install put it back
	}
	if !t.installed {
		return nil
	}
	_, err := t.apply(changes)
	return explain("remove rewritten session", err)
}

// directionOf returns the element for a direction.
func directionOf(t rules.Tuple) element {
	return element{slot: slot{
		set{rewritten, t.Src.Addr().Is6(), true},
		rules.Key{Src: t.Src.Addr(), SrcPort: t.Src.Port(), Dst: t.Dst},
	}}
}

func checkTuple(t rules.Tuple) error {
	if !t.Src.IsValid() || !t.Dst.IsValid() || t.Src.Addr().Is4() != t.Dst.Addr().Is4() {
		return fmt.Errorf("nft: rewritten session: from %v to %v: needs two addresses of one family", t.Src, t.Dst)
	}
	return nil
}

func normalTuple(t rules.Tuple) rules.Tuple {
	return rules.Tuple{Src: unmapped(t.Src), Dst: unmapped(t.Dst)}
}

// acksRules: packets of rewritten sessions go to the queue of acknowledgements.
// Each has its set.
func acksRules(c *Config, xtables bool, iface ...expr.Any) []rule {
	var out []rule
	for _, s := range c.sets(rewritten) {
		exprs := append(s.member(iface), queue(xtables, c.AckQueue, 1, 0))
		out = append(out, rule{exprs: exprs})
	}
	return out
}

// rewriteRules: packets of rewritten sessions go to their own queue, marked as
// others of control connections are.
func rewriteRules(c *Config, xtables bool, iface ...expr.Any) []rule {
	var out []rule
	for _, s := range c.sets(rewritten) {
		exprs := append(s.member(iface), orMark(c.ControlMark)...)
		out = append(out, rule{exprs: append(exprs, queue(xtables, c.RewriteQueue, 1, 0))})
	}
	return out
}

// member: [iif|oif …] meta l4proto tcp … @set
func (s set) member(iface []expr.Any) []expr.Any {
	exprs := append([]expr.Any{}, iface...)
	exprs = append(exprs, isTCP()...)
	exprs = append(exprs, s.load()...)
	return append(exprs, &expr.Lookup{SourceRegister: 1, SetName: s.name()})
}
