package conntrack

import "net/netip"

// Policy says what may be opened. It must be safe for concurrent use and must
// not block.
type Policy interface {
	// Terms are asked for once a session.
	Terms(client, server netip.Addr) Terms
	// Decide returns why the pinhole may not be opened, or "".
	Decide(Request) Reason
}

// Terms are the choices of the policy that the tracker itself acts on.
type Terms struct {
	// LoginRequired: nothing opens before the server has let the client in.
	LoginRequired bool
	// WaitFor2xx: PORT and EPRT open only when the server has agreed. Real
	// servers connect before they answer, so this is not the default.
	WaitFor2xx bool
	// ActiveSourcePort is the only source port that an active data connection
	// may come from (RFC 959 3.2 says 20); 0 is any.
	ActiveSourcePort uint16
	// PasvPeer: whatever address a 227 names, the server's own is meant. It is
	// written into the line instead.
	PasvPeer bool
	// PasvKeep: an address in a 227 that is not the server's is translated further
	// out to the server's own. That is opened, and the line stays.
	PasvKeep bool
	// PortKeep is the same for an address in PORT or EPRT and the client.
	PortKeep bool
}

// Request is a data channel that was negotiated and may be opened.
type Request struct {
	Client, Server netip.AddrPort // the control connection
	ClientLocal    bool           // the client is the gateway itself
	Mode           Mode
	Command        string         // PORT, EPRT, PASV or EPSV
	Endpoint       netip.AddrPort // where the data connection is to go
	// Inferred: the agreement rests on an answer that was matched by passing
	// others over, on an ended block, or on a session that was joined or out of
	// step.
	Inferred bool
}
