package nft

import (
	"fmt"
	"time"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules/nfnetlink"
)

// Lengthen lets a pinhole that waits do so for d from now on. It reports false,
// and leaves the pinhole as it is, if a SYN came through it or its time was over:
// nothing that was used takes another connection.
func (t *Table) Lengthen(id string, d time.Duration, now time.Time) (bool, error) {
	return t.lengthen(id, d, now, t.renew)
}

// lengthen is Lengthen; change makes the change in the kernel.
func (t *Table) lengthen(id string, d time.Duration, now time.Time, change func([]element, time.Duration) (state, error)) (bool, error) {
	t.changes.Lock()
	defer t.changes.Unlock()
	t.mu.Lock()
	h := t.byID[id]
	var all []element
	if h != nil && !h.arrived && now.Before(h.deadline) && t.owners[elements(h.Pinhole)[0].slot] == h {
		all = t.owned(h)
	}
	t.mu.Unlock()
	if len(all) == 0 {
		return false, nil
	}

	was, err := change(all, d)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch was {
	case used:
		h.arrived = true
	case waiting:
		if err == nil {
			h.deadline = now.Add(d)
		}
	}
	return was == waiting && err == nil, explain("lengthen pinhole "+id, err)
}

// state is what a pinhole's element was like when it was to be changed.
type state uint8

const (
	absent  state = iota // its time was over, or somebody had removed it
	waiting              // no SYN had come
	used                 // one had
)

// renew gives all, of which the first is the pinhole's, d from now on. changes is
// held.
//
// From Linux 6.12 on an element that is added again takes the new time and keeps
// its limit, and the kernel echoes it. Before, nothing happens: then it goes and
// comes again, but not both in one step, so that a SYN that comes meanwhile is
// either told of or finds the port shut, and comes again after a second (RFC 6298
// section 2).
func (t *Table) renew(all []element, d time.Duration) (state, error) {
	b := &batch{}
	for i, e := range all {
		b.renewElement(e, d, i == 0)
	}
	if err := t.writer.commit(b); err != nil {
		return absent, err
	}
	if len(b.renewed) == 0 {
		return t.exchange(all, d)
	}
	was, err := stateOf(b.renewed, all[0].id)
	if was == absent && err == nil {
		// Its time was over, and there is a new one that lets nothing pass.
		_, err = t.apply(removals(all))
	}
	return was, err
}

// exchange removes the pinhole, and if it was waiting, adds it again.
func (t *Table) exchange(all []element, d time.Duration) (state, error) {
	removed, err := t.apply(removals(all[:1]))
	if err != nil {
		return absent, err
	}
	was, err := stateOf(removed, all[0].id)
	if was != waiting || err != nil {
		return was, err
	}
	var again []change
	for _, e := range all {
		again = append(again, change{element: e, add: true, timeout: d})
	}
	_, err = t.apply(again)
	return was, err
}

func removals(all []element) []change {
	var out []change
	for _, e := range all {
		out = append(out, change{element: e, remove: true})
	}
	return out
}

// renewElement gives e, if it is there, d from now on, and has the kernel echo it if
// echoed. If it is not, one comes that no SYN gets through, and whose comment is
// not e's.
func (b *batch) renewElement(e element, d time.Duration, echoed bool) {
	flags := netlink.Create
	if echoed {
		flags |= netlink.Echo
	}
	b.add(unix.NFT_MSG_NEWSETELEM, flags, note{what: "element of set " + e.set.name()}, func(ae *netlink.AttributeEncoder) {
		encodeElement(ae, e.slot, func(ae *netlink.AttributeEncoder) {
			e.encodeData(ae)
			encodeTimeout(ae, d)
			ae.Uint64(unix.NFTA_SET_ELEM_EXPIRATION, milliseconds(d))
			if e.set.purpose == pinholes {
				ae.Nested(nftaSetElemExpressions, func(ae *netlink.AttributeEncoder) error {
					return encodeExprs(ae, passNothing())
				})
			}
		})
	})
}

// passNothing is set.exprs of a pinhole that lets nothing pass: the limit lets
// those through that come after more than anybody sends in its time.
func passNothing() []expr.Any {
	return []expr.Any{
		&expr.Counter{},
		&expr.Limit{Type: expr.LimitTypePkts, Rate: 1, Unit: expr.LimitTimeDay, Burst: 1 << 15, Over: true},
	}
}

// stateOf reads what the kernel told of the pinhole with this id.
func stateOf(told []netlink.Message, id string) (state, error) {
	for _, m := range told {
		all, err := readElements(m)
		if err != nil {
			return absent, fmt.Errorf("read element: %w", err)
		}
		for _, e := range all {
			switch {
			case e.id != id:
			case e.came:
				return used, nil
			default:
				return waiting, nil
			}
		}
	}
	return absent, nil
}

// readElement is what the kernel says of an element of ours.
type readElement struct {
	id   string // its comment
	came bool   // its counter is not 0
}

// readElements returns the elements in m.
func readElements(m netlink.Message) ([]readElement, error) {
	var all []readElement
	err := nfnetlink.Attributes(m, func(ad *netlink.AttributeDecoder) {
		if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			return
		}
		nfnetlink.Nested(ad, func(ad *netlink.AttributeDecoder) {
			var e readElement
			nfnetlink.Nested(ad, func(ad *netlink.AttributeDecoder) {
				switch ad.Type() {
				case unix.NFTA_SET_ELEM_USERDATA:
					e.id = comment(ad.Bytes())
				case nftaSetElemExpressions:
					nfnetlink.Nested(ad, func(ad *netlink.AttributeDecoder) { e.came = e.came || counted(ad) })
				}
			})
			all = append(all, e)
		})
	})
	return all, err
}
