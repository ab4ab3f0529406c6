package control

import "time"

// Source is the daemon, as the socket shows it. Its methods may be called at
// any time, from many goroutines, and return copies. Lists are whole, or an
// error says why not and what to do.
type Source interface {
	Status() Status
	Pinholes() ([]PinholeInfo, error)
	Sessions() ([]SessionInfo, error)
}

// Status is what `ftpinhole status` shows.
type Status struct {
	Ready   bool      `json:"ready"`
	Reason  string    `json:"reason,omitempty"` // why it is not ready, and what to do
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"` // RFC 3339

	Backend  string   `json:"backend"`
	QueueNum int      `json:"queue_num"` // the first of Queues
	Queues   int      `json:"queues"`
	Ports    []uint16 `json:"ports"`
	Hooks    []string `json:"hooks"`
	Observe  bool     `json:"observe"`
	Table    string   `json:"table"` // the kernel table: "present", "absent" or an error's text

	// Confined is "landlock", "capabilities" where the kernel lacks that, or "no".
	Confined string `json:"confined"`

	Sessions int           `json:"sessions"`
	HalfOpen int           `json:"half_open"`
	Pinholes PinholeCounts `json:"pinholes"`

	Packets       uint64 `json:"packets"`        // packets that came through the queues
	VerdictErrors uint64 `json:"verdict_errors"` // verdicts that the kernel did not take
	Overruns      uint64 `json:"overruns"`       // times that a queue or event socket overflowed

	// The audit log and the trail together.
	RecordsWaiting int    `json:"records_waiting"`         // to be written
	RecordsLost    uint64 `json:"records_lost"`            // never will be
	AuditTrouble   string `json:"audit_trouble,omitempty"` // why they wait, if not for a moment only

	// RefusedByReason splits Pinholes.Refused up, by the audit trail's reasons.
	RefusedByReason map[string]uint64 `json:"refused_by_reason,omitempty"`
}

// PinholeCounts are the pinholes that are open now, and those since the start.
type PinholeCounts struct {
	Open    int    `json:"open"`
	Opened  uint64 `json:"opened"`
	Used    uint64 `json:"used"`
	Refused uint64 `json:"refused"`
}

// PinholeInfo is one open pinhole. User comes from the wire: whoever prints it
// escapes it.
type PinholeInfo struct {
	ID        string    `json:"id"`
	FlowID    uint64    `json:"flow_id"`
	Client    string    `json:"client"` // address and port of the control connection
	Server    string    `json:"server"`
	User      string    `json:"user,omitempty"`
	Mode      string    `json:"mode"`
	Command   string    `json:"command,omitempty"`
	Src       string    `json:"src_ip"`
	FromPort  uint16    `json:"from_port,omitempty"` // the only source port that may come; 0 is any
	SrcPort   uint16    `json:"src_port,omitempty"`  // once the connection came
	Dst       string    `json:"dest_ip"`
	DstPort   uint16    `json:"dest_port"`
	SeenAs    string    `json:"nat_src_ip,omitempty"` // where the gateway translates: the source that Dst sees
	Outside   string    `json:"nat_dest,omitempty"`   // and where the connection is sent to
	Backend   string    `json:"backend,omitempty"`    // what serves it: "expect" or "nft"
	State     string    `json:"state"`                // "opening", "open", "used" or "established"
	Opened    time.Time `json:"opened"`
	ExpiresIn float64   `json:"expires_in_s"` // of an expectation as the kernel has it; 0 once used
}

// SessionInfo is one control session. User comes from the wire: whoever prints
// it escapes it.
type SessionInfo struct {
	FlowID   uint64    `json:"flow_id"`
	Client   string    `json:"client"`
	Server   string    `json:"server"`
	User     string    `json:"user,omitempty"`
	State    string    `json:"state"` // the tracker's word, like "login" or "encrypted"
	Since    time.Time `json:"since"`
	Pinholes int       `json:"pinholes"` // opened so far
	Denied   int       `json:"denied"`
	// Where the gateway translates: what the client connects to, and what the
	// server sees of the client.
	NATServer string `json:"nat_server,omitempty"`
	NATClient string `json:"nat_client,omitempty"`
	// Rewritten: the session's lines have changed their length.
	Rewritten bool `json:"rewritten,omitempty"`
}

// PinholeList and SessionList are the answers to GET /v1/pinholes and GET
// /v1/sessions. Total counts also what the limit left off.
type PinholeList struct {
	Total    int           `json:"total"`
	Pinholes []PinholeInfo `json:"pinholes"`
}

// SessionList is described at PinholeList.
type SessionList struct {
	Total    int           `json:"total"`
	Sessions []SessionInfo `json:"sessions"`
}
