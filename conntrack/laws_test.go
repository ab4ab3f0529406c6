package conntrack

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLaw3(t *testing.T) {
	performAll(t, []dialogue{
		{name: "line cut over segments", script: `
			login
			C: "PO"
			C: "RT 10,0,1,2,1"
			C: "95,80\r"
			C: "\n"`,
			want: opensPORT},
		{name: "bare LF, blanks, lower case, IAC, NUL", script: `
			login
			C: "\xff\xf1 port  10, 0,1,2 ,195,80 \x00\n"`,
			want: opensPORT},
		{name: "many lines in one segment", script: "C: USER u | PASS p | TYPE I | PASV\nS: 220 x | 331 x | 230 x | 200 x | " + entering, want: opensPASV},
		{name: "overlong line opens nothing and the next line counts", script: `
			login
			C: "PORT ` + long + `\r\n"
			S: 500 x
			C: PASV
			S: ` + entering,
			want: opensPASV},
		{name: "tail of an overlong line is no line", script: `
			login
			C: "` + long + `"
			C: "` + port + `\r\n"
			S: 500 x`,
			want: ""},
		{name: "overlong reply", script: `
			login
			C: PASV
			S: "220 ` + long + `\r\n"
			S: ` + entering,
			want: "deny out_of_step 10.0.2.2:50000"},

		// Bytes pass unseen: what was outstanding is forgotten, and nothing opens
		// until a command that was sent into silence is answered.
		{name: "answer missed", script: `
			login
			C: PASV
			S! 227 Entering Passive Mode (10,0,2,2,195,80)
			C: ` + port + `
			S: 200 x
			C: ` + port,
			want: "deny out_of_step PORT 10.0.1.2:50000\n" + opensPORT},
		{name: "in step again", script: `
			login
			C: PASV
			S! 227 Entering Passive Mode (10,0,2,2,195,80)
			C: NOOP
			S: 200 x
			C: NOOP
			S: 200 x
			C: PASV
			S: ` + entering,
			want: opensPASV},
		{name: "command missed", script: `
			login
			C! PASV
			S: ` + entering,
			want: "deny out_of_step 10.0.2.2:50000"},
		{name: "command missed, in step again", script: `
			login
			C! TYPE I
			S: 200 x
			C: NOOP
			S: 200 x
			C: NOOP
			S: 200 x
			C: PASV
			S: ` + entering,
			want: opensPASV},
		{name: "both missed", script: `
			login
			C! TYPE I
			S! 200 x
			C: PASV
			S: ` + entering,
			want: "deny out_of_step PASV 10.0.2.2:50000"},
		{name: "open pinhole survives a gap", script: `
			login
			C: PASV
			S: ` + entering + `
			S! 150 x
			C: NOOP
			use 50001`,
			want: opensPASV + "\nuse PASV 50000"},
		{name: "gap inside of a listing", script: `
			login
			C: STAT a
			S! 213-list
			C: "NOOP\r\n"
			S: "rest of a line\r\n` + entering + `\r\n213 end\r\n"`,
			want: "deny out_of_step 10.0.2.2:50000"},
		{name: "a gap of the client leaves the server's listing open", script: `
			login
			C: STAT a
			S: 213-list
			C! NOOP
			S: " text\r\n"
			C: NOOP | NOOP | PASV
			S: "` + entering + `\r\n` + entering + `\r\n213 end\r\n"`,
			want: ""},
		{name: "too many commands outstanding", script: `
			login
			C: ABOR | NOOP | ABOR | NOOP | ` + port + `
			S: 225 x | 200 x | 225 x | 200 x | 500 x
			C: NOOP
			S: 200 x
			C: PASV
			S: ` + entering,
			want:   "deny limit_session PORT 10.0.1.2:50000\n" + opensPASV,
			change: func(c *Config, _ *Terms) { c.Limits.Commands = 4 }},
	})
}

func TestLaw4(t *testing.T) {
	performAll(t, []dialogue{
		{name: "one connection", script: "login\nC: PASV\nS: " + entering + "\nuse 40001\nuse 40002\nestablished\nended",
			want: opensPASV + "\nuse PASV 50000"},
		{name: "used and finished", script: "login\nC: PASV\nS: " + entering + "\nuse 40001\nestablished\nwait 60s\nended",
			want: opensPASV + "\nuse PASV 50000\nclose finished PASV 50000"},
		{name: "expired", script: "login\nC: PASV\nS: " + entering + "\nwait 29s\nwait 1s", want: opensPASV + "\nclose expired PASV 50000"},
		{name: "not yet expired", script: "login\nC: PASV\nS: " + entering + "\nwait 29s\nuse 40001", want: opensPASV + "\nuse PASV 50000"},
		{name: "used, never answered", script: "login\nC: PASV\nS: " + entering + "\nuse 40001\nwait 31s",
			want: opensPASV + "\nuse PASV 50000\nclose expired PASV 50000"},
		{name: "blocked", script: "login\nC: PASV\nS: " + entering + strings.Repeat("\narrived\nwait 1s", 4) + "\nwait 1s",
			want: opensPASV + "\nclose blocked PASV 50000"},
		{name: "blocked not yet", script: "login\nC: PASV\nS: " + entering + strings.Repeat("\narrived\nwait 1s", 3) + "\nuse 40001",
			want: opensPASV + "\nuse PASV 50000"},
		{name: "blocked until its end", script: "login\nC: PASV\nS: " + entering + "\narrived\nwait 30s", want: opensPASV + "\nclose blocked PASV 50000"},
		{name: "blocked at its end", script: "login\nC: PASV\nS: " + entering + "\nwait 29800ms\narrived\nwait 2s", want: opensPASV + "\nclose blocked PASV 50000"},
		{name: "blocked, then replaced", script: "login\nC: PASV\nS: " + entering + "\narrived\nwait 1s\nC: " + port,
			want: opensPASV + "\nclose blocked PASV 50000\n" + opensPORT},
		{name: "blocked, then replaced while its next SYN is on its way", script: "login\nC: PASV\nS: " + entering + "\narrived\nwait 1s\narrived\nC: " + port + "\nwait 2s",
			want: opensPASV + "\n" + opensPORT + "\nclose blocked PASV 50000"},
		{name: "arrived and used", script: "login\nC: PASV\nS: " + entering + "\narrived\nwait 500ms\nuse 40001\nwait 5s",
			want: opensPASV + "\nuse PASV 50000"},
		{name: "RST of the client", script: "login\nC: PASV\nS: " + entering + "\nC RST", want: opensPASV + "\nclose session_end PASV 50000"},
		{name: "both FIN", script: "login\nC: PASV\nS: " + entering + "\nC FIN\nS FIN", want: opensPASV + "\nclose session_end PASV 50000"},
		{name: "FIN of one side", script: "login\nC: PASV\nS: " + entering + "\nC FIN\nuse 40001", want: opensPASV + "\nuse PASV 50000"},
		{name: "gone", script: "login\nC: PASV\nS: " + entering + "\nwait 1s\ngone", want: opensPASV + "\nclose session_end PASV 50000"},
		{name: "gone, while not yet established", script: "login\nC: PASV\nS: " + entering + "\nuse 40001\nwait 1s\ngone",
			want: opensPASV + "\nuse PASV 50000\nclose session_end PASV 50000"},
		{name: "gone, while data flows", script: "login\nC: PASV\nS: " + entering + "\nuse 40001\nestablished\ngone\nended",
			want: opensPASV + "\nuse PASV 50000\nclose finished PASV 50000"},
		{name: "the kernel fails", script: "login\nfail\nC: PASV\nS: " + entering, want: "deny kernel_error PASV 10.0.2.2:50000"},
		{name: "shut before the kernel answered", script: "login\nsilent\nC: PASV\nS: " + entering + "\nC RST\nspeak",
			want: opensPASV + "\nclose session_end PASV 50000"},
		{name: "used before the kernel answered", script: "login\nC: PASV\nS: 500 x\nsilent\nC: " + port + "\nspeak\nuse 20",
			want: opensPORT + "\nuse PORT 50000"},
	})
}

// A connection that shows after its pinhole was replaced by another of the
// same address and port is the former's, not the new one's.
func TestLaw4SameEndpointAgain(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login\nC: " + port + "\nS: 200 x\narrived\nC: " + port)
	first, second := st.records[1].Pinhole.ID, st.latest.ID
	st.play("use 20")
	if r := st.records[len(st.records)-2]; r.Action != Use || r.Pinhole.ID != first {
		t.Errorf("the connection was given to %s, want %s", r.Pinhole.ID, first)
	}
	if _, open := st.holes[second]; !open {
		t.Error("the new pinhole was shut by the former's connection")
	}
	st.play("use 21")
	if r := st.records[len(st.records)-1]; r.Action != Use || r.Pinhole.ID != second {
		t.Errorf("the second connection: %v", short(r))
	}
	st.stop()
}

// So is one that comes while the kernel hangs: it still has the former pinhole,
// and not yet the new one.
func TestLaw4SameEndpointAgainWhileTheKernelHangs(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login\nC: " + port + "\nS: 200 x\nsilent\nC: " + port)
	first := st.latest.ID
	st.play("use 20")
	if r := st.records[len(st.records)-1]; r.Action != Use || r.Pinhole.ID != first {
		t.Errorf("the connection was given to %s, want %s", r.Pinhole.ID, first)
	}
	st.play("speak\nuse 21")
	if r := st.records[len(st.records)-1]; r.Action != Use || r.Pinhole.ID != st.latest.ID || r.Pinhole.ID == first {
		t.Errorf("the connection that followed: %v", short(r))
	}
	st.stop()
}

// The kernel's answers may come in another order than it was asked.
func TestLaw4AnswersOvertaken(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login\nsilent\nC: " + port + "\nC RST")
	slices.Reverse(st.waiting)
	st.speak()
	if got := told(st.records); !slices.Equal(got, []string{opensPORT, "close session_end PORT 50000"}) {
		t.Errorf("told %q", got)
	}
	st.stop()
}

func TestLaw4CloseByOperator(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login\nC: " + port)
	effects, ok := st.tracker.CloseByOperator(st.now, st.latest.ID)
	if !ok {
		t.Fatal("not closed")
	}
	st.do(effects)
	if _, ok := st.tracker.CloseByOperator(st.now, st.latest.ID); ok {
		t.Error("closed twice")
	}
	if got := told(st.records); !slices.Equal(got, []string{opensPORT, "close closed_by_operator PORT 50000"}) {
		t.Errorf("told %q", got)
	}
	st.stop()
}

func TestLaw6(t *testing.T) {
	performAll(t, []dialogue{
		{name: "joined, PORT", script: "join\nC: " + port, want: joinedPORT},
		{name: "joined, NOOP, PORT", script: "join\nC: NOOP\nS: 200 x\nC: " + port, want: opensPORT},
		{name: "joined, POST, PORT", script: "join\nC: Content-Type: x | " + port + "\nS: 500 x | 200 x\nC: " + port, want: joinedPORT + "\n" + joinedPORT},
		{name: "joined, PASV", script: "join\nC: PASV\nS: " + entering, want: opensPASV},
		{name: "joined after PASV", script: "join\nS: " + entering, want: "deny out_of_step 10.0.2.2:50000"},
		{name: "joined, not FTP", script: "join\nC: hello\nS: " + entering, want: "deny out_of_step 10.0.2.2:50000"},
		{name: "joined, not FTP at first", script: "join\nC: hello\nS: 500 x\nC: PASV\nS: " + entering, want: opensPASV},
		{name: "joined before 220", script: "join\nS: 220 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "joined before 331", script: "join\nS: 331 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "joined before 332", script: "join\nS: 332 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "joined before 530", script: "join\nC: PASV\nS: 530 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "joined at USER", script: "join\nC: USER u\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "joined, logging in", script: "join\nC: USER u\nS: 331 x\nC: PASS p\nS: 230 x\nC: " + port, want: opensPORT},
		{name: "not joined", script: "join\nC: " + port, want: "deny out_of_step PORT 10.0.1.2:50000",
			change: func(c *Config, _ *Terms) { c.Join = func(_, _ netip.AddrPort) bool { return false } }},
		{name: "nobody to ask", script: "join\nC: " + port, want: "deny out_of_step PORT 10.0.1.2:50000", change: func(c *Config, _ *Terms) { c.Join = nil }},
		{name: "first bytes of the client not seen", script: `
			S: 220 x
			C! POST / HTTP/1.1
			S: 500 x
			C: NOOP | USER u
			S: 200 x | 230 x
			C: NOOP
			S: 200 x
			C: PASV
			S: ` + entering,
			want: "deny out_of_step PASV 10.0.2.2:50000"},
	})
}

// A keep-alive probe that comes first does not cost the first command.
func TestLaw6KeepAlive(t *testing.T) {
	k := newKernel(t, func(c *Config, _ *Terms) { c.Join = func(_, _ netip.AddrPort) bool { return true } })
	st := newStage(k, testClient, testServer)
	st.c.acked, st.s.acked = st.s.next, st.c.next
	st.play("S: 200 x")
	st.packet(&Packet{Src: testClient, Dst: testServer, Seq: st.c.next - 1, Ack: st.c.acked, Flags: ACK})
	st.ack(&st.s, &st.c)
	st.play("C: PASV\nS: " + entering)
	if got := told(st.records); !slices.Equal(got, []string{opensPASV}) {
		t.Errorf("told %q", got)
	}
	st.stop()
}

func TestLaw7RefusalsAreCounted(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login")
	const flood = 500
	for i := range flood {
		if i%100 == 99 {
			st.wait(3 * time.Second)
		}
		st.play("C: PORT 10,9,9,9,195,80\nS: 500 x")
	}
	st.stop()
	records, count := 0, 0
	for _, r := range st.records {
		if r.Action == Deny {
			records++
			count += max(r.Count, 1)
		}
	}
	if count != flood || records > 40 {
		t.Errorf("%d refusals in %d records, want %d in at most 40", count, records, flood)
	}
}

// A flood becomes one record a reason and window, and does not hide what is refused
// to somebody else.
func TestLaw7FloodOfOneClient(t *testing.T) {
	k := newKernel(t, nil)
	flood, other := newStage(k, testClient, testServer), newStage(k, client(1), testServer)
	for _, st := range []*stage{flood, other} {
		st.shake()
		st.play("login")
	}
	for range 300 {
		flood.play("C: PORT 10,9,9,9,195,80\nS: 500 x")
	}
	other.play("C: PORT 10,8,8,8,195,80\nS: 500 x")
	got := told(k.records)
	if want := "deny foreign_address PORT 10.8.8.8:50000"; len(got) != refusalBurst+1 || got[refusalBurst] != want {
		t.Errorf("told %q, want %d refusals and %q", got, refusalBurst, want)
	}
	k.wait(refusalWindow)
	got = told(k.records)[refusalBurst+1:]
	if want := []string{fmt.Sprintf("deny foreign_address PORT 10.9.9.9:50000 x%d", 300-refusalBurst)}; !slices.Equal(got, want) {
		t.Errorf("told %q when the window had ended, want %q", got, want)
	}
	k.stop()
}

// So many clients cannot fill the memory either, and each refusal is counted.
func TestLaw7FloodOfManyClients(t *testing.T) {
	k := newKernel(t, func(c *Config, _ *Terms) { c.Limits.Sessions = 1 })
	newStage(k, testClient, testServer).shake()
	const flood = 3 * refusalClients
	for i := range flood {
		newStage(k, client(i), testServer).shake()
		if n := len(k.tracker.refusals.clients); n > refusalClients+1 {
			t.Fatalf("%d clients are remembered", n)
		}
	}
	k.stop()
	records, count := 0, 0
	for _, r := range k.records {
		if r.Action == Deny {
			records++
			count += max(r.Count, 1)
		}
	}
	if count != flood || records > refusalClients+refusalBurst+1 {
		t.Errorf("%d refusals in %d records, want %d in at most %d", count, records, flood, refusalClients+refusalBurst+1)
	}
}

func TestLaw7NoPasswords(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play(`
		S: 220 x
		C: USER u
		S: 331 x
		C: PASS hunter2
		S: 332 x
		C: ACCT hunter2
		S: 230 x
		C: ADAT hunter2
		S: 500 x
		C: ` + port + ` | PASS hunter2 | RETR a
		S: 200 x | 230 x | 150 x
		C: PORT hunter2
		S: 500 x`)
	st.stop()
	for _, r := range st.records {
		if strings.Contains(fmt.Sprintf("%+v", r), "hunter2") {
			t.Errorf("a password is in %+v", r)
		}
	}
}

// Some servers take a CR alone for the end of a line: then what follows a name may
// be PASS.
func TestLaw7NoPasswordsBehindCR(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play(`
		S: 220 x
		C: "USER u\rPASS hunter2\r\n"
		S: 331 x | 230 x
		C: PASS hunter2
		S: 230 x
		C: PASV
		S: ` + entering + `
		C: "RETR a\rUSER v\rPASS hunter2\r\n"
		use 40001`)
	st.stop()
	named := false
	for _, r := range st.records {
		if strings.Contains(fmt.Sprintf("%+v", r), "hunter2") {
			t.Errorf("a password is in %+v", r)
		}
		named = named || r.User == "u" && r.Transfer == "RETR" && r.Path == "a"
	}
	if !named {
		t.Errorf("no record has the user and the path: %+v", st.records)
	}
}

func TestLaw7TransferIsNamed(t *testing.T) {
	passive := "C: PASV\nS: " + entering + "\n"
	const used = "use 20\nestablished\nended"
	for name, c := range map[string]struct{ script, want string }{
		"after PORT":              {"C: " + port + "\nS: 200 x\nC: STOR  b c\nuse 20\nestablished\nended", "STOR | b c"},
		"pipelined behind PASV":   {"C: PASV | RETR a\nS: " + entering + "\nuse 20\nestablished\nended", "RETR|a"},
		"not that of the one ago": {"C: PASV\nS: " + entering + "\nC: PASV | RETR b\nS: " + entering + "\nuse 20\nestablished\nended", "RETR|b"},
		// One that is refused uses no data connection: the next one does.
		"refused, then another":             {passive + "C: RETR a\nS: 550 x\nC: RETR b\nS: 150 x\n" + used, "RETR|b"},
		"refused, once connected":           {passive + "use 20\nestablished\nC: RETR a\nS: 550 x\nC: STOR b\nS: 150 x\nS: 226 x\nended", "STOR|b"},
		"refused, after PORT":               {"C: " + port + "\nS: 200 x\nC: NLST a\nS: 450 x\nC: RETR b\nS: 150 x\n" + used, "RETR|b"},
		"refused, another was sent already": {passive + "C: RETR a | RETR b\nS: 550 x | 150 x\n" + used, "RETR|b"},
		"refused, all behind PASV":          {"C: PASV | RETR a | RETR b\nS: " + entering + " | 550 x | 150 x\n" + used, "RETR|b"},
		"refused, and no other":             {passive + "C: RETR a\nS: 550 x\n" + used, "RETR|a"},
		"refused, another for a new PASV":   {passive + "use 20\nestablished\nC: RETR a | PASV | RETR b\nS: 550 x | 500 x | 425 x\nended", "RETR|a"},
		"broken off, then another":          {passive + "use 20\nestablished\nC: RETR a\nS: 150 x\nS: 426 x\nC: RETR b\nS: 425 x\nended", "RETR|a"},
		"pipelined, the first begins":       {passive + "C: RETR a | RETR b\nS: 150 x | 226 x | 425 x\n" + used, "RETR|a"},
		// What cannot be known is not said.
		"unheard, then another":             {passive + "C: RETR a\nS! 550 x\nC: NOOP\nS: 200 x\nC: RETR b\nS: 150 x\n" + used, "|"},
		"missed, then another":              {passive + "C! RETR a\nC: NOOP\nS: 150 x\nC: RETR b\n" + used, "|"},
		"too long to be read, then another": {passive + "C: RETR " + strings.Repeat("a", 5000) + "\nS: 150 x\nC: RETR b\nS: 425 x\n" + used, "|"},
		"among too many commands":           {passive + "C: RETR a" + strings.Repeat(" | NOOP | ABOR", 32) + "\nC: RETR b\n" + used, "|"},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(newKernel(t, nil), testClient, testServer)
			st.shake()
			st.play("login\n" + c.script)
			last := st.records[len(st.records)-1]
			if got := last.Transfer + "|" + last.Path; got != strings.ReplaceAll(c.want, " |", "|") {
				t.Errorf("transfer %q, want %q", got, c.want)
			}
			st.stop()
		})
	}
}

func TestLaw7Bytes(t *testing.T) {
	for command, want := range map[string][2]uint64{port: {20, 10}, "PASV": {10, 20}} {
		st := newStage(newKernel(t, nil), testClient, testServer)
		st.shake()
		st.play("login\nC: " + command + "\nS: " + entering + "\nuse 20\nestablished\nended")
		var last Record
		for _, r := range st.records {
			if r.Action == Close {
				last = r
			}
		}
		if got := [2]uint64{last.BytesToServer, last.BytesToClient}; !last.Counted || got != want {
			t.Errorf("%s: bytes %v, want %v", command, got, want)
		}
		st.stop()
	}
}

// Nor does the use name a transfer that was refused before.
func TestLaw7UseAfterARefusedTransfer(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login\nC: PASV\nS: " + entering + "\nC: RETR a\nS: 550 x\nuse 20")
	if r := st.records[len(st.records)-1]; r.Action != Use || r.Transfer != "" || r.Path != "" {
		t.Errorf("%s of %s %q", short(r), r.Transfer, r.Path)
	}
	st.stop()
}

// client is the i-th of many.
func client(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 40000)
}

func TestLaw8Sessions(t *testing.T) {
	k := newKernel(t, func(c *Config, _ *Terms) { c.Limits.Sessions = 3 })
	var stages []*stage
	for i := range 5 {
		st := newStage(k, client(i), testServer)
		st.shake()
		stages = append(stages, st)
	}
	if n := k.tracker.Counts().Sessions; n != 3 {
		t.Errorf("%d sessions", n)
	}
	stages[0].play("login\nC: PASV\nS: " + entering)
	stages[4].play("login\nC: PASV\nS: " + entering)
	want := []string{"deny limit_total", "deny limit_total", opensPASV}
	if got := told(k.records); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	k.stop()
}

func TestLaw8Pinholes(t *testing.T) {
	k := newKernel(t, func(c *Config, _ *Terms) { c.Limits.Pinholes = 2 })
	var stages []*stage
	for i := range 3 {
		st := newStage(k, client(i), testServer)
		st.shake()
		st.play("login\nC: PASV\nS: " + entering)
		stages = append(stages, st)
	}
	stages[0].play("use 40001\nestablished\nended") // makes room
	stages[2].play("C: PASV\nS: " + entering)
	want := []string{opensPASV, opensPASV, "deny limit_total PASV 10.0.2.2:50000", "use PASV 50000", "close finished PASV 50000", opensPASV}
	if got := told(k.records); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	k.stop()
}

// One session has one pinhole, and a few more for commands that the server has not
// come to.
func TestLaw8PinholesOfASession(t *testing.T) {
	script := "login\nC: " + port + " | RETR a"
	want := opensPORT
	for i := range maxAhead {
		script += fmt.Sprintf(" | PORT 10,0,1,2,195,%d | RETR a", 81+i)
		if i < maxAhead-1 {
			want += fmt.Sprintf("\nopen PORT 10.0.1.2:%d", 50001+i)
		}
	}
	perform(t, dialogue{script: script, want: want + fmt.Sprintf("\ndeny limit_session PORT 10.0.1.2:%d", 50000+maxAhead)})
}

func TestLaw8PerClient(t *testing.T) {
	k := newKernel(t, func(c *Config, _ *Terms) {
		c.Limits.SessionsPerClient = 3
		c.Limits.PinholesPerClient = 2
	})
	for i := range 4 {
		st := newStage(k, netip.AddrPortFrom(testClient.Addr(), uint16(40000+i)), testServer)
		st.shake()
		st.play("login\nC: PORT 10,0,1,2,195," + fmt.Sprint(80+i))
	}
	other := newStage(k, client(1), testServer)
	other.shake()
	other.play("login\nC: PASV\nS: " + entering)
	want := []string{"open PORT 10.0.1.2:50000", "open PORT 10.0.1.2:50001", "deny limit_client PORT 10.0.1.2:50002", "deny limit_client", opensPASV}
	if got := told(k.records); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	k.stop()
}

func TestLaw8IPv6ClientIsItsPrefix(t *testing.T) {
	q := NewQuota(Limits{Sessions: 10, SessionsPerClient: 1, Pinholes: 10, PinholesPerClient: 1})
	if why := q.take(netip.MustParseAddr("2001:db8::1"), 1, 0); why != "" {
		t.Fatal(why)
	}
	if why := q.take(netip.MustParseAddr("2001:db8::2"), 1, 0); why != LimitClient {
		t.Errorf("the same /64: %q", why)
	}
	if why := q.take(netip.MustParseAddr("2001:db8:0:1::1"), 1, 0); why != "" {
		t.Errorf("another /64: %q", why)
	}
}

func TestLaw8HalfOpenFlood(t *testing.T) {
	k := newKernel(t, func(c *Config, _ *Terms) { c.Limits.HalfOpen = 8 })
	st := newStage(k, testClient, testServer)
	st.shake()
	for i := range 5000 {
		st.packet(&Packet{Src: client(i), Dst: testServer, Seq: uint32(i), Flags: SYN})
	}
	if c := k.tracker.Counts(); c.HalfOpen > 8 || len(k.tracker.halfOpen.queue) > 8 || c.Sessions != 1 {
		t.Errorf("%+v, %d queued", c, len(k.tracker.halfOpen.queue))
	}
	st.play("login\nC: PASV\nS: " + entering)
	if got := told(k.records); !slices.Equal(got, []string{opensPASV}) {
		t.Errorf("told %q", got)
	}
	k.stop()
}

func TestLaw8IdleSessionStays(t *testing.T) {
	perform(t, dialogue{script: "login\nwait 240m\nC: PASV\nS: " + entering, want: opensPASV})
}

func TestLaw8MemoryOfASession(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login")
	for i := range uint32(2000) { // ahead of their turn, never complete
		st.packet(&Packet{Src: testClient, Dst: testServer, Seq: st.c.next + 3 + 7*i, Ack: st.c.acked, Flags: ACK, Payload: []byte("USER")})
		checkMemory(t, st.tracker)
	}
	for range 2000 {
		st.packet(&Packet{Src: testServer, Dst: testClient, Seq: st.s.next, Ack: st.s.acked, Flags: ACK, Payload: []byte(long)})
		st.s.next += uint32(len(long))
		checkMemory(t, st.tracker)
	}
	st.stop()
}

var errTest = errors.New("no")

// A late answer to what is over has no effect.
func TestLaw4LateAnswers(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login\nC: " + port + "\nS: 500 x")
	n := len(st.records)
	id := st.latest.ID
	st.do(st.tracker.Opened(st.now, id, "", nil))
	st.do(st.tracker.Opened(st.now, id, "", errTest))
	st.do(st.tracker.Closed(st.now, id, true))
	st.play("arrived\nuse 20\nestablished\nended")
	st.do(st.tracker.Killed(st.now, testServer, testClient))
	if len(st.records) != n {
		t.Errorf("recorded %v", told(st.records[n:]))
	}
	st.stop()
}
