package rules

import (
	"errors"
	"fmt"
	"net/netip"
)

// NewPolicy checks c and puts it in force. Errors name the key in the
// configuration file and what to write instead; several are joined.
func NewPolicy(c Config) (*Policy, error) {
	p := &Policy{
		controlPorts: portSet(c.ControlPorts),
		localActive:  c.LocalActive,
	}
	var errs []error
	strict := settings{
		allow:      true,
		active:     true,
		passive:    true,
		lowestPort: DefaultLowestPort,
		denyPorts:  portSet(DefaultDenyPorts()),
		terms:      Terms{LoginRequired: true},
	}
	var err error
	p.defaults, err = c.Settings.over(strict, "policy")
	errs = append(errs, err)
	for i, r := range c.Rules {
		key := fmt.Sprintf("policy.rule[%d]", i)
		clients, err1 := prefixes(r.Clients, key+".clients")
		servers, err2 := prefixes(r.Servers, key+".servers")
		s, err3 := r.Settings.over(p.defaults, key)
		errs = append(errs, err1, err2, err3)
		p.rules = append(p.rules, rule{clients: clients, servers: servers, settings: s})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// over returns base with what c sets. key names the table that c stands in.
func (c Settings) over(base settings, key string) (settings, error) {
	var errs []error
	s := base
	if c.Allow != nil {
		s.allow = *c.Allow
	}
	if c.Modes != nil {
		s.active, s.passive = false, false
		for _, m := range c.Modes {
			switch m {
			case ActiveMode:
				s.active = true
			case PassiveMode:
				s.passive = true
			default:
				errs = append(errs, fmt.Errorf("%s.modes: %q is not a mode: write %q, %q or both", key, m, ActiveMode, PassiveMode))
			}
		}
		if len(c.Modes) == 0 {
			errs = append(errs, fmt.Errorf("%s.modes: is empty: name a mode, or write allow = false to refuse both", key))
		}
	}
	if c.LowestPort != nil {
		s.lowestPort = *c.LowestPort
		if s.lowestPort == 0 {
			errs = append(errs, fmt.Errorf("%s.lowest_port: is 0, which is no port: write 1 to 65535 (default %d)", key, DefaultLowestPort))
		}
	}
	if c.DenyPorts != nil {
		s.denyPorts = portSet(c.DenyPorts)
	}
	if c.DenyPortsPassive != nil {
		s.denyPortsPassive = *c.DenyPortsPassive
	}
	if c.ForeignPairs != nil {
		s.foreignPairs = nil
		for i, pair := range c.ForeignPairs {
			at := fmt.Sprintf("%s.foreign_pairs[%d]", key, i)
			peer, err1 := prefix(pair.Peer, at+".peer")
			foreign, err2 := prefix(pair.Foreign, at+".foreign")
			errs = append(errs, err1, err2)
			if err1 == nil && err2 == nil && peer.Addr().Is4() != foreign.Addr().Is4() {
				errs = append(errs, fmt.Errorf("%s: %v and %v are of different families: write two of IPv4 or two of IPv6", at, peer, foreign))
			}
			s.foreignPairs = append(s.foreignPairs, foreignPair{peer, foreign})
		}
	}
	if c.LoginRequired != nil {
		s.terms.LoginRequired = *c.LoginRequired
	}
	if c.WaitFor2xx != nil {
		s.terms.WaitFor2xx = *c.WaitFor2xx
	}
	if c.ActiveSourcePort != nil {
		s.terms.ActiveSourcePort = *c.ActiveSourcePort
	}
	if c.PasvAddress != nil {
		s.terms.PasvPeer, s.terms.PasvKeep = *c.PasvAddress == PeerAddress, *c.PasvAddress == KeepAddress
		if *c.PasvAddress != OwnAddress && !s.terms.PasvPeer && !s.terms.PasvKeep {
			errs = append(errs, fmt.Errorf("%s.pasv_address: %q is none: write %q, %q or %q", key, *c.PasvAddress, OwnAddress, PeerAddress, KeepAddress))
		}
	}
	if c.PortAddress != nil {
		s.terms.PortKeep = *c.PortAddress == KeepAddress
		if *c.PortAddress != OwnAddress && !s.terms.PortKeep {
			errs = append(errs, fmt.Errorf("%s.port_address: %q is none: write %q or %q", key, *c.PortAddress, OwnAddress, KeepAddress))
		}
	}
	return s, errors.Join(errs...)
}

func portSet(ports []uint16) map[uint16]bool {
	set := make(map[uint16]bool, len(ports))
	for _, p := range ports {
		set[p] = true
	}
	return set
}

func prefixes(list []string, key string) ([]netip.Prefix, error) {
	var errs []error
	var out []netip.Prefix
	for i, s := range list {
		p, err := prefix(s, fmt.Sprintf("%s[%d]", key, i))
		errs = append(errs, err)
		out = append(out, p)
	}
	return out, errors.Join(errs...)
}

// prefix reads a prefix, or an address as a prefix of its full length.
func prefix(s, key string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%s: %q is neither a prefix nor an address: write 192.0.2.0/24, 2001:db8::/32 or 192.0.2.1", key, s)
	}
	if p != p.Masked() {
		// A typing error in either half would silently match others.
		return netip.Prefix{}, fmt.Errorf("%s: %q has bits beyond its length: write %v for the network or %v for the host", key, s, p.Masked(), p.Addr())
	}
	return p, nil
}
