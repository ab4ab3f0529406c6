package audit

import "ftpinhole/conntrack"

// actionName is the "action" of a record; "" for a value that is none.
func actionName(a conntrack.Action) string {
	switch a {
	case conntrack.Open:
		return "open"
	case conntrack.Use:
		return "use"
	case conntrack.Close:
		return "close"
	case conntrack.Deny:
		return "deny"
	case conntrack.Start:
		return "start"
	case conntrack.End:
		return "end"
	}
	return ""
}

// modeName is the "mode" of a record (RFC 959 3.2); "" while unknown.
func modeName(m conntrack.Mode) string {
	switch m {
	case conntrack.Passive:
		return "passive"
	case conntrack.Active:
		return "active"
	}
	return ""
}

// isSession says whether the record is about the control session itself.
func isSession(r *conntrack.Record) bool {
	return r.Action == conntrack.Start || r.Action == conntrack.End
}

// wasUsed says whether the record is the close of a pinhole whose connection
// came, so that it has a duration.
func wasUsed(r *conntrack.Record) bool {
	return r.Action == conntrack.Close && (r.Pinhole.SrcPort != 0 || r.Counted || r.Duration > 0)
}

// hint is what an administrator can do about the record; usually nothing.
func hint(r *conntrack.Record) string {
	if r.Action == conntrack.Close && r.Reason == conntrack.Blocked {
		return "the SYN came but no connection followed: does each base chain that drops have the accept line? See: ftpinhole rules nft, ftpinhole rules iptables"
	}
	return ""
}
