package gateway

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"ftpinhole/rules"
)

// What the policy allows to some is opened to them, as they named it, and to
// nobody else: FXP between two servers of a list, and PORT when the server agrees.
func TestRuleForOneServer(t *testing.T) {
	yes := true
	policy, err := rules.NewPolicy(rules.Config{
		ControlPorts: []uint16{21},
		Rules: []rules.Rule{{Servers: []string{"10.0.2.2"}, Settings: rules.Settings{
			ForeignPairs: []rules.ForeignPair{{Peer: "10.0.1.2", Foreign: "203.0.113.0/24"}},
			WaitFor2xx:   &yes,
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Policy{policy})
		d := r.login(40000)
		d.c("PORT 203,0,114,7,195,80")
		d.s("200 ok")
		d.c("PORT 203,0,113,7,195,80")
		if got := r.backend.did(); len(got) != 0 {
			t.Errorf("before the server has agreed: %q", got)
		}
		d.s("200 ok")
		if diff := cmp.Diff([]string{"deny foreign_address", "open"}, r.said()); diff != "" {
			t.Error(diff)
		}
		holes := slices.Collect(maps.Values(r.backend.inKernel))
		if len(holes) != 1 || holes[0].Src != d.server.Addr() || holes[0].Dst != netip.MustParseAddrPort("203.0.113.7:50000") {
			t.Errorf("opened %+v, want one from %v to 203.0.113.7:50000", holes, d.server.Addr())
		}

		r = newRig(t, Policy{policy})
		other := &dialogue{r: r, client: d.client, server: netip.MustParseAddrPort("10.0.2.3:21"), up: 1000, down: 5000}
		other.login()
		other.c("PORT 203,0,113,7,195,80")
		other.s("500 no")
		other.c("PORT 10,0,1,2,195,80")
		if diff := cmp.Diff([]string{"deny foreign_address", "open"}, r.said()); diff != "" {
			t.Errorf("with another server: %s", diff)
		}
	})
}
