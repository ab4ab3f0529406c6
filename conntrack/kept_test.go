package conntrack

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestRewrittenUntilForgotten(t *testing.T) {
	probe := &Packet{Src: testClient, Dst: testServer, Flags: ACK}
	for name, c := range map[string]struct {
		script    string
		rewritten bool
		forgotten int
	}{
		"nothing rewritten": {"login\nC: NOOP", false, 0},
		"rewritten":         {"login\nC: " + port, true, 0},
		"over":              {"login\nC: " + port + "\nC RST", true, 0},
		"over for long":     {"login\nC: " + port + "\nC RST\nwait 119s", true, 0},
		"over for ever":     {"login\nC: " + port + "\nC RST\nwait 121s", false, 1},
		"gone":              {"login\nC: " + port + "\ngone", true, 0},
		"gone for good":     {"login\nC: " + port + "\ngone for good", false, 1},
		"over and gone":     {"login\nC: " + port + "\nC RST\ngone", false, 1},
		"the kernel fails":  {"login\nfail\nC: " + port, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			st := newTranslated(t, behindNAT, nil)
			st.shake()
			st.play(c.script)
			if got := st.tracker.Rewritten(probe); got != c.rewritten {
				t.Errorf("rewritten: %v", got)
			}
			if st.forgotten != c.forgotten {
				t.Errorf("forgotten %d times, want %d", st.forgotten, c.forgotten)
			}
			wires := 0
			if c.rewritten {
				wires = 2
			}
			if n := len(st.tracker.wires); n != wires {
				t.Errorf("%d addresses on the wire", n)
			}
			st.stop()
		})
	}
}

// While the kernel is asked, nothing of the session may pass as it is.
func TestRewrittenWhileTheKernelIsAsked(t *testing.T) {
	st := loggedIn(t, behindNAT, nil)
	st.play("silent\nC: " + port)
	if !st.tracker.Rewritten(&Packet{Src: testServer, Dst: testClient, Flags: ACK}) {
		t.Error("packets may pass before the kernel has answered")
	}
	st.speak()
	st.stop()
}

// The last packets of a session are shifted after its end.
func TestLaw3AfterTheEnd(t *testing.T) {
	st := loggedIn(t, behindNAT, nil)
	st.play("C: " + port + "\nS: 200 x\nC FIN\nS FIN")
	end := st.c.next
	if seg := st.leaves(&Packet{Src: testClient, Dst: testServer, Seq: end - 1, Flags: ACK | FIN}); seg.Seq != end+3 || seg.Flags&FIN == 0 {
		t.Errorf("FIN sent again left at %d, want %d", seg.Seq, end+3)
	}
	if got := st.acks("S", end+4); got != end {
		t.Errorf("FIN is acknowledged as %d, want %d", got, end)
	}
	st.stop()
}

// The same addresses and ports begin anew: nothing of the new connection is
// shifted, not even the packet that completes its handshake.
func TestThreatRewrittenAddressesAgain(t *testing.T) {
	for name, end := range map[string]string{"still there": "", "over": "C RST"} {
		t.Run(name, func(t *testing.T) {
			st := loggedIn(t, behindNAT, nil)
			st.play("C: " + port + "\n" + end)
			st.c.next, st.s.next = 5_000_000, 6_000_000
			st.packet(&Packet{Src: testClient, Dst: testServer, Seq: st.c.next, Flags: SYN})
			st.packet(&Packet{Src: testServer, Dst: testClient, Seq: st.s.next, Ack: st.c.next + 1, Flags: SYN | ACK})
			if got := st.acks("S", st.c.next+1); got != st.c.next+1 {
				t.Errorf("the answer's acknowledgement became %d", got)
			}
			st.c.next++
			st.s.next++
			if got := st.acks("C", st.s.next); got != st.s.next {
				t.Errorf("the handshake's acknowledgement became %d", got)
			}
			st.ack(&st.c, &st.s)
			if st.left.Seq != st.c.next || st.forgotten != 1 || len(st.tracker.wires) != 0 {
				t.Errorf("left at %d, want %d; forgotten %d times", st.left.Seq, st.c.next, st.forgotten)
			}
			st.play("login\nC: " + port)
			if got := string(st.left.Payload); got != "PORT 198,51,100,7,195,80\r\n" {
				t.Errorf("%q left of the new session", got)
			}
			st.stop()
		})
	}
}

// How ended sessions were rewritten is bounded like sessions are (law 8).
func TestLaw8Departed(t *testing.T) {
	k := newKernel(t, func(c *Config, terms *Terms) {
		translating(c, terms)
		c.Limits.Sessions = 3
	})
	for i := range 10 {
		k.translation = Translation{Server: testServer, Client: netip.AddrPortFrom(masked.Addr(), uint16(1000+i))}
		st := newStage(k, client(i), testServer)
		st.shake()
		st.play("login\nC: PORT 10,1,0," + string(rune('0'+i)) + ",195,80\nC RST")
	}
	if n := len(k.tracker.departed.byKey); n != 3 || k.forgotten != 7 || len(k.tracker.wires) != 6 {
		t.Errorf("%d are remembered, %d forgotten, %d addresses", n, k.forgotten, len(k.tracker.wires))
	}
	k.stop()
}

// A packet that comes before DoAsk is answered waits, whatever it says.
func TestLaw1JoinedByPORT(t *testing.T) {
	st := newTranslated(t, behindNAT, nil)
	st.c.acked, st.s.acked = st.s.next, st.c.next
	st.ack(&st.s, &st.c)
	if got := st.says("C", "NOOP\r\n", 0); len(got.Payload) > 0 {
		t.Errorf("%q left before it was sure that it had not passed before", got.Payload)
	}
	st.ack(&st.s, &side{addr: testClient, next: st.c.next - 6}) // the server has nothing of it
	if got := string(st.again("C", 6, "NOOP\r\n").Payload); got != "NOOP\r\n" {
		t.Errorf("%q left", got)
	}
	// It is joined, and PORT does not prove that it speaks FTP.
	if got := string(st.says("C", port+"\r\n", 0).Payload); got != port+"\r\n" {
		t.Errorf("%q left", got)
	}
	st.says("S", "200 x\r\n200 x\r\n", 0)
	if got := string(st.says("C", port+"\r\n", 0).Payload); got != "PORT 198,51,100,7,195,80\r\n" {
		t.Errorf("%q left", got)
	}
	st.stop()
}

// Who does not wait for the answer goes on as one that is not translated.
func TestUnansweredAsk(t *testing.T) {
	k := newKernel(t, translating)
	st := newStage(k, testClient, testServer)
	k.silent = true
	st.shake()
	st.send(&st.s, &st.c, "220 x\r\n", 0)
	if len(k.waiting) != 1 || k.waiting[0].Do != DoAsk {
		t.Fatalf("asked %v", k.waiting)
	}
	k.translation = behindNAT
	k.speak()
	st.play("C: USER u\nS: 230 x\nC: " + port)
	if got := string(st.left.Payload); got != port+"\r\n" {
		t.Errorf("%q left", got)
	}
	k.stop()
}

func TestSessionStates(t *testing.T) {
	st := loggedIn(t, Translation{Server: published, Client: masked}, nil)
	state := func() SessionState { return st.tracker.Sessions()[0] }
	if got := state(); got.Translation != st.translation || got.Rewritten {
		t.Errorf("%+v", got)
	}
	st.play("C: " + port)
	if !state().Rewritten {
		t.Error("it is rewritten and does not say so")
	}
	st.stop()
	st = loggedIn(t, Translation{Server: testServer, Client: testClient}, nil)
	if got := st.tracker.Sessions()[0].Translation; got != st.translation {
		t.Errorf("untranslated: %+v", got)
	}
	st.stop()
}

// next is the kernel of the next daemon, which has restored the session.
func (st *stage) next() *stage {
	st.tb.Helper()
	var k Kept
	if err := json.Unmarshal(st.kept, &k); err != nil {
		st.tb.Fatalf("%v", err)
	}
	n := newTranslated(st.tb, st.translation, nil)
	n.now = st.now.Add(time.Second)
	n.do(n.tracker.Restore(n.now, &k))
	n.c, n.s, n.kept = st.c, st.s, st.kept
	return n
}

func TestLaw6Restore(t *testing.T) {
	st := loggedIn(t, behindNAT, nil)
	st.play("C: " + port + "\nS: 200 x")
	n := st.next()
	if s := n.tracker.Sessions(); len(s) != 1 || !s[0].Rewritten || s[0].Translation != st.translation {
		t.Errorf("restored %+v", s)
	}
	if n.quota.sessions != 1 {
		t.Errorf("%d sessions are counted", n.quota.sessions)
	}
	if got := n.acks("S", n.c.next+4); got != n.c.next {
		t.Errorf("the acknowledgement became %d, want %d", got, n.c.next)
	}
	n.ack(&n.s, &n.c)
	if seg := n.says("C", "PORT 10,0,1,2,195,81\r\n", 0); string(seg.Payload) != "PORT 198,51,100,7,195,81\r\n" || seg.Seq != n.c.next-22+4 {
		t.Errorf("%q left at %d", seg.Payload, seg.Seq)
	}
	if got := n.acks("S", n.c.next+8); got != n.c.next {
		t.Errorf("the acknowledgement became %d, want %d", got, n.c.next)
	}
	if got := told(n.records); !slices.Equal(got, []string{"open PORT 10.0.1.2:50001"}) {
		t.Errorf("told %q", got)
	}
	n.stop()
	if n.forgotten != 0 {
		t.Error("a stop forgets what the next daemon needs")
	}
}

// What was withheld at the death goes on with what comes next, also with FIN.
func TestLaw6RestoreWithheld(t *testing.T) {
	for name, c := range map[string]struct {
		data  string
		flags Flags
		want  string
	}{
		"the rest of the line": {",1,2,195,80\r\n", 0, "10,0,1,2,195,80\r\n"},
		"FIN":                  {"", FIN, "10,0"},
	} {
		t.Run(name, func(t *testing.T) {
			st := loggedIn(t, behindNAT, nil)
			begin := st.c.next
			st.says("C", "PORT 10,0", 0)
			n := st.next()
			if got := n.acks("S", begin+5); got != n.c.next {
				t.Errorf("told that %d bytes have arrived, want 9", got-begin)
			}
			n.packet(&Packet{Src: testServer, Dst: testClient, Seq: n.s.next, Ack: n.c.next, Flags: ACK})
			if seg := n.says("C", c.data, c.flags); string(seg.Payload) != c.want || seg.Seq != begin+5 || seg.Flags&FIN != c.flags {
				t.Errorf("%q left at %d, flags %b", seg.Payload, seg.Seq-begin, seg.Flags)
			}
			n.stop()
		})
	}
}

// What left before the death is not withheld when it is sent again: the server
// has it, and acknowledges it.
func TestLaw6SentAgainAfterRestore(t *testing.T) {
	const text = port + "\r\nPORT 10,9,9,9,195,80\r\n"
	st := loggedIn(t, behindNAT, nil)
	begin := st.c.next
	st.says("C", text, 0)
	n := st.next()
	const cut = len(text) - len("80\r\n")
	want := "PORT 198,51,100,7,195,80\r\nPORT 10,9,9,9,195,"
	if seg := n.again("C", len(text), text[:cut]); string(seg.Payload) != want || seg.Seq != begin {
		t.Errorf("%q left at %d, want %q", seg.Payload, seg.Seq-begin, want)
	}
	if got := n.acks("S", n.c.next+4); got != n.c.next {
		t.Errorf("told that %d bytes have arrived of %d", got-begin, len(text))
	}
	n.stop()
}

// What nobody can have kept is not restored, and harms nobody.
func TestRestoreNonsense(t *testing.T) {
	st := newTranslated(t, behindNAT, nil)
	for _, k := range []*Kept{
		{},
		{Client: testClient},
		{Client: testClient, Server: testServer, Up: Sequence{Edits: []Edit{{}}}},
		{Client: testClient, Server: testServer, Down: Sequence{Withheld: &Withheld{}}},
	} {
		st.do(st.tracker.Restore(st.now, k))
	}
	if n := len(st.tracker.sessions); n != 0 {
		t.Errorf("%d sessions", n)
	}
	st.shake()
	st.do(st.tracker.Restore(st.now, &Kept{Client: testClient, Server: testServer})) // there is one
	st.play("login\nC: " + port)
	st.stop()
}

// Several lines of one packet are rewritten, and the kernel fails for one.
func TestLaw1OneOfSeveralFails(t *testing.T) {
	lines := []string{"PORT 10,0,1,2,195,80", "PORT 10,0,1,2,195,81", "PORT 10,0,1,2,195,82"}
	for failing := range 3 {
		st := loggedIn(t, behindNAT, nil)
		st.silent = true
		p := &Packet{Src: testClient, Dst: testServer, Seq: st.c.next, Ack: st.c.acked, Flags: ACK}
		want := ""
		for i, l := range lines {
			p.Payload = append(p.Payload, l+"\r\n"...)
			if i == failing {
				want += l + "\r\n"
			} else {
				want += "PORT 198,51,100,7,195,8" + string(rune('0'+i)) + "\r\n"
			}
		}
		st.packet(p)
		st.silent = false
		opens := 0
		for len(st.waiting) > 0 {
			e := st.waiting[0]
			st.waiting = st.waiting[1:]
			st.fail = e.Do == DoOpen && opens == failing
			if e.Do == DoOpen {
				opens++
			}
			st.do(st.answer(e))
			st.fail = false
		}
		if got := string(st.leaves(p).Payload); got != want {
			t.Errorf("%q left, want %q", got, want)
		}
		var k Kept
		if err := json.Unmarshal(st.kept, &k); err != nil || len(k.Up.Edits) != 2 {
			t.Errorf("kept %s, %v", st.kept, err)
		}
		st.stop()
	}
}

// A session whose connection is gone is not kept, also if the kernel was still
// asked to keep it.
func TestLaw8GoneWhileTheKernelHangs(t *testing.T) {
	for name, script := range map[string]string{
		"half a line":                         "silent\nC: \"PORT 10,0,\"",
		"a whole line":                        "silent\nC: " + port,
		"a line after one that was kept":      "C: " + port + "\nS: 500 no\nsilent\nC: PORT 10,0,1,2,195,81",
		"half a line, and the kernel says no": "silent\nC: \"PORT 10,0,\"\nfail",
		"a line, and the kernel says no":      "C: " + port + "\nS: 500 no\nsilent\nC: PORT 10,0,1,2,195,81\nfail",
	} {
		t.Run(name, func(t *testing.T) {
			st := loggedIn(t, behindNAT, nil)
			st.play(script + "\ngone for good\nspeak")
			if st.kept != nil {
				t.Errorf("kept %s", st.kept)
			}
			st.stop()
		})
	}
}
