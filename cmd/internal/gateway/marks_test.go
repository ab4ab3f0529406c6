package gateway

import (
	"testing"
	"testing/synctest"

	"ftpinhole/cmd/internal/flows"
)

// A pinhole has the operator's bits of its control connection's mark, as they are
// when it opens, and none of ours. Where conntrack has no such connection it opens
// without.
func TestPinholeHasTheOperatorsMark(t *testing.T) {
	for mark, want := range map[uint32]uint32{0x20000000: 0, 0x70000005: 0x5, 0x2f00ff00: 0x0f00ff00} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			d := r.login(40000)
			control := flows.Flow{Client: d.client, Server: d.server, Mark: 0x20000000, State: flows.Established}
			r.kernel.put(control)
			control.Mark = mark
			r.kernel.put(control)
			d.c("PORT 10,0,1,2,195,80")
			r.backend.did()
			for _, p := range r.backend.inKernel {
				if p.Mark != want {
					t.Errorf("of %#x the pinhole has %#x, want %#x", mark, p.Mark, want)
				}
			}
			r.login(40001).c("PORT 10,0,1,2,195,81")
			if n := len(r.backend.did()); n != 2 {
				t.Errorf("%d pinholes, want 2", n)
			}
		})
	}
}
