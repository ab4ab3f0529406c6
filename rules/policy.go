package rules

import (
	"net/netip"
)

// Request is a data channel that both sides of a control session agreed on,
// before the policy has been asked.
type Request struct {
	Client, Server netip.Addr // of the control connection
	ServerPort     uint16     // the control connection's
	Active         bool       // PORT or EPRT, else PASV or EPSV
	Extended       bool       // EPRT or EPSV (RFC 2428); judged as their elders are
	ClientLocal    bool       // the client is the gateway itself
	Endpoint       netip.AddrPort
	// Inferred: client and server seem to have agreed, but the reply may have
	// been matched to the wrong command.
	Inferred bool
}

// Terms are what the policy asks of one control session.
type Terms struct {
	LoginRequired    bool   // nothing opens before the server has let the client in
	WaitFor2xx       bool   // PORT and EPRT open with the server's 2xx only
	ActiveSourcePort uint16 // where active data connections come from; 0: any
	PasvPeer         bool   // whatever address a 227 names, the server's own is meant
	PasvKeep         bool   // the same, and the line is left as it is
	PortKeep         bool   // whatever address PORT or EPRT names, the client's own is meant
}

// Policy decides which data channels are opened. It never changes, and may be
// used by many goroutines.
type Policy struct {
	controlPorts map[uint16]bool
	localActive  bool
	defaults     settings
	rules        []rule
}

// Decide returns "" when r may be opened, else why not. Of several reasons it
// names the first of: peer, mode, address, lowest port, denied port.
func (p *Policy) Decide(r Request) Reason {
	client, server := r.Client.Unmap(), r.Server.Unmap()
	s := p.settings(client, server)
	if !s.allow {
		return PeerNotAllowed
	}
	if r.Active && !s.active || !r.Active && !s.passive {
		return ModeNotAllowed
	}
	if r.ClientLocal && r.Active && !p.localActive {
		return ModeNotAllowed
	}
	announcer := server
	if r.Active {
		announcer = client
	}
	addr, port := r.Endpoint.Addr().Unmap(), r.Endpoint.Port()
	if !addr.IsValid() || addr != announcer && !s.pairAllowed(announcer, addr) {
		return ForeignAddress
	}
	if port < s.lowestPort {
		return PrivilegedPort
	}
	if p.controlPorts[port] || port == r.ServerPort || s.denyPorts[port] && s.denyPortsHold(r) {
		return DeniedPort
	}
	return ""
}

// Terms returns what is asked of a session between client and server.
func (p *Policy) Terms(client, server netip.Addr) Terms {
	return p.settings(client.Unmap(), server.Unmap()).terms
}

// ActiveSourcePorts tells whether any session's terms name a source port, so
// that the backend has to be able to match one.
func (p *Policy) ActiveSourcePorts() bool {
	for _, r := range p.rules {
		if r.settings.terms.ActiveSourcePort != 0 {
			return true
		}
	}
	return p.defaults.terms.ActiveSourcePort != 0
}

// settings returns those of the first rule for client and server.
func (p *Policy) settings(client, server netip.Addr) *settings {
	for i := range p.rules {
		if p.rules[i].matches(client, server) {
			return &p.rules[i].settings
		}
	}
	return &p.defaults
}

// rule is a Rule in force, its gaps filled with the defaults.
type rule struct {
	clients, servers []netip.Prefix
	settings         settings
}

func (r *rule) matches(client, server netip.Addr) bool {
	return contains(r.clients, client) && contains(r.servers, server)
}

// contains tells whether a is in one of list, or list is empty.
func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return len(list) == 0
}

// settings are Settings in force.
type settings struct {
	allow           bool
	active, passive bool
	lowestPort      uint16 // at least 1, so that port 0 is always below
	denyPorts       map[uint16]bool
	foreignPairs    []foreignPair
	terms           Terms

	denyPortsPassive bool
}

// denyPortsHold reports whether denyPorts count for r. A server that chooses its
// passive ports at random comes across one of them now and then, and the port is
// its own; a client that names one may have been made to.
func (s *settings) denyPortsHold(r Request) bool {
	return r.Active || r.Inferred || s.denyPortsPassive
}

type foreignPair struct{ peer, foreign netip.Prefix }

func (s *settings) pairAllowed(peer, foreign netip.Addr) bool {
	for _, p := range s.foreignPairs {
		if p.peer.Contains(peer) && p.foreign.Contains(foreign) {
			return true
		}
	}
	return false
}
