package conntrack

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// What conntrack forgets (a flush, its timeout, another gateway) goes on where
// it stood, and only there.
func TestLaw6ForgottenSessionGoesOn(t *testing.T) {
	const again = "C: NOOP\nS: 200 x\nC: PASV\nS: " + entering
	performAll(t, []dialogue{
		{name: "PASV", script: "login\ngone\n" + again, want: opensPASV},
		{name: "PASV at once", script: "login\ngone\nC: PASV\nS: " + entering, want: opensPASV},
		{name: "PORT at once", script: "login\ngone\nC: " + port, want: opensPORT},
		{name: "twice", script: "login\ngone\nC: NOOP\nS: 200 x\ngone\n" + again, want: opensPASV},
		{name: "twice at once", script: "login\ngone\ngone\n" + again, want: opensPASV},
		{name: "after minutes", script: "login\ngone\nwait 10m\n" + again, want: opensPASV},
		{name: "the server had begun to speak", script: "login\nC: STAT\nS: 211-x\ngone\nC: NOOP\nS: 211 end\nS: 200 x\nC: PASV\nS: " + entering, want: opensPASV},
		{name: "greeted", script: "S: 220 x\ngone\nC: USER u\nS: 331 x\nC: PASS p\nS: 230 x\nC: " + port, want: opensPORT},
		{name: "joined", script: "join\nC: NOOP\nS: 200 x\ngone\n" + again, want: opensPASV},
		{name: "what was open", script: "login\nC: PASV\nS: " + entering + "\nwait 1s\ngone\nC: NOOP\nS: 200 x\nC: PASV\nS: " + entering,
			want: opensPASV + "\nclose session_end PASV 50000\n" + opensPASV},
		{name: "the news comes late", script: "login\nC: PASV\nS: " + entering + "\ngone\nuse 50001", want: opensPASV + "\nuse PASV 50000"},
		{name: "the news comes late, and nobody else", script: "login\nC: PASV\nS: " + entering + "\ngone\nwait 31s",
			want: opensPASV + "\nclose expired PASV 50000"},
		{name: "one side had closed", script: "login\nS FIN\ngone\nC: " + port, want: opensPORT},
		{name: "a data connection", script: "login\nC: PASV\nS: " + entering + "\nuse 50001\nestablished\ngone\nC: NOOP\nS: 200 x\nended",
			want: opensPASV + "\nuse PASV 50000\nclose finished PASV 50000"},
	})
}

// What a session is known to be stays known.
func TestLaw6ForgottenSessionIsWhatItWas(t *testing.T) {
	performAll(t, []dialogue{
		{name: "not FTP", script: "S: 220 x\nC: POST / HTTP/1.1\ngone\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
		{name: "not FTP, after a command", script: "S: 220 x\nC: POST / HTTP/1.1\ngone\nC: NOOP\nS: 200 x\nC: " + port,
			want: "deny not_ftp PORT 10.0.1.2:50000"},
		{name: "not logged in", script: "S: 220 x\nC: USER u\nS: 331 x\ngone\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "logged out", script: "login\nC: REIN\nS: 220 x\ngone\nC: NOOP\nS: 200 x\nC: PASV\nS: " + entering,
			want: "deny not_logged_in PASV 10.0.2.2:50000"},
		{name: "EPSV ALL", script: "login\nC: EPSV ALL\nS: 200 x\ngone\nC: " + port, want: "deny epsv_all PORT 10.0.1.2:50000"},
		{name: "TLS", script: "login\nC: AUTH TLS\nS: 234 x\ngone\nC: " + port, want: ""},
		{name: "out of step", script: "login\nS! 150 x\nC: NOOP\ngone\nC: " + port, want: "deny out_of_step PORT 10.0.1.2:50000"},
		{name: "after both FINs", script: "login\nC FIN\nS FIN\ngone\nC: " + port, want: ""},
		{name: "after a RST that counts", script: "login\nS RST\ngone\nC: " + port, want: ""},
		{name: "after QUIT", script: "login\nC: QUIT\nS: 221 x\ngone\nC: " + port, want: "deny out_of_step PORT 10.0.1.2:50000"},
	})
}

// What does not go on exactly is refused, and says so.
func TestLaw6ForgottenSessionIsNotResurrected(t *testing.T) {
	const refused = "deny out_of_step PORT 10.0.1.2:50000"
	performAll(t, []dialogue{
		{name: "the client was not seen", script: "login\ngone\nC! NOOP\nC: " + port, want: refused},
		{name: "the server was not seen", script: "login\ngone\nS! 150 x\nC: " + port, want: refused},
		{name: "the server was not seen, for long", script: "login\ngone\nS! 150 x\nC: NOOP\nS: 200 x\nC: " + port, want: refused},
		{name: "227", script: "login\ngone\nS! 150 x\nC: PASV\nS: " + entering, want: "deny out_of_step 10.0.2.2:50000"},
		{name: "its time is over", script: "login\ngone for good\nC: " + port, want: refused},
		{name: "for good, 229", script: "login\ngone for good\nC: EPSV\nS: 229 x (|||50000|)", want: "deny out_of_step 10.0.2.2:50000"},
		{name: "TLS", script: "login\nC: AUTH TLS\nS: 234 x\ngone\nC! x\nC: " + port, want: ""},
		{name: "half a line", script: "login\ngone\nC! NOOP\nC: \"PORT 10,0,1,2\"", want: ""},
	})
}

// Both numbers are those of what was said, not just one, and not nearly.
func TestLaw6ForgedSegmentsDoNotResume(t *testing.T) {
	line := []byte(port + "\r\n")
	for name, forge := range map[string]func(p *Packet){
		"seq one beyond":   func(p *Packet) { p.Seq++ },
		"seq one behind":   func(p *Packet) { p.Seq-- },
		"ack one beyond":   func(p *Packet) { p.Ack++ },
		"ack one behind":   func(p *Packet) { p.Ack-- },
		"seq far":          func(p *Packet) { p.Seq += 1 << 31 },
		"no ack":           func(p *Packet) { p.Flags = 0 },
		"RST alone":        func(p *Packet) { p.Flags = RST },
		"RST, a wrong ack": func(p *Packet) { p.Flags, p.Ack = RST|ACK, p.Ack+1 },
		"FIN, a wrong ack": func(p *Packet) { p.Flags, p.Ack = FIN|ACK, p.Ack+1 },
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(newKernel(t, nil), testClient, testServer)
			st.shake()
			st.play("login\ngone")
			p := &Packet{Src: st.c.addr, Dst: st.s.addr, Seq: st.c.next, Ack: st.c.acked, Flags: ACK, Payload: line}
			forge(p)
			st.packet(p)
			if slices.Contains(told(st.records), opensPORT) {
				t.Errorf("told %q", told(st.records))
			}
			st.records = st.records[:1] // its start
			st.play("C: NOOP\nS: 200 x\nC: " + port)
			if got := told(st.records); !slices.Equal(got, []string{opensPORT}) {
				t.Errorf("the session itself: told %q", got)
			}
			st.stop()
		})
	}
}

// What was said before is no news, and what asks whether anybody is there says
// nothing.
func TestLaw6ForgottenSessionHearsOldSegments(t *testing.T) {
	for name, old := range map[string]func(st *stage) *Packet{
		"PASS again": func(st *stage) *Packet {
			line := "PASS secret\r\n"
			return &Packet{Src: st.c.addr, Dst: st.s.addr, Seq: st.c.next - uint32(len(line)), Ack: st.c.acked, Flags: ACK, Payload: []byte(line)}
		},
		"PORT in the place of PASS": func(st *stage) *Packet {
			line := "PORT 1,2,3\r\n"
			return &Packet{Src: st.c.addr, Dst: st.s.addr, Seq: st.c.next - uint32(len(line)), Ack: st.c.acked, Flags: ACK, Payload: []byte(line)}
		},
		"a keep-alive probe": func(st *stage) *Packet {
			return &Packet{Src: st.c.addr, Dst: st.s.addr, Seq: st.c.next - 1, Ack: st.c.acked, Flags: ACK}
		},
		"a keep-alive probe with a byte": func(st *stage) *Packet {
			return &Packet{Src: st.c.addr, Dst: st.s.addr, Seq: st.c.next - 1, Ack: st.c.acked, Flags: ACK, Payload: []byte{0}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(newKernel(t, nil), testClient, testServer)
			st.shake()
			st.play("login\ngone")
			st.packet(old(st))
			if st.tracker.lapsed.Len() != 1 {
				t.Error("that was taken for the session's next segment")
			}
			st.play("C: " + port)
			if got := told(st.records); !slices.Equal(got, []string{opensPORT}) {
				t.Errorf("told %q", got)
			}
			st.stop()
		})
	}
}

// A handshake ends the forgotten session; a SYN alone, which may be forged, does
// not.
func TestLaw6ForgottenSessionAndANewConnection(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login\ngone")
	st.packet(&Packet{Src: st.c.addr, Dst: st.s.addr, Seq: 4000, Flags: SYN})
	st.packet(&Packet{Src: st.c.addr, Dst: st.s.addr, Seq: 4001, Ack: 99, Flags: ACK, Payload: []byte(port + "\r\n")})
	if got := told(st.records); !slices.Equal(got, []string{"deny out_of_step PORT 10.0.1.2:50000"}) {
		t.Errorf("told %q", got)
	}
	again := newStage(st.kernel, testClient, testServer)
	again.c.next, again.s.next = 5000, 7000
	again.shake()
	again.play("S: 220 x\nC: " + port)
	want := []string{"deny out_of_step PORT 10.0.1.2:50000", "deny not_logged_in PORT 10.0.1.2:50000"}
	if got := told(st.records); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	st.stop()
}

// All that a session opens is under one flow id, before conntrack forgot it and
// after, and so is what is refused of it when it could not be kept.
func TestLaw7ForgottenSessionIsOneFlow(t *testing.T) {
	for _, script := range []string{
		"login\nC: " + port + "\ngone\nC: NOOP\nS: 200 x\nC: " + port,
		"login\nC: " + port + "\ngone\nC! x\nC: " + port,
		"login\nC: " + port + "\ngone for good\nC: " + port,
	} {
		st := newStage(newKernel(t, nil), testClient, testServer)
		st.shake()
		st.play(script)
		st.stop()
		for _, r := range st.records {
			if r.FlowID != st.records[0].FlowID {
				t.Errorf("%s: %s has another flow id", script, short(r))
			}
		}
	}
}

// Forgotten sessions count, but take no one's place: the oldest of them go.
func TestLaw8ForgottenSessions(t *testing.T) {
	for name, change := range map[string]func(*Config, *Terms){
		"of a client": func(c *Config, _ *Terms) { c.Limits.SessionsPerClient = 3 },
		"in all":      func(c *Config, _ *Terms) { c.Limits.Sessions = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t, change)
			at := func(i int) *stage {
				st := newStage(k, netip.AddrPortFrom(testClient.Addr(), uint16(40000+i)), testServer)
				st.shake()
				st.play("login")
				return st
			}
			var all []*stage
			for i := range 100 {
				st := at(i)
				st.play("gone")
				all = append(all, st)
				if n := len(k.tracker.sessions); n > 3 {
					t.Fatalf("%d sessions after %d", n, i)
				}
			}
			if n := k.tracker.lapsed.Len(); n != 3 {
				t.Errorf("%d sessions are kept, want 3", n)
			}
			all[99].play("C: " + port)
			all[0].play("C: " + port) // evicted
			want := []string{opensPORT, "deny out_of_step PORT 10.0.1.2:50000"}
			if got := told(k.records); !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
			at(200)
			at(201)
			all[98].play("C: NOOP") // its place is taken
			if n := k.tracker.lapsed.Len(); n != 0 {
				t.Errorf("%d sessions are still kept", n)
			}
			at(202)
			if got := told(k.records); len(got) != 3 {
				t.Errorf("the limit does not hold for those that live: told %q", got)
			}
			k.stop()
		})
	}
}

// Another shard's clients push forgotten sessions out as well.
func TestLaw8ForgottenSessionsOfAnotherShard(t *testing.T) {
	k := newKernel(t, func(c *Config, _ *Terms) { c.Limits.SessionsPerClient = 2 })
	for i := range 2 {
		st := newStage(k, netip.AddrPortFrom(testClient.Addr(), uint16(40000+i)), testServer)
		st.shake()
		st.play("login\ngone")
	}
	if why := k.quota.take(testClient.Addr(), 1, 0); why != "" {
		t.Fatalf("refused: %s", why)
	}
	k.do(k.tracker.Tick(k.now))
	if n := k.tracker.lapsed.Len(); n != 1 {
		t.Errorf("%d sessions are kept, want 1", n)
	}
	k.quota.give(testClient.Addr(), 1, 0)
	k.stop()
}

// A session that conntrack translates otherwise is not the one that its ends
// know. Which it is, conntrack can say once the first packet has gone.
func TestLaw6ForgottenSessionAndItsTranslation(t *testing.T) {
	other := behindNAT
	other.Client = netip.AddrPortFrom(other.Client.Addr(), other.Client.Port()+1)
	for name, c := range map[string]struct {
		before, after Translation
		opens         bool
	}{
		"none":        {Translation{Client: testClient, Server: testServer}, Translation{Client: testClient, Server: testServer}, true},
		"the same":    {behindNAT, behindNAT, true},
		"another":     {behindNAT, other, false},
		"none, now":   {behindNAT, Translation{Client: testClient, Server: testServer}, false},
		"none before": {Translation{Client: testClient, Server: testServer}, behindNAT, false},
	} {
		t.Run(name, func(t *testing.T) {
			st := loggedIn(t, c.before, nil)
			st.play("gone")
			st.translation = c.after
			st.play("C: NOOP\nS: 200 x\nC: PASV\nS: " + entering)
			want := "deny out_of_step 10.0.2.2:50000"
			if c.opens {
				want = opensPASV
			}
			if got := told(st.records); !slices.Equal(got, []string{want}) {
				t.Errorf("told %q, want %q", got, want)
			}
			st.stop()
		})
	}
}

// While nobody can say how it is translated, nothing opens.
func TestLaw6ForgottenSessionWithoutAnAnswer(t *testing.T) {
	st := loggedIn(t, behindNAT, nil)
	st.play("gone")
	st.unasked = true
	st.play("C: NOOP\nS: 200 x\nC: " + port)
	st.unasked = false
	st.play("S: 500 x\nC: NOOP\nS: 200 x\nC: " + port)
	want := []string{"deny out_of_step PORT 10.0.1.2:50000", opensPORT}
	if got := told(st.records); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	st.stop()
}

// conntrack may have picked the session up before its end was told.
func TestLaw6PickedUpBeforeItWasTold(t *testing.T) {
	for name, after := range map[string]Translation{"the same": behindNAT, "another": {Client: testClient, Server: testServer}} {
		st := loggedIn(t, behindNAT, nil)
		st.translation = after
		st.tracker.PickedUp(testClient, testServer)
		st.play("C: " + port)
		opens := slices.Contains(told(st.records), opensPORT)
		if opens != (after == behindNAT) {
			t.Errorf("%s: told %q", name, told(st.records))
		}
		st.stop()
	}
}

// A session whose numbers are shifted stays shifted, before it goes on and after.
func TestForgottenSessionStaysRewritten(t *testing.T) {
	st := loggedIn(t, behindNAT, nil)
	st.play("C: " + port + "\nS: 200 x\nC: NOOP\nS: 200 x")
	probe := &Packet{Src: st.c.addr, Dst: st.s.addr, Seq: st.c.next - 1, Ack: st.c.acked, Flags: ACK}
	before := st.leaves(probe).Seq
	if before == probe.Seq {
		t.Fatal("the session is not rewritten")
	}
	st.play("gone")
	if got := st.leaves(probe).Seq; got != before {
		t.Errorf("a probe leaves with %d, before it was forgotten with %d", got, before)
	}
	st.play("C: " + port)
	if want := "PORT 198,51,100,7,195,80\r\n"; !slices.Contains(told(st.records), opensPORT) || string(st.left.Payload) != want {
		t.Errorf("%q left, told %q", st.left.Payload, told(st.records))
	}
	st.stop()
}

// Nothing of a forgotten session waits for its turn (law 3): what it misses may
// never come by here.
func TestLaw3ForgottenSessionIsNotHeldUp(t *testing.T) {
	st := loggedIn(t, behindNAT, nil)
	st.play("gone\nC! NOOP")
	p := &Packet{Src: st.c.addr, Dst: st.s.addr, Seq: st.c.next, Ack: st.c.acked, Flags: ACK, Payload: []byte("NOOP\r\n")}
	st.packet(p)
	if got := string(st.left.Payload); got != "NOOP\r\n" {
		t.Errorf("%q left", got)
	}
	st.stop()
}

// What strangers negotiate is recorded, with one flow id a connection, and a flood
// of it is bounded.
func TestLaw8Strays(t *testing.T) {
	k := newKernel(t, nil)
	for i := range 3 * maxGraves {
		k.packet(&Packet{Src: client(i % 5000), Dst: testServer, Seq: uint32(i), Flags: ACK, Payload: []byte(port + "\r\n")})
	}
	if n := len(k.tracker.strays.have); n > maxGraves {
		t.Errorf("%d strays are remembered", n)
	}
	flows := make(map[string]uint64)
	for _, r := range k.records {
		key := fmt.Sprint(r.Client)
		if was := flows[key]; was == 0 {
			flows[key] = r.FlowID
		}
	}
	if len(flows) < 1000 {
		t.Errorf("%d connections are recorded", len(flows))
	}
	k.stop()
}
