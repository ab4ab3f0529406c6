package gateway

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ftpinhole/cmd/internal/flows"
	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
)

// written is what the next daemon would find of the session.
func (d *dialogue) written() (conntrack.Facts, bool) {
	d.r.t.Helper()
	d.r.nextBook()
	e, ok := d.r.conns.notes.book.Former(d.client, d.server)
	return e.Facts, ok
}

// newDialogue is a session whose handshake is to come.
func (r *rig) newDialogue() *dialogue {
	return &dialogue{r: r, client: netip.MustParseAddrPort("10.0.1.2:40000"), server: netip.MustParseAddrPort("10.0.2.2:21"), up: 1000, down: 5000}
}

// Law 6: what takes a permission away is written when its packet goes on.
func TestLaw6WrittenBeforeItMatters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		d := r.newDialogue()
		d.login()
		const ready = conntrack.SpeaksFTP | conntrack.LoggedIn
		if got, ok := d.written(); !ok || got != ready {
			t.Errorf("after the login %b %v is written, want %b", got, ok, ready)
		}
		d.c("AUTH TLS")
		if p := d.s("234 go"); p.verdicts() != 1 {
			t.Error("the packet still waits")
		}
		if got, ok := d.written(); !ok || got != ready|conntrack.Blind {
			t.Errorf("after 234 %b %v is written", got, ok)
		}
		d.raw(true, conntrack.RST|conntrack.ACK, "")
		if got, ok := d.written(); ok {
			t.Errorf("after the end %b is written", got)
		}
	})
}

// A disk that hangs holds no session for longer than the kernel may, and no other
// session at all (laws 1 and 3).
func TestLaw3NotesThatAreNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		d := r.newDialogue()
		d.login()
		r.shard.notes = newMailbox[note]() // nobody reads it
		d.c("REIN")
		held := d.s("220 anew")
		if held.verdicts() != 0 {
			t.Error("the packet went on before it was written down that the user is logged out")
		}
		waitPatience()
		if held.verdicts() != 1 {
			t.Error("the packet waits for ever")
		}
		if p := d.c("PORT 10,0,1,2,195,80"); p.verdicts() != 1 {
			t.Error("the next packet waits")
		}
		if diff := cmp.Diff([]string{"deny not_logged_in"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

// What was written and cannot be any more costs no session anything.
func TestLaw3NotesThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		if err := r.conns.notes.book.Close(); err != nil {
			t.Fatal(err)
		}
		d := r.newDialogue()
		d.login()
		if p := d.c("PORT 10,0,1,2,195,80"); p.verdicts() != 1 {
			t.Error("the packet waits")
		}
		if diff := cmp.Diff([]string{"open"}, r.said()); diff != "" {
			t.Error(diff)
		}
	})
}

// A session that a former daemon knew, and of which no packet came, is forgotten
// when conntrack says that it is over; another one is not.
func TestFormerSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		d := r.newDialogue()
		other := netip.MustParseAddrPort("10.0.1.2:40001")
		r.knew(conntrack.Known{Client: d.client, Server: d.server})
		r.knew(conntrack.Known{Client: other, Server: d.server, Facts: conntrack.NoFTP})
		f := flows.Flow{Client: d.client, Server: d.server, ReplySrc: d.server, ReplyDst: d.client, Mark: controlMark}
		r.events <- flows.Event{Kind: flows.Destroy, Flow: f}
		time.Sleep(time.Second)
		synctest.Wait()
		if got, ok := d.written(); ok {
			t.Errorf("after the end %b is written", got)
		}
		if e, ok := r.conns.notes.book.Former(other, d.server); !ok || e.Facts != conntrack.NoFTP {
			t.Errorf("of the other session it says %v, %v", e, ok)
		}
	})
}
