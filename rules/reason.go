package rules

// Reason is why the policy refuses a data channel: one word of a closed list
// that audit records, metrics and tests share. The empty Reason allows.
type Reason string

// The policy's refusals.
const (
	// ForeignAddress: the announced address is not the announcing peer's own
	// (the bounce attack of RFC 2577 section 3).
	ForeignAddress Reason = "foreign_address"
	// PrivilegedPort: the announced port is below the lowest data port.
	PrivilegedPort Reason = "privileged_port"
	// DeniedPort: the announced port is a service's, or a control port.
	DeniedPort Reason = "denied_port"
	// ModeNotAllowed: active or passive mode is switched off for these peers.
	ModeNotAllowed Reason = "mode_not_allowed"
	// PeerNotAllowed: this client, or this server, may not open data channels.
	PeerNotAllowed Reason = "peer_not_allowed"
)

// Reasons are all of them.
func Reasons() []Reason {
	return []Reason{ForeignAddress, PrivilegedPort, DeniedPort, ModeNotAllowed, PeerNotAllowed}
}
