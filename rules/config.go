package rules

// The modes of RFC 959 section 3.2, as Settings.Modes spells them.
const (
	ActiveMode  = "active"
	PassiveMode = "passive"
)

// What a 227 or a PORT may name, as Settings.PasvAddress and PortAddress spell it.
const (
	OwnAddress  = "own"  // the announcing side's own address
	PeerAddress = "peer" // any: the server's own is meant, and put in its place
	KeepAddress = "keep" // any: it is translated to their own further out
)

// Config is the policy as the operator writes it: the table [policy] of the
// configuration file. Its zero value is the strict default.
type Config struct {
	// ControlPorts are the ports on which control connections are read. A data
	// channel never uses one. They come from outside of [policy].
	ControlPorts []uint16 `toml:"-"`
	// LocalActive allows active mode to clients on the gateway itself. Any
	// local user could then open the gateway's ports to a server of his.
	// It comes from outside of [policy].
	LocalActive bool `toml:"-"`

	// Settings are for all sessions, unless a rule says otherwise.
	Settings

	// Rules are looked through in their order. The first that matches both
	// client and server supplies its settings; those it lacks come from above.
	Rules []Rule `toml:"rule"`
}

// Rule is a [[policy.rule]]: settings for some clients and servers.
type Rule struct {
	// Clients and Servers are prefixes ("10.0.0.0/8") or single addresses.
	// An empty list matches all.
	Clients []string `toml:"clients"`
	Servers []string `toml:"servers"`

	Settings
}

// Settings are what both [policy] and a rule can set. Nil means not set.
type Settings struct {
	// Allow false refuses every data channel. Default true.
	Allow *bool `toml:"allow"`
	// Modes are "active", "passive". Default both.
	Modes []string `toml:"modes"`
	// LowestPort is the lowest data port, at least 1. Default 1024.
	LowestPort *uint16 `toml:"lowest_port"`
	// DenyPorts replaces the default list, see DefaultDenyPorts. It holds for
	// what PORT and EPRT name.
	DenyPorts []uint16 `toml:"deny_ports"`
	// DenyPortsPassive: DenyPorts holds for 227 and 229 too. Default false:
	// there it holds for agreements that were inferred only (see Request), since
	// servers choose such ports at random.
	DenyPortsPassive *bool `toml:"deny_ports_passive"`
	// ForeignPairs allows peers to announce addresses of others (FXP).
	// Default none.
	ForeignPairs []ForeignPair `toml:"foreign_pairs"`
	// LoginRequired: nothing opens before the server has let the client in.
	// Default true.
	LoginRequired *bool `toml:"login_required"`
	// WaitFor2xx: PORT and EPRT open with the server's 2xx only, not before.
	// Default false, since real servers connect before they answer.
	WaitFor2xx *bool `toml:"wait_for_2xx"`
	// ActiveSourcePort is the port that a server must connect from in active
	// mode, 0 for any. Default 0; RFC 959 section 3.2 has 20.
	ActiveSourcePort *uint16 `toml:"active_source_port"`
	// PasvAddress is "own", "peer" or "keep". With "own" a 227 that names another
	// address than the server's own is refused. With "peer" that address is
	// replaced by the server's own: for a server behind somebody else's NAT that
	// announces its inside address, or 0.0.0.0. With "keep" the server's own is
	// opened and the line stays: for a server that announces its public address,
	// which is translated further out. Default "own".
	PasvAddress *string `toml:"pasv_address"`
	// PortAddress is "own" or "keep", for the address that a client names in PORT
	// or EPRT. Default "own".
	PortAddress *string `toml:"port_address"`
}

// ForeignPair allows a peer in Peer to announce an address in Foreign. Both are
// prefixes or single addresses.
type ForeignPair struct {
	Peer    string `toml:"peer"`
	Foreign string `toml:"foreign"`
}

// DefaultLowestPort is the lowest data port unless Settings.LowestPort says
// otherwise.
const DefaultLowestPort = 1024

// DefaultDenyPorts returns the ports from 1024 up that browsers refuse to
// speak to (WHATWG Fetch, "port blocking"): services that a client made to
// speak FTP could be turned against.
func DefaultDenyPorts() []uint16 {
	return []uint16{
		1719, 1720, // h323gatestat, h323hostcall
		1723,       // pptp
		2049,       // nfs
		3659,       // apple-sasl
		4045,       // npp
		4190,       // sieve
		5060, 5061, // sip, sips
		6000,                         // x11
		6566,                         // sane-port
		6665, 6666, 6667, 6668, 6669, // irc
		6679,  // osaut
		6697,  // ircs-u
		10080, // amanda
	}
}
