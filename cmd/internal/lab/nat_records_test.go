package lab_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ftpinhole/cmd/internal/lab"
)

// way is where a pinhole leads, as a record has it.
type way struct {
	Action, Command     string
	From, To            string // inside
	ToPort              uint16
	SeenAs, Outside     string // where they are translated
	OutsidePort         uint16
	ControlFrom, Reason string
	Control             netip.AddrPort
}

// Must hold: records hold the inside and the outside endpoint.
func TestNATRecords(t *testing.T) {
	t.Parallel()
	l, d := translated(t, lab.NAT{Kind: "none"})
	var want []string
	for _, n := range []lab.NAT{{Kind: "none"}, {"masquerade", "longer"}, {"dnat", "shorter"}, {"both", "same"}, {"hairpin", "longer"}} {
		l.Translate(n)
		for _, family := range []int{4, 6} {
			p := loginPair(t, l, n, n.Ends(family))
			for _, command := range commands(family) {
				at, told, err := p.transfer(command)
				if err != nil {
					t.Fatalf("%v: %v", n, err)
				}
				w := way{
					Command: command, To: at.Addr().String(), ToPort: at.Port(),
					ControlFrom: p.ends.Client.String(), Control: netip.AddrPortFrom(p.ends.Server, 21),
				}
				from, seen := p.ends.Server, p.ends.Published
				if isPassive(command) {
					from, seen = p.ends.Client, p.ends.SeenAs
				}
				w.From = from.String()
				if seen != from {
					w.SeenAs = seen.String()
				}
				if told != at {
					w.Outside, w.OutsidePort = told.Addr().String(), told.Port()
				}
				for _, action := range []string{"open", "use", "close"} {
					w.Action, w.Reason = action, map[string]string{"close": "finished"}[action]
					want = append(want, fmt.Sprintf("%+v", w))
				}
			}
			if err := p.end(); err != nil {
				t.Error(err)
			}
		}
	}
	var got []string
	for _, r := range d.WaitClosed(t, len(want)/3) {
		if r.EventType != "pinhole" {
			continue
		}
		got = append(got, fmt.Sprintf("%+v", way{
			Action: r.Pinhole.Action, Command: r.FTP.Command, Reason: r.Pinhole.Reason,
			From: r.Pinhole.SrcIP, To: r.Pinhole.DestIP, ToPort: r.Pinhole.DestPort,
			SeenAs: r.Pinhole.NATSrcIP, Outside: r.Pinhole.NATDestIP, OutsidePort: r.Pinhole.NATDestPort,
			ControlFrom: r.SrcIP, Control: netip.AddrPortFrom(netip.MustParseAddr(r.DestIP), r.DestPort),
		}))
	}
	noneInvalid(t, l)
	// The end of one transfer may be heard of after the next has begun.
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}
