package nft

import (
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
)

// Print is what Verify compares.
func Print(t *Table) (string, error) { return t.print() }

// Held is how many pinholes t remembers.
func Held(t *Table) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

// Arrivals reads a message that lists elements.
func Arrivals(data []byte) ([]string, error) { return arrivals(netlink.Message{Data: data}) }

// Author reads a message that announces a generation.
func Author(data []byte) string { return author(netlink.Message{Data: data}) }

// HoldChanges has t's changes wait until release, as they do while another program
// loads a large set.
func HoldChanges(t *Table) (release func()) {
	t.writer.mu.Lock()
	return t.writer.mu.Unlock
}

// Exchange is Lengthen as it is done on kernels before 6.12.
func Exchange(t *Table, id string, d time.Duration) (bool, error) {
	return t.lengthen(id, d, time.Now(), t.exchange)
}

// Redirect has t believe that the pinhole, which is not translated, goes to dst.
func Redirect(t *Table, id, dst string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.byID[id]
	t.forget(h)
	h.Dst = netip.MustParseAddrPort(dst)
	t.byID[id] = h
	t.owners[elements(h.Pinhole)[0].slot] = h
}
