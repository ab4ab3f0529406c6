package audit

import (
	"ftpinhole/conntrack"
)

// timeLayout is the layout of EVE's timestamps, always in UTC.
const timeLayout = "2006-01-02T15:04:05.000000-0700"

// Append appends r to dst as one JSON object and a line feed. What is not
// known is absent; the order of the members never changes.
func Append(dst []byte, r *conntrack.Record) []byte {
	event := "pinhole"
	if isSession(r) {
		event = "ftp_session"
	}
	o := object{buf: append(dst, '{')}
	o.key("timestamp")
	o.buf = append(o.buf, '"')
	o.buf = r.Time.UTC().AppendFormat(o.buf, timeLayout)
	o.buf = append(o.buf, '"')
	o.text("event_type", event)
	if r.FlowID != 0 {
		o.number("flow_id", r.FlowID)
	}
	o.addr("src_ip", r.Client.Addr())
	o.port("src_port", r.Client.Port())
	o.addr("dest_ip", r.Server.Addr())
	o.port("dest_port", r.Server.Port())
	o.text("proto", "TCP")
	appendFTP(&o, r)
	if isSession(r) {
		appendSession(&o, r)
	} else {
		appendPinhole(&o, r)
	}
	o.end()
	return append(o.buf, '\n')
}

func appendFTP(o *object, r *conntrack.Record) {
	mode := modeName(r.Mode)
	if r.User == "" && mode == "" && r.Command == "" && r.Path == "" && r.Transfer == "" {
		return
	}
	o.begin("ftp")
	o.text("user", r.User)
	o.text("mode", mode)
	o.text("command", r.Command)
	o.text("path", r.Path)
	o.text("transfer", r.Transfer)
	o.end()
}

func appendPinhole(o *object, r *conntrack.Record) {
	p := &r.Pinhole
	o.begin("pinhole")
	o.text("id", p.ID)
	o.text("action", actionName(r.Action))
	o.addr("src_ip", p.Src)
	o.addr("dest_ip", p.Dst.Addr())
	if p.Dst.IsValid() { // a refused endpoint may well name port 0
		o.number("dest_port", uint64(p.Dst.Port()))
	}
	o.port("from_port", p.FromPort)
	o.addr("nat_src_ip", p.SeenAs)
	o.addr("nat_dest_ip", p.Outside.Addr())
	o.port("nat_dest_port", p.Outside.Port())
	o.text("backend", p.Backend)
	if p.Timeout > 0 {
		o.seconds("timeout_s", p.Timeout.Microseconds(), false)
	}
	o.port("src_port", p.SrcPort)
	o.text("reason", string(r.Reason))
	appendCounts(o, r)
	if wasUsed(r) {
		o.seconds("duration_s", r.Duration.Microseconds(), true)
	}
	if r.Count > 1 {
		o.number("count", uint64(r.Count))
	}
	appendFlags(o, r)
	o.text("hint", hint(r))
	o.end()
}

func appendSession(o *object, r *conntrack.Record) {
	o.begin("session")
	o.text("action", actionName(r.Action))
	o.text("reason", string(r.Reason))
	if r.Action == conntrack.End {
		o.number("pinholes", uint64(max(r.Pinholes, 0)))
		o.number("denied", uint64(max(r.Denied, 0)))
		appendCounts(o, r)
		o.seconds("duration_s", r.Duration.Microseconds(), true)
		if r.Encrypted {
			o.flag("encrypted")
		}
		if r.Conflicts > 0 {
			o.number("conflicts", uint64(r.Conflicts))
		}
	}
	appendFlags(o, r)
	o.end()
}

// appendFlags writes what is out of the ordinary.
func appendFlags(o *object, r *conntrack.Record) {
	if r.Observed {
		o.flag("observed")
	}
	if r.Reconstructed {
		o.flag("reconstructed")
	}
}

// appendCounts writes the bytes of the connection when they are known.
func appendCounts(o *object, r *conntrack.Record) {
	if !r.Counted {
		return
	}
	o.number("bytes_toserver", r.BytesToServer)
	o.number("bytes_toclient", r.BytesToClient)
}
