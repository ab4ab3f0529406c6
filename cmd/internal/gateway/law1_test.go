package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
)

const entering = "227 Entering Passive Mode (10,0,2,2,195,80)."

func TestLaw1AnnouncementWaitsForTheKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a, b := r.login(40000), r.login(40001)
		a.c("PASV")
		r.backend.hang()
		a.order = nil
		announced := a.s(entering)
		a.down -= uint32(len(entering) + 2)
		again := a.s(entering) // the server resends it
		later := a.c("RETR x")
		for name, p := range map[string]*fakePacket{"announcement": announced, "its copy": again, "what came later": later} {
			if got := p.verdicts(); got != 0 {
				t.Errorf("%s went on before the kernel had the pinhole", name)
			}
		}
		if b.c("NOOP").verdicts() != 1 {
			t.Error("another session waits too")
		}
		r.backend.release()
		if diff := cmp.Diff([]string{"add 10.0.2.2:50000"}, r.backend.did()); diff != "" {
			t.Error(diff)
		}
		synctest.Wait()
		if len(a.order) != 3 || a.order[0] != announced || a.order[1] != again || a.order[2] != later {
			t.Errorf("%d packets went on, or in another order than they came", len(a.order))
		}
		if diff := cmp.Diff([]string{"open"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLaw1KernelRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		r.backend.fail = errors.New("no")
		a.c("PASV")
		if a.s(entering).verdicts() != 1 {
			t.Error("the announcement did not go on")
		}
		if diff := cmp.Diff([]string{"deny kernel_error"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLaw1KernelDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		a.c("PASV")
		r.backend.hang()
		p := a.s(entering)
		time.Sleep(kernelPatience - 2*tick)
		if p.verdicts() != 0 {
			t.Error("the announcement went on too early")
		}
		time.Sleep(3 * tick)
		if p.verdicts() != 1 {
			t.Error("the announcement did not go on after two seconds")
		}
		if diff := cmp.Diff([]string{"deny kernel_error"}, r.said()); diff != "" {
			t.Error(diff)
		}
		r.backend.release()
		if diff := cmp.Diff([]string{"add 10.0.2.2:50000", "remove 10.0.2.2:50000"}, r.backend.did()); diff != "" {
			t.Errorf("what the kernel did too late was not undone: %s", diff)
		}
		if diff := cmp.Diff([]string{"deny kernel_error"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLaw1RefusalWaitsForTheWithdrawal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		if a.c("PORT 10,0,1,2,195,80").verdicts() != 1 {
			t.Fatal("PORT did not go on")
		}
		r.backend.hang()
		p := a.s("500 no")
		if p.verdicts() != 0 {
			t.Error("the refusal went on while the port was open")
		}
		r.backend.release()
		if p.verdicts() != 1 {
			t.Error("the refusal did not go on")
		}
		if diff := cmp.Diff([]string{"open", "close refused"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLaw1WithdrawalThatTakesLongIsRecordedWhenItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		a.c("PORT 10,0,1,2,195,80")
		r.backend.hang()
		p := a.s("500 no")
		waitPatience()
		if p.verdicts() != 1 {
			t.Error("the refusal did not go on after two seconds")
		}
		if diff := cmp.Diff([]string{"open"}, r.said()); diff != "" {
			t.Errorf("the port is still open: %s", diff)
		}
		r.backend.release()
		if diff := cmp.Diff([]string{"open", "close refused"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLaw1WhatNobodyWaitsForHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.backend.hang()
		for port := range uint16(5) {
			r.login(40000 + port).c(fmt.Sprintf("PORT 10,0,1,2,195,%d", port))
		}
		waitPatience()
		a := r.login(40010)
		p := a.c("PORT 10,0,1,2,195,100")
		r.backend.release()
		if p.verdicts() != 1 {
			t.Error("the kernel is back, and a packet waits")
		}
		// The first was under way when it was given up.
		want := []string{"add 10.0.1.2:49920", "add 10.0.1.2:50020", "remove 10.0.1.2:49920"}
		if diff := cmp.Diff(want, r.backend.did()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLaw1HeldPacketsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.login(40000)
		a.c("PASV")
		r.backend.hang()
		a.s(entering)
		var last *fakePacket
		for range heldPackets + 1 {
			last = a.c("NOOP")
		}
		if last.verdicts() != 1 {
			t.Error("packets are held without bound")
		}
		if !last.unread {
			t.Error("the packet that was too many counts as read")
		}
	})
}

// How the session is translated is not known in time. What it then asks for is
// open before its packet goes on.
func TestLaw1TranslationIsNotKnownInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		d := &dialogue{r: r, client: netip.MustParseAddrPort("10.0.1.2:40000"), server: netip.MustParseAddrPort("10.0.2.2:21"), up: 1000, down: 5000}
		r.conns.joinable.add(d.client, d.server)
		r.knew(conntrack.Known{Client: d.client, Server: d.server, Up: 1000, Down: 5000, Facts: conntrack.SpeaksFTP | conntrack.LoggedIn})
		r.nat.stop()
		p := d.c("PORT 10,0,1,2,195,80")
		r.backend.hang()
		waitPatience()
		if p.verdicts() != 0 {
			t.Error("the packet went on before its pinhole was open")
		}
		r.backend.release()
		if p.verdicts() != 1 {
			t.Error("the packet waits for more than its pinhole")
		}
		if diff := cmp.Diff([]string{"open"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}
