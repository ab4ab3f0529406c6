package conntrack

import (
	"testing"
	"time"
)

// While the transfer command that goes with a pinhole has no final reply, the
// pinhole waits on, up to its longest time from its opening. (law 4)
func TestLaw4WaitsForItsTransfer(t *testing.T) {
	const (
		passive = "login\nC: PASV\nS: " + entering
		active  = "login\nC: " + port + "\nS: 200 x"
	)
	brief := func(c *Config, _ *Terms) { c.Timeout, c.TimeoutMax = time.Second, 3*time.Second }
	performAll(t, []dialogue{
		{name: "PASV, the client comes late", script: passive + "\nC: RETR a\nS: 150 x\nwait 290s\nuse 40001",
			want: opensPASV + "\nuse PASV 50000"},
		{name: "EPSV, STOR, no 150", script: "login\nC: EPSV\nS: " + extended + "\nC: STOR a\nwait 290s\nuse 40001",
			want: opensEPSV + "\nuse EPSV 50000"},
		{name: "PORT, the server comes late", script: active + "\nC: RETR a\nwait 35s\nuse 20",
			want: opensPORT + "\nuse PORT 50000"},
		{name: "PORT, cut line, asked for at the last moment", script: active + "\nwait 28s\nC: \"LI\"\nwait 1s\nC: \"ST\\r\\n\"\nwait 200s\nuse 20",
			want: opensPORT + "\nuse PORT 50000"},
		{name: "PORT without its answer, pipelined", script: "login\nC: " + port + " | NLST\nwait 290s\nuse 20",
			want: opensPORT + "\nuse PORT 50000"},
		{name: "wait_for_2xx, pipelined", script: "login\nC: " + port + " | RETR a\nS: 200 x\nwait 290s\nuse 20",
			want: opensPORT + "\nuse PORT 50000", change: func(_ *Config, terms *Terms) { terms.WaitFor2xx = true }},
		{name: "PASV, pipelined", script: "login\nC: PASV | RETR a\nS: " + entering + "\nwait 290s\nuse 40001",
			want: opensPASV + "\nuse PASV 50000"},
		{name: "of two that are pipelined, the latter waits for the former", script: "login\nC: " + port + " | RETR a\nS: 200 x\nuse 20\nestablished\n" +
			"C: PORT 10,0,1,2,195,81 | RETR b\nwait 200s\nS: 226 x | 200 x\nuse 21",
			want: opensPORT + "\nuse PORT 50000\nopen PORT 10.0.1.2:50001\nuse PORT 50001"},

		{name: "no longer than its longest time", script: passive + "\nC: RETR a\nS: 150 x\nwait 299s\nwait 1s",
			want: opensPASV + "\nclose expired PASV 50000"},
		{name: "no transfer", script: passive + "\nC: NOOP\nwait 29s\nwait 1s", want: opensPASV + "\nclose expired PASV 50000"},
		{name: "another command waits", script: passive + "\nC: SIZE a\nwait 30s", want: opensPASV + "\nclose expired PASV 50000"},
		{name: "the transfer's end is its end", script: passive + "\nC: RETR a\nS: 150 x\nwait 100s\nS: 425 x\nwait 250ms",
			want: opensPASV + "\nclose expired PASV 50000"},
		{name: "a transfer that ends early leaves it its usual time", script: passive + "\nC: RETR a\nwait 29s\nS: 425 x\nwait 250ms\nuse 40001",
			want: opensPASV + "\nuse PASV 50000"},
		{name: "and no more", script: passive + "\nC: RETR a\nwait 29s\nS: 425 x\nwait 1s", want: opensPASV + "\nclose expired PASV 50000"},
		{name: "no command begins the time again", script: passive + "\nC: RETR a\nwait 100s\nC: RETR b\nS: 550 x\nwait 150s\nC: RETR c\nS: 550 x\nwait 49s\nwait 1s",
			want: opensPASV + "\nclose expired PASV 50000"},
		{name: "out of step, nothing is known to wait", script: passive + "\nC: RETR a\nwait 100s\nS! 150 x\nC: NOOP\nS: 200 x\nwait 250ms",
			want: opensPASV + "\nclose expired PASV 50000"},
		{name: "the session ends", script: passive + "\nC: RETR a\nwait 100s\nC RST", want: opensPASV + "\nclose session_end PASV 50000"},
		{name: "the next takes its place", script: passive + "\nC: RETR a\nwait 100s\nC: ABOR\nS: 426 x | 226 x\nwait 1s", want: opensPASV + "\nclose replaced PASV 50000"},

		{name: "its SYN is answered late", script: passive + "\nC: RETR a\nwait 100s\nuse 40001\nwait 100s\nestablished\nwait 200s\nended",
			want: opensPASV + "\nuse PASV 50000\nclose finished PASV 50000"},
		{name: "its SYN is never answered", script: passive + "\nC: RETR a\nwait 100s\nuse 40001\nwait 199s\nwait 1s",
			want: opensPASV + "\nuse PASV 50000\nclose expired PASV 50000"},
		{name: "its SYN is lost, and comes again", script: passive + "\nC: RETR a\nwait 100s\narrived\nwait 1s\nwait 100s\nuse 40001",
			want: opensPASV + "\nuse PASV 50000"},
		{name: "its SYN is lost at its end", script: passive + "\nC: RETR a\nwait 29s\narrived\nwait 1s\nwait 100s\nuse 40001",
			want: opensPASV + "\nuse PASV 50000"},
		{name: "the kernel fails", script: passive + "\nC: RETR a\nwait 27s\nfail\nwait 4s", want: opensPASV + "\nclose expired PASV 50000"},
		{name: "the kernel answers late", script: passive + "\nC: RETR a\nwait 27s\nsilent\nwait 2s\nspeak\nwait 100s\nuse 40001", want: opensPASV + "\nuse PASV 50000"},
		{name: "the kernel answers too late", script: passive + "\nC: RETR a\nwait 27s\nsilent\nwait 4s\nspeak\nwait 250ms", want: opensPASV + "\nclose expired PASV 50000"},
		{name: "closed by the operator, the kernel answers late", script: passive + "\nC: RETR a\nwait 27s\nsilent\nwait 2s\nC RST\nspeak", want: opensPASV + "\nclose session_end PASV 50000"},

		{name: "of a second", script: passive + "\nC: RETR a\nwait 2750ms\nuse 40001", want: opensPASV + "\nuse PASV 50000", change: brief},
		{name: "of a second, at its end", script: passive + "\nC: RETR a\nwait 2750ms\nwait 250ms", want: opensPASV + "\nclose expired PASV 50000", change: brief},
		{name: "never longer", script: passive + "\nC: RETR a\nwait 29s\nwait 1s", want: opensPASV + "\nclose expired PASV 50000",
			change: func(c *Config, _ *Terms) { c.TimeoutMax = 0 }},
	})
}

// What is listed is the time that is left as things stand, and what is recorded
// the time that the pinhole was opened for.
func TestLengthenedIsListed(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login\nC: PASV\nS: " + entering)
	opened := st.now
	expires := func(want time.Time) {
		t.Helper()
		got := st.tracker.Pinholes()[0].Expires
		if diff := got.Sub(want); diff < -time.Second || diff > time.Second {
			t.Errorf("after %v it expires after %v, want %v", st.now.Sub(opened), got.Sub(opened), want.Sub(opened))
		}
	}
	expires(opened.Add(30 * time.Second))
	st.play("C: RETR a\nwait 20s")
	expires(opened.Add(30 * time.Second))
	st.play("wait 9s") // lengthened two seconds before its end
	expires(opened.Add(58 * time.Second))
	st.play("S: 425 x")
	expires(opened.Add(30 * time.Second))
	st.play("C: RETR a\nwait 251s") // the last step is a short one
	expires(opened.Add(300 * time.Second))
	st.play("wait 30s")
	if r := st.records[len(st.records)-1]; r.Reason != Expired || r.Pinhole.Timeout != 30*time.Second || r.Duration < 299*time.Second {
		t.Errorf("closed: %v, for %v, after %v", short(r), r.Pinhole.Timeout, r.Duration)
	}
	st.stop()
}

// Reloaded times are for pinholes that open from then on.
func TestLengthenedAsOpened(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login\nC: PASV\nS: " + entering + "\nC: RETR a")
	first := st.latest.ID
	st.tracker.Reconfigure([]uint16{21}, 10*time.Second, 40*time.Second, testLimits, strict{Terms{LoginRequired: true}})
	st.play("wait 200s")
	if _, open := st.holes[first]; !open {
		t.Error("the first ended with the times that were configured after it")
	}
	st.play("S: 425 x\nwait 1s\nC: PASV\nS: " + entering + "\nC: RETR a\nwait 39s")
	second := st.latest.ID
	if _, open := st.holes[second]; !open || second == first {
		t.Error("the second was not lengthened")
	}
	st.play("wait 1s")
	if _, open := st.holes[second]; open {
		t.Error("the second outlives its longest time")
	}
	st.stop()
}
