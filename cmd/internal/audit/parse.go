package audit

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"time"

	"ftpinhole/conntrack"
)

// line is a record as package audit writes it.
type line struct {
	Timestamp string     `json:"timestamp"`
	Event     string     `json:"event_type"`
	FlowID    uint64     `json:"flow_id"`
	SrcIP     netip.Addr `json:"src_ip"`
	SrcPort   uint16     `json:"src_port"`
	DestIP    netip.Addr `json:"dest_ip"`
	DestPort  uint16     `json:"dest_port"`
	FTP       struct {
		User     string `json:"user"`
		Mode     string `json:"mode"`
		Command  string `json:"command"`
		Path     string `json:"path"`
		Transfer string `json:"transfer"`
	} `json:"ftp"`
	Pinhole struct {
		ending
		ID       string     `json:"id"`
		SrcIP    netip.Addr `json:"src_ip"`
		SrcPort  uint16     `json:"src_port"`
		DestIP   netip.Addr `json:"dest_ip"`
		DestPort uint16     `json:"dest_port"`
		FromPort uint16     `json:"from_port"`
		NATSrc   netip.Addr `json:"nat_src_ip"`
		NATDest  netip.Addr `json:"nat_dest_ip"`
		NATPort  uint16     `json:"nat_dest_port"`
		Backend  string     `json:"backend"`
		Timeout  float64    `json:"timeout_s"`
		Count    int        `json:"count"`
	} `json:"pinhole"`
	Session struct {
		ending
		Pinholes  int  `json:"pinholes"`
		Denied    int  `json:"denied"`
		Encrypted bool `json:"encrypted"`
		Conflicts int  `json:"conflicts"`
	} `json:"session"`
}

// ending is what pinholes and sessions have alike.
type ending struct {
	Action   string  `json:"action"`
	Reason   string  `json:"reason"`
	ToServer *uint64 `json:"bytes_toserver"`
	ToClient *uint64 `json:"bytes_toclient"`
	Duration float64 `json:"duration_s"`
	Observed bool    `json:"observed"`
	Made     bool    `json:"reconstructed"`
}

// Parse reads a line of the audit file. Members that it does not know
// are skipped: the daemon may be newer.
func Parse(text []byte) (conntrack.Record, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return conntrack.Record{}, fmt.Errorf("audit record: %w; is the daemon of the same version?", err)
	}
	when, err := time.Parse("2006-01-02T15:04:05.999999-0700", l.Timestamp)
	if err != nil {
		return conntrack.Record{}, fmt.Errorf("audit record: %w; is the daemon of the same version?", err)
	}
	e := l.Pinhole.ending
	if l.Event == "ftp_session" {
		e = l.Session.ending
	}
	r := conntrack.Record{
		Time: when.UTC(), Action: actionOf(e.Action), Reason: conntrack.Reason(e.Reason),
		FlowID: l.FlowID, Client: netip.AddrPortFrom(l.SrcIP, l.SrcPort), Server: netip.AddrPortFrom(l.DestIP, l.DestPort),
		User: l.FTP.User, Mode: modeOf(l.FTP.Mode), Command: l.FTP.Command, Transfer: l.FTP.Transfer, Path: l.FTP.Path,
		Pinhole: conntrack.Pinhole{
			ID: l.Pinhole.ID, Src: l.Pinhole.SrcIP, SrcPort: l.Pinhole.SrcPort, FromPort: l.Pinhole.FromPort,
			Dst: netip.AddrPortFrom(l.Pinhole.DestIP, l.Pinhole.DestPort), Timeout: seconds(l.Pinhole.Timeout),
			SeenAs: l.Pinhole.NATSrc, Outside: netip.AddrPortFrom(l.Pinhole.NATDest, l.Pinhole.NATPort),
			Backend: l.Pinhole.Backend,
		},
		Count: l.Pinhole.Count, Observed: e.Observed, Reconstructed: e.Made, Duration: seconds(e.Duration),
		Pinholes: l.Session.Pinholes, Denied: l.Session.Denied, Encrypted: l.Session.Encrypted, Conflicts: l.Session.Conflicts,
	}
	if r.Action == 0 {
		return conntrack.Record{}, fmt.Errorf("audit record: unknown action %q; is the daemon of the same version?", e.Action)
	}
	if e.ToServer != nil && e.ToClient != nil {
		r.Counted, r.BytesToServer, r.BytesToClient = true, *e.ToServer, *e.ToClient
	}
	return r, nil
}

// seconds is a time of the audit file, which has microseconds.
func seconds(s float64) time.Duration {
	return time.Duration(math.Round(s*1e6)) * time.Microsecond
}

// actionOf is actionName's inverse; 0 for a word that is none.
func actionOf(word string) conntrack.Action {
	for a := conntrack.Open; actionName(a) != ""; a++ {
		if actionName(a) == word {
			return a
		}
	}
	return 0
}

func modeOf(word string) conntrack.Mode {
	switch word {
	case conntrack.Passive.String():
		return conntrack.Passive
	case conntrack.Active.String():
		return conntrack.Active
	}
	return 0
}
