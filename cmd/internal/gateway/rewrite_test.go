package gateway

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ftpinhole/cmd/internal/flows"
	"ftpinhole/conntrack"
	"ftpinhole/rules"

	"github.com/google/go-cmp/cmp"
)

// fakeTranslator is what the kernel knows of NAT.
type fakeTranslator struct {
	mu     sync.Mutex
	flow   *flows.Flow // nil: it holds the connection untranslated
	behind netip.Addr  // but of this client, which the server sees as 192.0.2.123
	gone   uint32      // the ID of a connection that it held once
	fail   error
	hang   chan struct{}
}

func (f *fakeTranslator) Translation(client, server netip.AddrPort) (flows.Flow, bool, error) {
	f.mu.Lock()
	hang, fail, flow := f.hang, f.fail, f.flow
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if flow != nil {
		return *flow, true, fail
	}
	got := flows.Flow{Client: client, Server: server, ReplySrc: server, ReplyDst: client}
	if client.Addr() == f.behind {
		got.ReplyDst = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.123"), client.Port())
	}
	return got, true, fail
}

func (f *fakeTranslator) Get(of flows.Flow) (flows.Flow, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return of, of.ID != f.gone, nil
}

// stop lets it hang, until release.
func (f *fakeTranslator) stop() {
	f.release()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hang = make(chan struct{})
}

// release lets it answer.
func (f *fakeTranslator) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hang != nil {
		close(f.hang)
		f.hang = nil
	}
}

// masquerade lets the server see the client as 192.0.2.123:1024.
func (r *rig) masquerade() {
	r.nat.mu.Lock()
	defer r.nat.mu.Unlock()
	client, server := netip.MustParseAddrPort("10.0.1.2:40000"), netip.MustParseAddrPort("10.0.2.2:21")
	r.nat.flow = &flows.Flow{Client: client, Server: server, ReplySrc: server, ReplyDst: netip.MustParseAddrPort("192.0.2.123:1024")}
}

// fakeRewriter is the kernel's sets of rewritten sessions.
type fakeRewriter struct {
	mu   sync.Mutex
	have map[rules.Tuple]bool
	fail error
}

func (f *fakeRewriter) AddRewritten(tuples []rules.Tuple) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	for _, t := range tuples {
		f.have[t] = true
	}
	return nil
}

func (f *fakeRewriter) RemoveRewritten(tuples []rules.Tuple) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range tuples {
		delete(f.have, t)
	}
	return f.fail
}

func (f *fakeRewriter) holds(src, dst string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have[rules.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}]
}

// leaves is how a packet left: its sequence and acknowledgement number and its
// payload. As it came, if it was accepted.
func (p *fakePacket) leaves() (seq, ack uint32, payload string) {
	synctest.Wait()
	b := p.payload
	if p.as != nil {
		b = p.as
	}
	return binary.BigEndian.Uint32(b[24:]), binary.BigEndian.Uint32(b[28:]), string(b[40:])
}

func TestLineIsRewritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.masquerade()
		a := r.login(40000)
		seq := a.up
		port := a.c("PORT 10,0,1,2,195,80")
		if _, _, got := port.leaves(); got != "PORT 192,0,2,123,195,80\r\n" {
			t.Errorf("the line left as %q", got)
		}
		if got, _, _ := port.leaves(); got != seq {
			t.Errorf("its sequence number is %d, want %d", got, seq)
		}
		next := a.c("LIST")
		if got, _, text := next.leaves(); got != a.up-6+3 || text != "LIST\r\n" {
			t.Errorf("the next line left as %q at %d, want it at %d", text, got, a.up-6+3)
		}
		hole := r.backend.inKernel
		if len(hole) != 1 {
			t.Fatalf("%d pinholes", len(hole))
		}
		for _, h := range hole {
			want := rules.Pinhole{ID: h.ID, Src: netip.MustParseAddr("10.0.2.2"), Dst: netip.MustParseAddrPort("10.0.1.2:50000"),
				Timeout: 30 * time.Second, Outside: netip.MustParseAddrPort("192.0.2.123:50000"),
				Control:      rules.Tuple{Src: a.client, Dst: a.server},
				ControlReply: rules.Tuple{Src: a.server, Dst: netip.MustParseAddrPort("192.0.2.123:1024")}}
			if h != want {
				t.Errorf("pinhole %+v\nwant    %+v", h, want)
			}
		}
		for _, way := range [][2]string{
			{"10.0.1.2:40000", "10.0.2.2:21"}, {"10.0.2.2:21", "10.0.1.2:40000"}, {"10.0.2.2:21", "192.0.2.123:1024"},
		} {
			if !r.table.holds(way[0], way[1]) {
				t.Errorf("packets from %s to %s do not come by", way[0], way[1])
			}
		}
		// The server's acknowledgement, on the wire before any NAT.
		ack := ip4(netip.MustParseAddrPort("10.0.2.2:21"), netip.MustParseAddrPort("192.0.2.123:1024"), a.down, a.up+3, conntrack.ACK, "")
		p := &fakePacket{payload: ack}
		r.sent = append(r.sent, p)
		r.shard.handAcks(t.Context(), p)
		if _, got, _ := p.leaves(); got != a.up {
			t.Errorf("the acknowledgement arrives as %d, want %d", got, a.up)
		}
	})
}

// Law 1: what the kernel refuses is not announced under another name either.
func TestLaw1RefusedIsNotRewritten(t *testing.T) {
	for name, trouble := range map[string]func(*rig){
		"pinhole": func(r *rig) { r.backend.fail = errors.New("no") },
		"session": func(r *rig) { r.table.fail = errors.New("no") },
		"patience": func(r *rig) {
			r.backend.hang()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				r.masquerade()
				a := r.login(40000)
				trouble(r)
				p := a.c("PORT 10,0,1,2,195,80")
				time.Sleep(kernelPatience + 2*tick)
				if _, _, got := p.leaves(); got != "PORT 10,0,1,2,195,80\r\n" || p.verdicts() != 1 {
					t.Errorf("the line left as %q", got)
				}
				if seq, _, _ := a.c("NOOP").leaves(); seq != a.up-6 {
					t.Errorf("the next line is at %d, want %d", seq, a.up-6)
				}
				if diff := cmp.Diff([]string{"deny kernel_error"}, r.said()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// Law 1: a slow answer about one session's translation holds up no other.
func TestLaw1TranslationIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		b := r.login(40001)
		r.nat.stop()
		r.dial(40000)
		last := r.sent[len(r.sent)-1]
		if b.c("NOOP").verdicts() != 1 {
			t.Error("another session waits")
		}
		if last.verdicts() != 0 {
			t.Error("a session goes on before it is known how it is translated")
		}
		time.Sleep(kernelPatience + 2*tick)
		if last.verdicts() != 1 {
			t.Error("the session still waits")
		}
	})
}

// What is translated on both sides is known by its event: conntrack need not be
// searched.
func TestTwiceTranslatedIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.nat.fail = errors.New("nobody should ask")
		f := flows.Flow{
			Client: netip.MustParseAddrPort("10.0.1.2:40000"), Server: netip.MustParseAddrPort("198.51.100.1:2121"),
			ReplySrc: netip.MustParseAddrPort("10.0.2.2:21"), ReplyDst: netip.MustParseAddrPort("10.0.2.1:1024"),
			ID: 7, Mark: controlMark,
		}
		r.events <- flows.Event{Kind: flows.New, Flow: f}
		synctest.Wait()
		a := r.login(40000)
		a.c("PASV")
		if _, _, got := a.s(entering).leaves(); got != "227 Entering Passive Mode (198,51,100,1,195,80)\r\n" && got != "227 Entering Passive Mode (198,51,100,1,195,80).\r\n" {
			t.Errorf("the reply left as %q", got)
		}
		other := f
		other.ID = 8
		for _, gone := range []flows.Flow{other, f} { // the first is of a connection before it
			if _, ok := r.conns.twice.find(connection{a.client, a.server}); !ok {
				t.Error("it was forgotten too early")
			}
			r.events <- flows.Event{Kind: flows.Destroy, Flow: gone}
			synctest.Wait()
		}
		if _, ok := r.conns.twice.find(connection{a.client, a.server}); ok {
			t.Error("it is never forgotten")
		}
	})
}

// Where events were lost, another connection may have the ends of one that is
// remembered; one that conntrack still holds is known on.
func TestTwiceTranslatedAfterOverrun(t *testing.T) {
	f := flows.Flow{
		Client: netip.MustParseAddrPort("10.0.1.2:40000"), Server: netip.MustParseAddrPort("198.51.100.1:2121"),
		ReplySrc: netip.MustParseAddrPort("10.0.2.2:21"), ReplyDst: netip.MustParseAddrPort("10.0.2.1:1024"),
		ID: 7, Mark: controlMark, State: flows.Established,
	}
	next := f
	next.Server, next.ID = netip.MustParseAddrPort("198.51.100.9:21"), 8
	leaves := func(r *rig, want string) {
		t.Helper()
		r.tell(flows.Overrun, flows.Flow{})
		a := r.login(40000)
		a.c("PASV")
		if _, _, got := a.s(entering).leaves(); !strings.Contains(got, want) {
			t.Errorf("the reply left as %q, want %s", got, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.tell(flows.New, f)
		r.nat.flow = &next
		leaves(r, "198,51,100,9")
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.tell(flows.New, f)
		r.kernel.have[connection{f.Client, f.Server}] = f
		r.nat.fail = errors.New("nobody should ask")
		leaves(r, "198,51,100,1")
	})
}

// Law 6: a killed daemon's rewritten session goes on with the next.
func TestLaw6RewrittenSessionIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.masquerade()
		a := r.login(40000)
		a.c("PORT 10,0,1,2,195,80")
		synctest.Wait()
		flow := *r.nat.flow
		flow.State = flows.Established
		next := newRig(t, nil)
		next.keeper.dir = r.keeper.dir
		kernel := &fakeConntrack{have: map[connection]flows.Flow{{flow.Client, flow.Server}: flow}}
		for _, k := range next.keeper.load(kernel) {
			if err := next.keeper.keep(k, next.shard); err != nil {
				t.Fatal(err)
			}
			next.shard.ask(func(now time.Time) { next.shard.carryOut(next.shard.tracker.Restore(now, k), connection{}, nil) })
		}
		b := &dialogue{r: next, client: a.client, server: a.server, up: a.up, down: a.down}
		b.s("200 ok") // it acknowledges what came before
		if seq, _, text := b.c("NOOP").leaves(); seq != b.up-6+3 || text != "NOOP\r\n" {
			t.Errorf("after the restart the next line is %q at %d, want it at %d", text, seq, b.up-6+3)
		}
		if !next.table.holds("10.0.2.2:21", "192.0.2.123:1024") {
			t.Error("its packets do not come by")
		}
		// A session that conntrack no longer has is forgotten.
		last := newRig(t, nil)
		last.keeper.dir = r.keeper.dir
		if got := last.keeper.load(&fakeConntrack{have: map[connection]flows.Flow{}}); len(got) != 0 {
			t.Errorf("%d sessions are restored", len(got))
		}
		if left, err := r.keeper.dir.Load(); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

// Law 2: what cannot be handled of a rewritten session is dropped, exactly once:
// it must not pass unshifted.
func TestLaw2RewrittenPacketsDoNotPassUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.masquerade()
		a := r.login(40000)
		a.c("PORT 10,0,1,2,195,80")
		r.backend.hang()
		a.c("PORT 10,0,1,2,195,81")
		var last *fakePacket
		for range heldPackets + 1 {
			last = a.c("NOOP")
		}
		if last.verdicts() != 1 || !last.dropped {
			t.Errorf("a packet for which there is no room: %d verdicts, dropped %v", last.verdicts(), last.dropped)
		}
		r.backend.release()
		broken := &fakePacket{broken: true, strict: true}
		r.send(broken)
		if broken.verdicts() != 1 || !broken.dropped {
			t.Errorf("a packet that panics: %d verdicts, dropped %v", broken.verdicts(), broken.dropped)
		}
		if !strings.Contains(r.log.String(), "panic") {
			t.Error("the panic is not in the log")
		}
	})
}

// hangs lets the kernel hang at the second line of a session that is rewritten.
func (r *rig) hangs() *fakePacket {
	r.masquerade()
	a := r.login(40000)
	a.c("PORT 10,0,1,2,195,80")
	a.s("500 no")
	r.backend.hang()
	return a.c("PORT 10,0,1,2,195,81")
}

// A rewritten session is gone while the kernel is asked for a pinhole of it, which
// it then refuses: nothing of it stays.
func TestLaw8NothingIsKeptOfWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.hangs()
		f := *r.nat.flow
		f.Mark = controlMark
		r.tell(flows.Destroy, f)
		r.later(25 * time.Hour) // nothing came of it since
		r.backend.mu.Lock()
		r.backend.fail = errors.New("no")
		r.backend.mu.Unlock()
		r.backend.release()
		synctest.Wait()
		files, err := r.keeper.dir.Load()
		if err != nil || len(r.keeper.have)+len(r.table.have)+len(files) > 0 {
			t.Errorf("%d sessions, %d directions in the kernel and %d files are kept (%v)", len(r.keeper.have), len(r.table.have), len(files), err)
		}
	})
}

// The kernel does not open the pinhole in time, so that the line leaves as it
// came. That is kept, too, for the next daemon.
func TestLaw6WhatWasGivenUpIsKeptAsItLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		p := r.hangs()
		waitPatience()
		if _, _, got := p.leaves(); got != "PORT 10,0,1,2,195,81\r\n" {
			t.Errorf("left as %q", got)
		}
		r.backend.release()
		synctest.Wait()
		kept, err := r.keeper.dir.Load()
		if err != nil || len(kept) != 1 || len(kept[0].Up.Edits) != 1 {
			t.Errorf("kept %+v (%v), want the first line as rewritten, and the second not", kept, err)
		}
	})
}
