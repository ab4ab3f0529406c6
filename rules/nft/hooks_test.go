package nft_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"ftpinhole/rules/nft"
)

// Where sessions are read and where pinholes open, hook by hook.
func TestHooks(t *testing.T) {
	l := newLab(t)
	for _, ns := range []namespace{l.client, l.gateway, l.server} {
		ns.listen(t, 21)
		ns.listen(t, port)
	}
	for _, test := range []struct {
		name     string
		from     namespace
		src, dst string
		reads    nft.Hook
	}{
		{"through", l.client, client4, server4, nft.Forward},
		{"through, IPv6", l.client, client6, server6, nft.Forward},
		{"to the gateway", l.client, client4, gateway4, nft.Input},
		{"to the gateway, IPv6", l.client, client6, gateway6, nft.Input},
		{"from the gateway", l.gateway, gateway4, client4, nft.Output},
		{"from the gateway, IPv6", l.gateway, gateway6, client6, nft.Output},
		{"loopback", l.gateway, "127.0.0.1", "127.0.0.1", nft.Output},
	} {
		for _, hook := range []nft.Hook{nft.Forward, nft.Input, nft.Output} {
			t.Run(fmt.Sprintf("%s/%s", test.name, hook), func(t *testing.T) {
				c := forward()
				c.Hooks = []nft.Hook{hook}
				table := l.gateway.installed(t, c)
				dst := netip.MustParseAddr(test.dst)
				if !test.from.attempt(t, 0, netip.AddrPortFrom(dst, 21).String(), soon) {
					t.Fatal("no control connection")
				}
				if got := l.gateway.marked(t, nft.DefaultControlMark) > 0; got != (hook == test.reads) {
					t.Errorf("control connection marked: %v", got)
				}
				data := netip.AddrPortFrom(dst, port).String()
				add(t, table, pinhole("a-1", test.src, data))
				opens := hook == test.reads || hook != nft.Forward && test.reads != nft.Forward
				patience := map[bool]time.Duration{true: soon, false: drop}[opens]
				if got := test.from.attempt(t, 0, data, patience); got != opens {
					t.Errorf("data connection came through: %v, want %v", got, opens)
				}
				if err := table.Uninstall(); err != nil {
					t.Error(err)
				}
				l.gateway.forget(t)
			})
		}
	}
}
