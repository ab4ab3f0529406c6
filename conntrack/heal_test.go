package conntrack

import (
	"slices"
	"strings"
	"testing"
)

// A session of which packets passed unseen is in step again with the next command
// that is answered, whatever that is, and what is refused until then is recorded.
func TestLaw3InStepWithTheNextAnswer(t *testing.T) {
	rounds := map[string]string{
		"PASV":                          "C: PASV\nS: " + entering,
		"EPSV":                          "C: EPSV\nS: " + extended,
		"PORT":                          "C: " + port + "\nS: 200 x",
		"EPRT":                          "C: EPRT |1|10.0.1.2|50000|\nS: 200 x",
		"PASV, answered before its ACK": "ahead",
	}
	for what, unseen := range map[string]string{
		"a command":               "C! NOOP",
		"a reply":                 "C: NOOP\nS! 200 x",
		"a command and its reply": "C! NOOP\nS! 200 x",
		"several":                 "C! NOOP\nS! 200 x\nC! PASV\nS! " + entering,
		"a preliminary reply":     "C: RETR a\nS! 150 x\nS: 226 x",
		"a transfer":              "C! RETR a\nS! 150 x\nS! 226 x",
		"the begin of a listing":  "C! STAT\nS! 211-x\nS: \"x\\r\\n211 end\\r\\n\"",
		"the end of a listing":    "C: STAT\nS: \"211-x\\r\\n y\\r\\n\"\nS! \"211 end\\r\\n\"",
		"half a reply":            "C: NOOP\nS: \"200 \"\nS! \"x\\r\\n\"",
	} {
		for how, round := range rounds {
			t.Run(how+" after "+what, func(t *testing.T) {
				k := newKernel(t, nil)
				st := newStage(k, testClient, testServer)
				st.shake()
				st.play("login\n" + unseen)
				for range 2 {
					if round == "ahead" {
						st.ahead("PASV", entering)
					} else {
						st.play(round)
					}
				}
				got := told(k.records)
				if len(got) != 2 || !strings.HasPrefix(got[0], "deny out_of_step ") || !strings.HasPrefix(got[1], "open ") {
					t.Errorf("told %q, want one refusal and then an open", got)
				}
				st.stop()
			})
		}
	}
}

// ahead lets the server's answer come before the acknowledgement of the command.
func (st *stage) ahead(line, answer string) {
	p := &Packet{Src: st.c.addr, Dst: st.s.addr, Seq: st.c.next, Ack: st.c.acked, Flags: ACK, Payload: []byte(line + "\r\n")}
	st.packet(p)
	st.unseen(&st.c, &st.s, line+"\r\n")
	st.send(&st.s, &st.c, answer+"\r\n", 0)
}

// A command that is cut in the middle is one command, which has one reply, and
// whatever stands at its end is not obeyed.
func TestLaw3CutCommand(t *testing.T) {
	performAll(t, []dialogue{
		{name: "its end counts", script: "login\nC! \"NO\"\nC: \"OP\\r\\n\"\nS: 200 x\nC: " + port, want: opensPORT},
		{name: "ends as PORT", script: "login\nC! \"SITE \"\nC: " + port + "\nS: 200 x\nC: " + port,
			want: "deny out_of_step PORT 10.0.1.2:50000\n" + opensPORT},
		{name: "ends as PASV", script: "login\nC! \"STAT \"\nC: PASV\nS: " + entering, want: "deny out_of_step PASV 10.0.2.2:50000"},
		{name: "ends as USER", script: "S: 220 x\nC: USER u\nS: 331 x\nC! \"SITE \"\nC: PASS p\nS: 230 x\nC: " + port,
			want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "an empty line", script: "login\nC! NOOP\nC: \"\\r\\n\"\nS: 200 x\nC: " + port,
			want: "deny out_of_step PORT 10.0.1.2:50000"},
	})
}

// Law 5: what stands in the midst of a long text is no reply, though bytes of it
// passed unseen and the client has all of the rest (the PASV hole).
func TestLaw5CutListing(t *testing.T) {
	performAll(t, []dialogue{
		{name: "more behind it", script: "login\nC: STAT a\nS! 213-list\nC: NOOP\nS: \"200 x\\r\\n y\\r\\n\"\nC: PASV\nS: " + entering,
			want: "deny out_of_step PASV 10.0.2.2:50000"},
		{name: "sent before it was asked for", script: "login\nC: STAT a\nS! 213-list\nC early NOOP\nS: 200 x\nC: PASV\nS: " + entering,
			want: "deny out_of_step PASV 10.0.2.2:50000"},
		{name: "no reply", script: "login\nC: STAT a\nS! 213-list\nC: NOOP\nS:  x\nC: PASV\nS: " + entering,
			want: "deny out_of_step PASV 10.0.2.2:50000"},
		{name: "a block begins", script: "login\nC: STAT a\nS! 213-list\nC: PASV\nS: 213-x\nS: " + entering, want: ""},
	})
}

// The pieces that did come between those that were missed are read in their order.
func TestLaw3PiecesBetweenGaps(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login")
	from := st.c.next
	at := func(off uint32, text string) {
		st.packet(&Packet{Src: st.c.addr, Dst: st.s.addr, Seq: from + off, Ack: st.c.acked, Flags: ACK, Payload: []byte(text)})
	}
	at(10, port+"\r\n")
	at(40, "EPRT |1|10.0.1.2|50000|\r\n")
	st.c.next = from + 65
	st.s.acked = st.c.next
	st.play("S: 200 x")
	want := []string{"deny out_of_step PORT 10.0.1.2:50000", "deny out_of_step EPRT 10.0.1.2:50000"}
	if got := told(st.records); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	st.stop()
}
