package gateway

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"ftpinhole/rules"
	"ftpinhole/rules/expect"
)

// by lists the backends that the records of pinholes name.
func (r *rig) by() (list []string) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.records {
		if rec.Pinhole.ID != "" {
			list = append(list, rec.Pinhole.Backend)
		}
	}
	return list
}

// What can be expected is, and knows the control connection as conntrack does.
func TestPinholeIsExpected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, nil, &fakeBackend{})
		d := r.login(40000)
		d.c("PORT 10,0,1,2,195,80")
		if diff := cmp.Diff([]string{"add 10.0.1.2:50000"}, r.first.did()); diff != "" {
			t.Errorf("expectations: %s", diff)
		}
		if did := r.backend.did(); len(did) != 0 {
			t.Errorf("and in the sets: %v", did)
		}
		for _, p := range r.first.inKernel {
			want := rules.Tuple{Src: d.client, Dst: d.server}
			if p.Control != want || p.ControlReply != (rules.Tuple{Src: d.server, Dst: d.client}) {
				t.Errorf("control connection %v, reply %v", p.Control, p.ControlReply)
			}
		}
		d.s("500 no")
		if diff := cmp.Diff([]string{"open", "close refused"}, r.said()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{viaExpect, viaExpect}, r.by()); diff != "" {
			t.Errorf("served by: %s", diff)
		}
		if len(r.first.inKernel) != 0 {
			t.Error("the expectation is still there")
		}
	})
}

// Law 1: what cannot be expected is opened in a set, whatever the reason, and the
// record says so.
func TestLaw1PinholeThatCannotBeExpectedIsInASet(t *testing.T) {
	for _, why := range []error{expect.ErrNoHelper, expect.ErrTranslation, expect.ErrFull} {
		synctest.Test(t, func(t *testing.T) {
			r := startRig(t, nil, &fakeBackend{fail: fmt.Errorf("expect: %w", why)})
			r.login(40000).c("PORT 10,0,1,2,195,80")
			if diff := cmp.Diff([]string{"add 10.0.1.2:50000"}, r.backend.did()); diff != "" {
				t.Errorf("%v: sets: %s", why, diff)
			}
			if diff := cmp.Diff([]string{"open"}, r.said()); diff != "" {
				t.Errorf("%v: %s", why, diff)
			}
			if diff := cmp.Diff([]string{viaNft}, r.by()); diff != "" {
				t.Errorf("%v: served by: %s", why, diff)
			}
		})
	}
}

// Where both fail, nothing was opened.
func TestLaw1NoBackendTakesThePinhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, nil, &fakeBackend{fail: expect.ErrNoHelper})
		r.backend.fail = expect.ErrPermission
		d := r.login(40000)
		if p := d.c("PORT 10,0,1,2,195,80"); p.verdicts() != 1 {
			t.Error("the packet was not let go")
		}
		if diff := cmp.Diff([]string{"deny kernel_error"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

// An expectation that the operator has deleted is closed by the operator.
func TestExpectationIsDeletedByTheOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, nil, &fakeBackend{})
		r.login(40000).c("PORT 10,0,1,2,195,80")
		e := &expectations{shards: r.conns.shards}
		e.deleted("unknown")
		synctest.Wait()
		for _, id := range slices.Collect(maps.Keys(r.first.inKernel)) {
			e.deleted(id)
			e.deleted(id)
		}
		if diff := cmp.Diff([]string{"open", "close closed_by_operator"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

// A session whose translation is not known names no control connection.
func TestPinholeOfUnknownTranslation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, nil, &fakeBackend{})
		r.nat.fail = errNoFlow
		r.login(40000).c("PORT 10,0,1,2,195,80")
		synctest.Wait()
		for _, p := range r.first.inKernel {
			if p.Control.Dst != (netip.AddrPort{}) {
				t.Errorf("control connection to %v", p.Control.Dst)
			}
		}
		if diff := cmp.Diff([]string{"open"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}
