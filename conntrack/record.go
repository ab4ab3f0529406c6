package conntrack

import (
	"net/netip"
	"time"
)

// Action says what a record tells.
type Action uint8

// What is recorded. Open, Use, Close and Deny are about a pinhole, Start and
// End about a control session.
const (
	Open  Action = iota + 1 // the pinhole is in the kernel
	Use                     // the one connection came
	Close                   // the pinhole, or the connection that used it, has ended
	Deny                    // a negotiation was refused
	Start                   // a control session's handshake was completed, or it was joined
	End                     // the control session is over
)

// Mode is who opens the data connection.
type Mode uint8

// The modes of RFC 959 3.2: in passive mode the client connects to the
// server, in active mode the server to the client.
const (
	Passive Mode = iota + 1
	Active
)

// String gives the audit trail's word.
func (m Mode) String() string {
	switch m {
	case Passive:
		return "passive"
	case Active:
		return "active"
	}
	return ""
}

// Reason is why a pinhole was closed or refused, or a session ended: one word
// of the closed lists below.
type Reason string

// Why a pinhole was closed.
const (
	Finished         Reason = "finished"
	Expired          Reason = "expired"
	Blocked          Reason = "blocked"
	Replaced         Reason = "replaced"
	Refused          Reason = "refused"
	SessionEnd       Reason = "session_end"
	Encrypted        Reason = "encrypted"
	Logout           Reason = "logout"
	ClosedByOperator Reason = "closed_by_operator"
	Stopped          Reason = "stopped"
	Lost             Reason = "lost"
	EndOfCapture     Reason = "end_of_capture"
)

// Why a negotiation was refused by the tracker or the gateway. The policy has
// reasons of its own (package rules).
const (
	NotLoggedIn      Reason = "not_logged_in"
	Unrequested      Reason = "unrequested"
	Malformed        Reason = "malformed"
	NotFTP           Reason = "not_ftp"
	EPSVAll          Reason = "epsv_all"
	OutOfStep        Reason = "out_of_step"
	LimitSession     Reason = "limit_session"
	LimitClient      Reason = "limit_client"
	LimitTotal       Reason = "limit_total"
	KernelError      Reason = "kernel_error"
	AuditUnavailable Reason = "audit_unavailable"
)

// Why a session ended. SessionEnd's siblings: also Stopped and EndOfCapture.
const (
	Finish   Reason = "fin"    // both sides sent FIN, or conntrack says so
	Reset    Reason = "rst"    // RST
	Reused   Reason = "reused" // the same four addresses and ports began anew
	Vanished Reason = "gone"   // conntrack no longer holds it
)

// Record is one entry of the audit trail, before anything is written. The
// strings User and Path come from the wire: at most 256 and 1,024 bytes, any
// byte value; whoever prints them escapes them.
type Record struct {
	Time   time.Time
	Action Action
	Reason Reason // Close, Deny and End; otherwise ""

	// The control connection, client first.
	FlowID         uint64 // at most 53 bits, never 0
	Client, Server netip.AddrPort
	User           string // "" while unknown

	// The negotiation; Open, Use, Close and Deny.
	Mode     Mode
	Command  string // PORT, EPRT, PASV or EPSV; "" if it has none (a 227 that nobody asked for)
	Transfer string // RETR, STOR, …; "" while unknown
	Path     string // the argument of Transfer
	Pinhole  Pinhole
	Count    int  // Deny: how many refusals this record stands for; 0 and 1 mean one
	Observed bool // nothing was opened: the daemon only observes
	// Reconstructed: the kernel's event was lost, and the record made up from
	// a dump. Its time is when that was noticed, later than what it tells.
	Reconstructed bool

	// Close of a used pinhole, and End. Counted says that the bytes are known.
	Counted       bool
	BytesToServer uint64
	BytesToClient uint64
	Duration      time.Duration

	// End.
	Pinholes  int  // pinholes opened
	Denied    int  // refusals
	Encrypted bool // the session went over to TLS
	Conflicts int  // retransmits that carried other bytes than the first copy
}

// Pinhole is what may pass: one TCP connection from Src to Dst.
type Pinhole struct {
	ID      string // unique for ever: the session's flow id in hex, a dash, a running number
	Src     netip.Addr
	SrcPort uint16 // the port that came (Use, Close) or 0
	// FromPort is the only source port that may come; 0 is any.
	FromPort uint16
	Dst      netip.AddrPort // for a Deny possibly the zero value, or the foreign address
	Timeout  time.Duration
	// Outside is where the connection is sent to, if the gateway translates that
	// to Dst; else the zero value.
	Outside netip.AddrPort
	// SeenAs is the source address that Dst sees, if the gateway translates Src
	// to it; else the zero value.
	SeenAs netip.Addr
	// Backend is what serves it, in the gateway's word; "" until that is known.
	Backend string
}
