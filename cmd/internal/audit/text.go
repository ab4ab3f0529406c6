package audit

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"ftpinhole/conntrack"
)

// Text is r as one line for people, without a line feed: when, what, why, the
// control connection, what may pass, and for whom. What came from the wire is
// quoted as in Go source.
func Text(r *conntrack.Record) string {
	var b strings.Builder
	b.WriteString(r.Time.UTC().Format("2006-01-02T15:04:05.000Z"))
	word := func(s string) {
		if s != "" {
			b.WriteByte(' ')
			b.WriteString(s)
		}
	}
	field := func(name, value string) {
		if value != "" {
			word(name + "=" + value)
		}
	}
	if isSession(r) {
		word("session")
	} else {
		word("pinhole")
	}
	word(actionName(r.Action))
	word(plain(string(r.Reason)))
	if r.Client.IsValid() && r.Server.IsValid() {
		word(endpoint(r.Client.Addr(), r.Client.Port()) + " > " + endpoint(r.Server.Addr(), r.Server.Port()))
	}
	word(modeName(r.Mode))
	word(plain(r.Command))
	if p := &r.Pinhole; p.Src.IsValid() && p.Dst.IsValid() {
		if r.Action == conntrack.Deny {
			word("wanted")
		} else {
			word("lets")
		}
		if p.SrcPort == 0 {
			word(p.Src.WithZone("").String())
		} else {
			word(endpoint(p.Src, p.SrcPort))
		}
		word("> " + endpoint(p.Dst.Addr(), p.Dst.Port()))
		if p.Outside.IsValid() {
			field("outside", endpoint(p.Outside.Addr(), p.Outside.Port()))
		}
		if p.SeenAs.IsValid() {
			field("seen_as", p.SeenAs.WithZone("").String())
		}
	}
	field("user", quoted(r.User))
	if r.Transfer != "" {
		word(plain(r.Transfer))
		word(quoted(r.Path))
	}
	if r.Action == conntrack.End {
		field("pinholes", strconv.Itoa(r.Pinholes))
		field("denied", strconv.Itoa(r.Denied))
	}
	if r.Counted {
		field("toserver", strconv.FormatUint(r.BytesToServer, 10)+"B")
		field("toclient", strconv.FormatUint(r.BytesToClient, 10)+"B")
	}
	if r.Action == conntrack.End || wasUsed(r) {
		field("duration", r.Duration.Round(time.Millisecond).String())
	}
	if r.Count > 1 {
		field("count", strconv.Itoa(r.Count))
	}
	if r.Encrypted {
		word("encrypted")
	}
	if r.Conflicts > 0 {
		field("conflicts", strconv.Itoa(r.Conflicts))
	}
	if r.Observed {
		word("(observed only)")
	}
	if r.Reconstructed {
		word("(reconstructed)")
	}
	field("id", plain(r.Pinhole.ID))
	if h := hint(r); h != "" {
		word("(" + h + ")")
	}
	return b.String()
}

// endpoint writes address and port without a zone, whose text could be any.
func endpoint(addr netip.Addr, port uint16) string {
	return netip.AddrPortFrom(addr.WithZone(""), port).String()
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(s)
}

// plain is a word of a closed list as it stands, and anything else quoted.
func plain(s string) string {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '"' {
			return strconv.Quote(s)
		}
	}
	return s
}
