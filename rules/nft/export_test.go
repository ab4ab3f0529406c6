package nft

import "github.com/mdlayher/netlink"

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
