package dialogue

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// World is where a dialogue is played: the two sides' addresses, and a third
// host beside each.
type World struct {
	Client, Server           netip.Addr
	OtherClient, OtherServer netip.Addr
}

// Segments gives the bytes of a step, one slice for each TCP segment. These
// stand for something else in its text:
//
//	{CLIENT} {SERVER}  an address: 10.0.1.2
//	{LONG}             the client's written out in full, in capitals
//	{C} {S}            an address of IPv4 as PORT and 227 have it: 10,0,1,2
//	{OTHER} {O}        the third host beside the one who speaks, in both ways
//	{S BLANKS}         {S} with a blank behind each comma
//	{PORT} {PASV}      {C} and {S} with Port behind: 10,0,1,2,195,135
//	{EPRT} {EPSV}      |1|10.0.1.2|50055| and |||50055|
func (w World) Segments(st Step) [][]byte {
	text := []byte(w.expand(st))
	var cuts []int
	for _, at := range st.Cuts {
		if at < 0 {
			at += len(text)
		}
		cuts = append(cuts, at)
	}
	if st.Each {
		for at := 1; at < len(text); at++ {
			cuts = append(cuts, at)
		}
	}
	var segments [][]byte
	begin := 0
	for _, at := range append(cuts, len(text)) {
		if at > begin && at <= len(text) {
			segments = append(segments, slices.Clone(text[begin:at]))
			begin = at
		}
	}
	return segments
}

func (w World) expand(st Step) string {
	other := w.OtherClient
	if st.From == Server {
		other = w.OtherServer
	}
	family := 1 // RFC 2428 2
	if w.Client.Is6() {
		family = 2
	}
	return strings.NewReplacer(
		"{CLIENT}", w.Client.String(), "{C}", commas(w.Client),
		"{LONG}", strings.ToUpper(w.Client.StringExpanded()),
		"{SERVER}", w.Server.String(), "{S}", commas(w.Server),
		"{OTHER}", other.String(), "{O}", commas(other),
		"{S BLANKS}", strings.ReplaceAll(commas(w.Server), ",", ", "),
		"{PORT}", commas(w.Client)+",195,135", "{PASV}", commas(w.Server)+",195,135",
		"{EPRT}", fmt.Sprintf("|%d|%s|%d|", family, w.Client, Port),
		"{EPSV}", fmt.Sprintf("|||%d|", Port),
	).Replace(st.Text)
}

func commas(a netip.Addr) string { return strings.ReplaceAll(a.String(), ".", ",") }

// Ends are where a probe's connection comes from and where it goes.
func (w World) Ends(p Probe) (from netip.Addr, to netip.AddrPort) {
	switch {
	case p.Mode == Active && p.Other:
		return w.Server, netip.AddrPortFrom(w.OtherClient, p.Port)
	case p.Mode == Active:
		return w.Server, netip.AddrPortFrom(w.Client, p.Port)
	case p.Other:
		return w.Client, netip.AddrPortFrom(w.OtherServer, p.Port)
	}
	return w.Client, netip.AddrPortFrom(w.Server, p.Port)
}
