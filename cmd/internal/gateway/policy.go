package gateway

import (
	"net/netip"

	"ftpinhole/conntrack"
	"ftpinhole/rules"
)

// Policy puts the tracker's questions before the policy.
type Policy struct{ *rules.Policy }

// Terms returns the policy's terms for a session.
func (p Policy) Terms(client, server netip.Addr) conntrack.Terms {
	return conntrack.Terms(p.Policy.Terms(client, server))
}

// Decide returns the policy's decision.
func (p Policy) Decide(r conntrack.Request) conntrack.Reason {
	return conntrack.Reason(p.Policy.Decide(rules.Request{
		Client: r.Client.Addr(), Server: r.Server.Addr(), ServerPort: r.Server.Port(),
		Active:      r.Mode == conntrack.Active,
		Extended:    r.Command == "EPRT" || r.Command == "EPSV",
		ClientLocal: r.ClientLocal, Endpoint: r.Endpoint, Inferred: r.Inferred,
	}))
}
