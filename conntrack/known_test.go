package conntrack

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// remembering has the tracker write down what it knows.
func remembering(c *Config, _ *Terms) {
	c.Remember = true
	c.Join = func(_, _ netip.AddrPort) bool { return true }
}

// succeed starts the next daemon, which finds what was written down last.
func (st *stage) succeed() *stage {
	st.tb.Helper()
	n := newStage(newKernel(st.tb, func(c *Config, terms *Terms) {
		remembering(c, terms)
		c.Knows = func(client, server netip.AddrPort) (Known, bool) {
			if len(st.notes) == 0 || st.notes[len(st.notes)-1].Known == nil {
				return Known{}, false
			}
			known := *st.notes[len(st.notes)-1].Known
			return known, known.Client == client && known.Server == server
		}
	}), st.c.addr, st.s.addr)
	n.c, n.s, n.notes, n.now = st.c, st.s, slices.Clone(st.notes), st.now
	return n
}

// Law 6: what is known of a session survives a restart, and each restart after
// it. Whatever passes while no daemon runs ("C!", "S!") makes no permission of it.
func TestLaw6KnownSurvives(t *testing.T) {
	const (
		notFTP      = "deny not_ftp PORT 10.0.1.2:50000"
		notLoggedIn = "deny not_logged_in PORT 10.0.1.2:50000"
		outOfStep   = "deny out_of_step PORT 10.0.1.2:50000"
		proof       = "C: NOOP\nS: 200 x\nC: "
	)
	for _, d := range []struct{ name, before, after, want string }{
		{"POST, PORT", "S: 220 x\nC: POST / HTTP/1.1\nS: 500 x", "C: " + port, notFTP},
		{"POST, NOOP, PORT", "S: 220 x\nC: POST / HTTP/1.1\nS: 500 x", proof + port, notFTP},
		{"POST, a whole login, PORT", "S: 220 x\nC: POST / HTTP/1.1\nS: 500 x", "C: USER u\nS: 331 x\nC: PASS p\nS: 230 x\nC: " + port, notFTP},
		{"POST, PASV", "S: 220 x\nC: POST / HTTP/1.1\nS: 500 x", "C: PASV\nS: " + entering, "deny not_ftp PASV 10.0.2.2:50000"},
		{"POST, its body unseen", "S: 220 x\nC: POST / HTTP/1.1", "C! a: b | c: d\nS! 500 x | 500 x\n" + proof + port, notFTP},
		{"not a server of FTP", "S: SSH-2.0-x", proof + port, notFTP},
		{"first bytes not seen", "S: 220 x\nC! x\nS: 500 x", proof + port, outOfStep},

		{"said nothing yet, PORT", "", "C: " + port, notLoggedIn},
		{"greeted, NOOP", "S: 220 x", proof + port, notLoggedIn},
		{"greeted while nobody looked", "", "S! 220 x\n" + proof + port, notLoggedIn},
		{"asked for the password, NOOP", "S: 220 x\nC: USER u\nS: 331 x", proof + port, notLoggedIn},
		{"asked for the password, PASV", "S: 220 x\nC: USER u\nS: 331 x", "C: PASV\nS: " + entering + "\nC: PASV\nS: " + entering,
			"deny not_logged_in PASV 10.0.2.2:50000\ndeny not_logged_in PASV 10.0.2.2:50000"},
		{"asked for the password, TYPE", "S: 220 x\nC: USER u\nS: 331 x", "C: TYPE I\nS: 200 x\nC: " + port, notLoggedIn},
		{"asked for the password, 230 nobody asked for", "S: 220 x\nC: USER u\nS: 331 x", "C: NOOP\nS: 230 x\nC: " + port, notLoggedIn},
		{"asked for the password, PWD refused", "S: 220 x\nC: USER u\nS: 331 x", "C: PWD\nS: 530 x\nC: " + port, notLoggedIn},
		{"refused, then 257 to PASV", "S: 220 x\nC: USER u\nS: 331 x", "C: PASV\nS: 257 x\nC: " + port, notLoggedIn},
		{"logs in", "S: 220 x\nC: USER u\nS: 331 x", "C: PASS p\nS: 230 x\nC: " + port, opensPORT},
		{"begins to log in", "", "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 230 x\nC: " + port, opensPORT},
		{"logged in while nobody looked", "S: 220 x\nC: USER u\nS: 331 x", "C! PASS p\nS! 230 x\nC: PWD\nS: 257 x\nC: " + port, opensPORT},
		{"the same, SIZE", "S: 220 x\nC: USER u", "S! 331 x\nC! PASS p\nS! 230 x\nC: SIZE a\nS: 213 7\nC: " + port, opensPORT},
		{"failed to log in while nobody looked", "S: 220 x\nC: USER u\nS: 331 x", "C! PASS p\nS! 530 x\n" + proof + port, notLoggedIn},
		{"no login, PORT first", "S: 230 x\nC: " + port + "\nS: 200 x", "C: PWD\nS: 257 x\nC: " + port, notLoggedIn},

		{"logged out by REIN", "login\nC: REIN\nS: 220 x", proof + port, notLoggedIn},
		{"logged out by USER", "login\nC: USER v\nS: 331 x", "C: " + port, notLoggedIn},
		{"good-bye", "login\nC: QUIT\nS: 221 x", proof + port, notLoggedIn},
		{"EPSV ALL", "login\nC: EPSV ALL\nS: 200 x", "C: " + port, "deny epsv_all PORT 10.0.1.2:50000"},
		{"TLS", "login\nC: AUTH TLS\nS: 234 x", proof + port, ""},
		{"TLS, a record", "login\nC: AUTH TLS\nS: 234 x", "C: \"\\x17\\x03\\x03\\x00\\x01a\"\nS: \"\\x17\\x03\\x03\\x00\\x01a\"\n" + proof + port, ""},
		{"TLS before the login", "S: 220 x\nC: AUTH TLS\nS: 234 x", proof + port, ""},

		{"ordinary, PORT at once", "login", "C: " + port, opensPORT},
		{"ordinary, EPRT at once", "login", "C: EPRT |1|10.0.1.2|50000|", "open EPRT 10.0.1.2:50000"},
		{"ordinary, PASV", "login", "C: PASV\nS: " + entering, opensPASV},
		{"ordinary, after CCC", "login\nC: AUTH TLS\nS: 234 x\nC: \"\\x16\\x03\\x03\\x00\\x01a\"\nS: \"\\x16\\x03\\x03\\x00\\x01a\"\nC: PWD\nS: 257 x", "C: " + port, opensPORT},
		{"ordinary, much passed unseen", "login", "C! " + strings.Repeat("NOOP | ", 5_000) + "NOOP\nS! " + strings.Repeat("200 x | ", 5_000) + "200 x\nC: " + port, opensPORT},
		{"out of step", "login\nC! NOOP\nS: 200 x", "C: " + port, opensPORT},
	} {
		t.Run(d.name, func(t *testing.T) {
			st := newStage(newKernel(t, remembering), testClient, testServer)
			st.shake()
			if d.before != "" {
				st.play(d.before)
			}
			for range 2 { // the second restart finds what the first daemon wrote
				n := st.succeed()
				n.play(d.after)
				if diff := cmp.Diff(lines(d.want), told(n.records)); diff != "" {
					t.Errorf("records (-want +got):\n%s", diff)
				}
				if n.tracker.Counts().Pinholes > 0 {
					return
				}
				st = n
			}
		})
	}
}

// What is known of a session is nothing that a later one between the same ports
// inherits, for better or worse: its sequence numbers are others.
func TestLaw6KnownIsOfOneConnection(t *testing.T) {
	for _, d := range []struct{ name, before, after, want string }{
		{"allowed before, once the server spoke", "login", "S: 200 x\nC: " + port + "\nS: 200 x\nC: " + port, joinedPORT + "\n" + joinedPORT},
		{"allowed before, and not now", "login", "C: " + port, joinedPORT},
		{"allowed before, once proven", "login", "C: NOOP\nS: 200 x\nC: NOOP\nS: 200 x\nC: " + port, opensPORT},
		{"allowed before, logging in", "login", "S: 331 x\nC: PWD\nS: 257 x\nC: " + port, "deny not_logged_in PORT 10.0.1.2:50000"},
		{"not FTP before", "S: 220 x\nC: POST /\nS: 500 x", "C: NOOP\nS: 200 x\nC: NOOP\nS: 200 x\nC: " + port, opensPORT},
		{"not logged in before", "S: 220 x", "C: NOOP\nS: 200 x\nC: NOOP\nS: 200 x\nC: " + port, opensPORT},
		{"TLS before", "login\nC: AUTH TLS\nS: 234 x", "S: 226 x\nC: NOOP\nS: 200 x\nC: " + port, opensPORT},
		{"begun again", "S: 220 x\nC: POST /\nS: 500 x", "shake\nlogin\nC: " + port, opensPORT},
	} {
		// One clock drives both ends' initial sequence numbers: half a second later,
		// a minute, more, and all but a wrap.
		for _, step := range []uint32{8_000_000, 1 << 30, 1 << 31, 1<<32 - 8_000_000} {
			st := newStage(newKernel(t, remembering), testClient, testServer)
			st.shake()
			st.play(d.before)
			n := st.succeed()
			n.c.next, n.s.next = n.c.next+step, n.s.next+step
			n.c.acked, n.s.acked = n.s.next, n.c.next
			after := d.after
			if rest, ok := strings.CutPrefix(after, "shake\n"); ok {
				n.shake()
				after = rest
			}
			n.play(after)
			if diff := cmp.Diff(lines(d.want), told(n.records)); diff != "" {
				t.Errorf("%s, %d later: records (-want +got):\n%s", d.name, step, diff)
			}
		}
	}
}

// A client that sends a segment from nowhere does not rid itself of what is known
// of it: the server goes on where it was.
func TestLaw6KnownIsNotForgedAway(t *testing.T) {
	st := newStage(newKernel(t, remembering), testClient, testServer)
	st.shake()
	st.play("S: 220 x\nC: POST / HTTP/1.1\nS: 500 x")
	n := st.succeed()
	n.packet(&Packet{Src: testClient, Dst: testServer, Seq: n.c.next + 1<<30, Ack: n.s.next + 1<<30, Flags: ACK, Payload: []byte("NOOP\r\n")})
	n.packet(&Packet{Src: testClient, Dst: testServer, Seq: n.c.next + 1<<30 + 6, Ack: n.s.next, Flags: ACK, Payload: []byte("NOOP\r\n")})
	n.play("C: NOOP\nS: 200 x\nC: " + port)
	if diff := cmp.Diff([]string{"deny not_ftp PORT 10.0.1.2:50000"}, told(n.records)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// What takes a permission away is written before its packet goes on ("!"); so is
// the beginning, since an unknown session counts as logged in. The rest may wait,
// and an ordinary session is written three times, however much is transferred.
func TestLaw6Remembered(t *testing.T) {
	for _, d := range []struct{ name, script, want string }{
		{"an ordinary session", "login\nC: TYPE I\nS: 200 x" + strings.Repeat("\nC: PASV\nS: 227 no\nC: RETR a\nS: 150 x | 226 x", 50) + "\nC FIN\nS FIN",
			"! | ftp | ftp login | over"},
		{"not FTP", "S: 220 x\nC: POST /\nC: b | c | d", "! | !no-ftp"},
		{"no server of FTP", "S: 500 x\nC: NOOP", "! | !no-ftp | ftp no-ftp"},
		{"REIN", "login\nC: REIN\nS: 220 x", "! | ftp | ftp login | !ftp"},
		{"QUIT", "login\nC: QUIT\nS: 221 x", "! | ftp | ftp login | !ftp leaving"},
		{"TLS", "login\nC: AUTH TLS\nS: 234 x\nC: \"\\x17\\x03\\x03\\x00\\x01a\"", "! | ftp | ftp login | !ftp login blind"},
		{"EPSV ALL", "login\nC: EPSV ALL\nS: 200 x", "! | ftp | ftp login | !ftp login epsv"},
		{"a long session", "login" + strings.Repeat("\nC: "+strings.Repeat("NOOP | ", 400)+"NOOP\nS: "+strings.Repeat("200 x | ", 400)+"200 x", 8),
			"! | ftp | ftp login | ftp login"},
		{"RST", "login\nC RST", "! | ftp | ftp login | over"},
	} {
		t.Run(d.name, func(t *testing.T) {
			st := newStage(newKernel(t, remembering), testClient, testServer)
			st.shake()
			st.play(d.script)
			var got []string
			for _, e := range st.notes {
				got = append(got, noteInShort(e))
			}
			if diff := cmp.Diff(strings.Split(d.want, " | "), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			before := len(st.notes)
			st.stop()
			if len(st.notes) != before {
				t.Error("a stop forgets what the next daemon needs")
			}
		})
	}
}

func noteInShort(e Effect) string {
	if e.Known == nil {
		return "over"
	}
	var words []string
	for i, word := range []string{"ftp", "login", "no-ftp", "headless", "blind", "leaving", "epsv", "port-first"} {
		if e.Known.Facts&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	if e.Urgent {
		return "!" + strings.Join(words, " ")
	}
	return strings.Join(words, " ")
}
