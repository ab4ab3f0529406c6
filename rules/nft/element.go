package nft

import (
	"errors"
	"net/netip"
	"time"

	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules"
)

// slot is a place in a set.
type slot struct {
	set set
	key rules.Key
}

// element is what a set has, or is to have, in a slot.
type element struct {
	slot
	to   netip.AddrPort // in a map; of snat the address only
	id   string         // its comment
	mark uint32         // in a map of marks
}

// elements returns what the kernel is to hold for p: first the pinhole, then
// how the connection is translated.
func elements(p rules.Pinhole) []element {
	at := func(of purpose, to netip.AddrPort) slot {
		return slot{set{of, p.Src.Is6(), p.SrcPort != 0}, rules.Key{Src: p.Src, SrcPort: p.SrcPort, Dst: to}}
	}
	out := []element{{slot: at(pinholes, p.Dst), id: p.ID}}
	if p.Outside.IsValid() {
		out = append(out, element{slot: at(dnat, p.Outside), to: p.Dst, id: p.ID})
	}
	if p.SeenAs.IsValid() {
		out = append(out, element{slot: at(snat, p.Dst), to: netip.AddrPortFrom(p.SeenAs, 0), id: p.ID})
	}
	if p.Mark != 0 {
		sentTo := p.Dst
		if p.Outside.IsValid() {
			sentTo = p.Outside
		}
		out = append(out, element{slot: at(marks, sentTo), id: p.ID, mark: p.Mark})
	}
	return out
}

// change is what is to happen in a slot: an element goes, or comes, or first
// one goes and then one comes.
type change struct {
	element
	remove, add bool
	timeout     time.Duration // of what comes
}

// apply makes all of changes or none. Only the kernel knows what a slot has:
// elements go with their time, other programs add and remove some. So it tries
// again, not removing what is gone already, and removing what is in the way. It
// returns what was removed, as the kernel had it at its end.
func (t *Table) apply(changes []change) (removed []netlink.Message, err error) {
	for range 2*len(changes) + 1 {
		b := &batch{}
		var about []*change // by message
		for i := range changes {
			c := &changes[i]
			if c.remove {
				b.deleteElement(c.slot)
				about = append(about, c)
			}
			if c.add {
				b.addElement(c.element, c.timeout, netlink.Excl)
				about = append(about, c)
			}
		}
		if len(about) == 0 {
			return nil, nil
		}
		err = t.writer.commit(b)
		var message *messageError
		if !errors.As(err, &message) || message.index < 0 {
			return b.removed, err
		}
		switch c := about[message.index]; {
		case c.remove && errors.Is(err, unix.ENOENT):
			c.remove = false
		case !c.remove && errors.Is(err, unix.EEXIST):
			c.remove = true
		default:
			return nil, err
		}
	}
	return nil, err
}

// addElement puts e into its set, if that has timeouts for timeout. With
// netlink.Excl an element that exists is EEXIST, without it stays as it is.
func (b *batch) addElement(e element, timeout time.Duration, excl netlink.HeaderFlags) {
	b.add(unix.NFT_MSG_NEWSETELEM, netlink.Create|excl, note{what: "element of set " + e.set.name()}, func(ae *netlink.AttributeEncoder) {
		encodeElement(ae, e.slot, func(ae *netlink.AttributeEncoder) {
			e.encodeData(ae)
			if e.set.flags()&unix.NFT_SET_TIMEOUT != 0 {
				encodeTimeout(ae, timeout)
			}
			if e.id != "" {
				ae.Bytes(unix.NFTA_SET_ELEM_USERDATA, userdata.AppendString(nil, userdata.NFTNL_UDATA_SET_ELEM_COMMENT, e.id))
			}
		})
	})
}

func encodeTimeout(ae *netlink.AttributeEncoder, timeout time.Duration) {
	ae.Uint64(unix.NFTA_SET_ELEM_TIMEOUT, milliseconds(timeout))
}

// milliseconds is d as the kernel takes it. Anything below one would be 0, which
// means for ever.
func milliseconds(d time.Duration) uint64 { return uint64(max(d.Milliseconds(), 1)) }

// encodeData writes what a map has in e's slot.
func (e element) encodeData(ae *netlink.AttributeEncoder) {
	if e.set.flags()&unix.NFT_SET_MAP == 0 {
		return
	}
	ae.Nested(unix.NFTA_SET_ELEM_DATA, func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(unix.NFTA_DATA_VALUE, e.data())
		return nil
	})
}

// data is what a map has in e's slot: each field padded to 32 bits.
func (e element) data() []byte {
	if e.set.purpose == marks {
		return native(e.mark | candidateMark)
	}
	b := e.to.Addr().AsSlice()
	if e.set.purpose == dnat {
		b = appendPort(b, e.to.Port())
	}
	return b
}

// deleteElement empties s, and has the kernel tell what was there. ENOENT if it is
// empty.
func (b *batch) deleteElement(s slot) {
	b.add(unix.NFT_MSG_DELSETELEM, netlink.Echo, note{what: "element of set " + s.set.name()}, func(ae *netlink.AttributeEncoder) {
		encodeElement(ae, s, func(*netlink.AttributeEncoder) {})
	})
}

func encodeElement(ae *netlink.AttributeEncoder, s slot, more func(*netlink.AttributeEncoder)) {
	ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, TableName)
	ae.String(unix.NFTA_SET_ELEM_LIST_SET, s.set.name())
	ae.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(unix.NFTA_LIST_ELEM, func(ae *netlink.AttributeEncoder) error {
			encodeKey(ae, s.set.key(s.key))
			more(ae)
			return nil
		})
		return nil
	})
}

func encodeKey(ae *netlink.AttributeEncoder, key []byte) {
	ae.Nested(unix.NFTA_SET_ELEM_KEY, func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(unix.NFTA_DATA_VALUE, key)
		return nil
	})
}
