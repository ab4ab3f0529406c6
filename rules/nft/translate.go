package nft

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// destinationRules send a connection on to where a pinhole's is: dnat to … map
// @dnat4, and so on for each map.
func destinationRules(c *Config) []rule {
	var out []rule
	for _, s := range c.sets(dnat) {
		_, addrLen := s.addr()
		out = append(out, s.translate(&expr.NAT{
			Type: expr.NATTypeDestNAT, RegAddrMin: register(0), RegProtoMin: register(addrLen / 4),
		}))
	}
	return out
}

// sourceRules give it the source that its other end expects: snat to … map
// @snat4, and so on. The source port stays if it is free there.
func sourceRules(c *Config) []rule {
	var out []rule
	for _, s := range c.sets(snat) {
		out = append(out, s.translate(&expr.NAT{Type: expr.NATTypeSourceNAT, RegAddrMin: register(0)}))
	}
	return out
}

// translate: a lone SYN is translated by nat to what the map s has for it.
func (s set) translate(nat *expr.NAT) rule {
	nat.Family = unix.NFPROTO_IPV4
	if s.ipv6 {
		nat.Family = unix.NFPROTO_IPV6
	}
	exprs := append(loneSYN(expr.CtStateBitNEW), s.load()...)
	exprs = append(exprs, &expr.Lookup{SourceRegister: 1, SetName: s.name(), DestRegister: register(0), IsDestRegSet: true}, nat)
	return rule{exprs: exprs}
}
