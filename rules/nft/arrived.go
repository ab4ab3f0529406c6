package nft

import (
	"bytes"
	"time"

	"ftpinhole/rules/nfnetlink"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Arrived returns the ids of the pinholes, of those added and not removed,
// whose SYN came. An element that expires takes what it knew with it, so this
// has to be asked before the end of a pinhole's time.
func (t *Table) Arrived() ([]string, error) {
	t.mu.Lock()
	none := len(t.byID) == 0
	t.polls++
	poll := t.polls
	t.mu.Unlock()
	if none {
		return nil, nil
	}
	var came []string
	for _, s := range t.config.Load().sets(pinholes) {
		messages, err := t.reader.get(unix.NFT_MSG_GETSETELEM, netlink.Dump, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, TableName)
			ae.String(unix.NFTA_SET_ELEM_LIST_SET, s.name())
		})
		if err != nil {
			return nil, explain("list set "+s.name(), err)
		}
		for _, m := range messages {
			ids, err := arrivals(m)
			if err != nil {
				return nil, explain("list set "+s.name(), err)
			}
			came = append(came, ids...)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range came {
		// What was read may be from before it was armed again.
		if h := t.byID[id]; h != nil && h.armed < poll {
			h.arrived = true
		}
	}
	var ids []string
	for id, h := range t.byID {
		if h.arrived {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Rearm lets a pinhole take another SYN in what is left of its time at now, and
// forgets the one that came. That is for whoever knows that no connection came of
// it: another would be a second one. It is no error if the pinhole is gone.
func (t *Table) Rearm(id string, now time.Time) error {
	t.changes.Lock()
	defer t.changes.Unlock()
	t.mu.Lock()
	h := t.byID[id]
	var again []change
	if h != nil && now.Before(h.deadline) && t.owners[elements(h.Pinhole)[0].slot] == h {
		for _, e := range t.owned(h) {
			again = append(again, change{element: e, remove: true, add: true, timeout: h.deadline.Sub(now)})
		}
	}
	t.mu.Unlock()
	if len(again) == 0 {
		return nil
	}
	if _, err := t.apply(again); err != nil {
		return explain("arm pinhole "+id+" again", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	h.arrived, h.armed = false, t.polls
	return nil
}

// arrivals returns the comments of the elements in m whose counter is not 0.
func arrivals(m netlink.Message) ([]string, error) {
	all, err := readElements(m)
	var ids []string
	for _, e := range all {
		if e.came {
			ids = append(ids, e.id)
		}
	}
	return ids, err
}

// counted tells whether ad's expression is a counter that has counted.
func counted(ad *netlink.AttributeDecoder) bool {
	var name string
	var counter expr.Counter
	nfnetlink.Nested(ad, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.NFTA_EXPR_NAME:
			name = ad.String()
		case unix.NFTA_EXPR_DATA:
			if name == "counter" {
				ad.Do(func(data []byte) error { return expr.Unmarshal(unix.NFPROTO_INET, data, &counter) })
			}
		}
	})
	return counter.Packets > 0
}

// comment returns the comment in an element's user data: type, length and value
// of each entry, strings with a NUL. Anybody with the right to may have written
// it, and anything into it.
func comment(data []byte) string {
	for len(data) >= 2 {
		kind, length := userdata.Type(data[0]), int(data[1])
		if data = data[2:]; length > len(data) {
			return ""
		}
		if kind == userdata.NFTNL_UDATA_SET_ELEM_COMMENT {
			return string(bytes.TrimSuffix(data[:length], []byte{0}))
		}
		data = data[length:]
	}
	return ""
}
