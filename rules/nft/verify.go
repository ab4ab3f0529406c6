package nft

import (
	"errors"
	"fmt"
	"strings"

	"ftpinhole/rules/nfnetlink"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// errMissing: the table holds other rules than were just put into it.
var errMissing = errors.New("rules are missing")

// Verify tells whether the table still is as it was installed: its flags, its
// chains and their places, each rule and each set. What others did to elements
// it does not see. It reads a few kilobytes. While all is well it waits for nobody.
func (t *Table) Verify() (bool, error) {
	if ok, err := t.verify(); ok || err != nil {
		return ok, err
	}
	// We may be changing it ourselves.
	t.changes.Lock()
	defer t.changes.Unlock()
	return t.verify()
}

func (t *Table) verify() (bool, error) {
	t.mu.Lock()
	want := t.intact
	t.mu.Unlock()
	if want == "" {
		return false, nil
	}
	got, err := t.print()
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, errMissing):
		return false, nil
	case err != nil:
		return false, explain("read table inet "+TableName, err)
	}
	return got == want, nil
}

// remember takes the print that Verify compares with. When somebody undoes the
// table at this very moment there is none, which Verify will tell.
func (t *Table) remember() error {
	print, err := t.print()
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, errMissing) {
		return explain("read table inet "+TableName, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.intact = print
	return nil
}

// print returns what can be told about the table without its elements. Handles
// are never used twice in a table, so that what was made anew differs; only a
// rule that is replaced keeps its own, and tells by what it does.
func (t *Table) print() (string, error) {
	var out strings.Builder
	add := func(kind uint16, flags netlink.HeaderFlags, request func(*netlink.AttributeEncoder), wanted ...uint16) (int, error) {
		messages, err := t.reader.get(kind, flags, request)
		if err != nil {
			return 0, err
		}
		for _, m := range messages {
			fmt.Fprintf(&out, "%d", kind)
			err := nfnetlink.Attributes(m, func(ad *netlink.AttributeDecoder) {
				for _, w := range wanted {
					if ad.Type() == w {
						fmt.Fprintf(&out, " %d=%x", w, ad.Bytes())
					}
				}
			})
			if err != nil {
				return 0, err
			}
			out.WriteByte('\n')
		}
		return len(messages), nil
	}
	named := func(table, name uint16, value string) func(*netlink.AttributeEncoder) {
		return func(ae *netlink.AttributeEncoder) {
			ae.String(table, TableName)
			ae.String(name, value)
		}
	}
	if _, err := add(unix.NFT_MSG_GETTABLE, 0, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, TableName)
	}, nftaTableHandle, unix.NFTA_TABLE_FLAGS); err != nil {
		return "", err
	}
	for _, s := range sets(t.config.Load()) {
		if _, err := add(unix.NFT_MSG_GETSET, 0, named(unix.NFTA_SET_TABLE, unix.NFTA_SET_NAME, s.name()),
			nftaSetHandle); err != nil {
			return "", err
		}
	}
	for _, c := range chains(t.config.Load(), t.xtables) {
		if _, err := add(unix.NFT_MSG_GETCHAIN, 0, named(unix.NFTA_CHAIN_TABLE, unix.NFTA_CHAIN_NAME, c.name),
			unix.NFTA_CHAIN_HANDLE, unix.NFTA_CHAIN_HOOK, unix.NFTA_CHAIN_POLICY); err != nil {
			return "", err
		}
		n, err := add(unix.NFT_MSG_GETRULE, netlink.Dump, named(unix.NFTA_RULE_TABLE, unix.NFTA_RULE_CHAIN, c.name),
			unix.NFTA_RULE_HANDLE, unix.NFTA_RULE_EXPRESSIONS)
		if err != nil {
			return "", err
		}
		if n != len(c.rules) {
			return "", fmt.Errorf("chain %s: %d rules of %d: %w", c.name, n, len(c.rules), errMissing)
		}
	}
	return out.String(), nil
}
