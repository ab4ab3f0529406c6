package conntrack

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// AUTH itself may have been missed: a 234 out of step is taken at its word.
func TestLaw5AuthMissed(t *testing.T) {
	perform(t, dialogue{script: "login\nC: " + port + "\nC! AUTH TLS\nS: 200 x | 234 x\nwait 31s",
		want: opensPORT + "\nclose encrypted PORT 50000"})
}

// The end counts although the bytes before it were missed.
func TestLaw3EndBehindAGap(t *testing.T) {
	st := perform(t, dialogue{script: "login\nC! QUIT\nC FIN\nS FIN"})
	if end := st.records[len(st.records)-1]; end.Reason != Finish {
		t.Errorf("ended with %s, want %s", end.Reason, Finish)
	}
}

// A late copy of the session's own first packet begins nothing.
func TestThreatLateSYN(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.packet(&Packet{Src: testClient, Dst: testServer, Seq: 1000, Flags: SYN})
	if n := st.tracker.Counts().HalfOpen; n != 0 {
		t.Errorf("%d half-open", n)
	}
	st.stop()
}

// A connection that was to be killed and ends by itself keeps the reason.
func TestLaw4EndsWhileKilled(t *testing.T) {
	perform(t, dialogue{script: "login\nC: " + port + "\nuse 20\nsilent\nS: 500 x\nended",
		want: opensPORT + "\nuse PORT 50000\nclose refused PORT 50000"})
}

// A session that may not be joined is refused once, not with each packet.
func TestLaw8JoinRefusedOnce(t *testing.T) {
	perform(t, dialogue{script: "join\nC: NOOP\nS: 200 x\nC: PASV\nS: " + entering, want: "deny limit_client",
		change: func(c *Config, _ *Terms) { c.Limits.SessionsPerClient = 0 }})
}

// Who is logged in after CCC is not known.
func TestLaw6UserUnknownAfterCCC(t *testing.T) {
	st := perform(t, dialogue{script: `
		login
		C: AUTH TLS
		S: 234 x
		C: "\x16\x03\x01\x00\x01a"
		S: "\x16\x03\x01\x00\x01a"
		C: ` + port, want: opensPORT})
	for _, r := range st.records {
		if r.Action == Open && (r.User != "" || r.Pinhole.Dst != netip.MustParseAddrPort("10.0.1.2:50000")) {
			t.Errorf("opened for %q", r.User)
		}
	}
}

// The kernel is too slow to open a pinhole again, and to shut the former: a
// connection that comes through that one is recorded.
func TestLaw7UseOfAFormerPinholeWhenTheLatterFailed(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login\nC: " + port + "\nsilent\nC: " + port)
	second := strings.TrimSuffix(st.latest.ID, "1") + "2"
	st.do(st.tracker.Opened(st.now, second, "", errors.New("too slow")))
	st.play("use 20\nestablished\nended")
	want := []string{opensPORT, "deny kernel_error PORT 10.0.1.2:50000", "use PORT 50000", "close finished PORT 50000"}
	if diff := cmp.Diff(want, told(st.records)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	st.stop()
}
