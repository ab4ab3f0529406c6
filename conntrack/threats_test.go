package conntrack

import (
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What attackers have done to helpers of this kind, each with its source.
func TestThreats(t *testing.T) {
	performAll(t, []dialogue{
		{name: "bounce with PORT (CVE-1999-0017)", script: "login\nC: PORT 10,9,9,9,195,80", want: "deny foreign_address PORT 10.9.9.9:50000"},
		{name: "bounce with EPRT", script: "login\nC: EPRT |1|10.9.9.9|50000|", want: "deny foreign_address EPRT 10.9.9.9:50000"},
		{name: "227 that names a third host", script: "login\nC: PASV\nS: 227 x (10,9,9,9,195,80)", want: "deny foreign_address PASV 10.9.9.9:50000"},
		{name: "own service port (CVE-2007-6741)", script: "login\nC: PORT 10,0,1,2,0,139", want: "deny privileged_port PORT 10.0.1.2:139"},
		{name: "PASV hole (CVE-2000-0150): echo in an error", script: "login\nC: " + entering + "\nS: 550 " + entering,
			want: "deny unrequested 10.0.2.2:50000"},
		{name: "PASV hole: echo while PASV is outstanding", script: "login\nC: PASV\nS: 550 " + entering, want: ""},
		{name: "PASV hole: echo that starts a segment", script: `
			login
			C: XYZ
			S: "550 "
			S: "` + entering + `\r\n"
			C: PASV
			S: 500 x`,
			want: ""},
		{name: "PASV hole: in a multi-line error", script: "login\nC: PASV\nS: 550-x | " + entering + " | 550 x", want: ""},
		{name: "PASV hole: in a listing that starts segments", script: "login\nC: STAT a | PASV\nS: 213-list\nS: " + entering + "\nS: 213 end\nS: 500 x", want: ""},
		{name: "NAT slipstreaming: POST", script: `
			C: "POST / HTTP/1.1\r\nHost: x\r\n\r\n"
			S: 220 x | 500 x | 230 x
			C: ` + port,
			want: "deny not_ftp PORT 10.0.1.2:50000"},
		{name: "NAT slipstreaming: PORT at a segment's start", script: "S: 220 x\nC: \"POST / HTTP/1.1\\r\\nA: \"\nC: " + port + "\nC: " + port,
			want: "deny not_ftp PORT 10.0.1.2:50000"},
		{name: "URL with CRLF and PORT (CSCdr09226)", script: "S: 220 x\nC: USER u | " + port + "\nS: 331 x | 530 x",
			want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "numbers out of range (CVE-2019-10055)", script: "login\nC: PORT 10,0,1,2,451,80\nS: 500 x\nC: EPRT |1|10.0.1.2|65558|\nS: 500 x\nC: EPRT |1|10.0.1.2|-1|\nS: 500 x\nC: EPRT |1|10.0.1.2|0x4000|\nS: 500 x\nC: PORT 10,0,1,2,-1,80",
			want: "deny malformed PORT\ndeny malformed EPRT\ndeny malformed EPRT\ndeny malformed EPRT\ndeny malformed PORT"},
		{name: "hole open across AUTH (CVE-2015-5361)", script: "login\nC: PASV\nS: " + entering + "\nC: AUTH TLS\nS: 234 x\nC: PASV\nS: " + entering,
			want: opensPASV + "\nclose encrypted PASV 50000"},

		// Suricata's own.
		{name: "EPRT of many fields (#4473)", script: "login\nC: EPRT |1|10.0.1.2|50000|||||||\nS: 500 x\nC: EPRT |||||", want: "deny malformed EPRT\ndeny malformed EPRT"},
		{name: "same endpoint twice (#4424)", script: "login\nC: PASV\nS: " + entering + "\nC: PASV\nS: " + entering,
			want: opensPASV + "\nclose replaced PASV 50000\n" + opensPASV},
		{name: "overlong in one direction only (#6054)", script: "login\nC: PASV\nC: \"" + long + "\"\nS: " + entering, want: opensPASV},
	})
}

// A pinhole names both ends, in the direction of the connection, and ends soon:
// any source for minutes is how RELATED was once abused (CVE-2001-0405).
// Suricata had the direction wrong (#3542).
func TestThreatAnySource(t *testing.T) {
	for command, want := range map[string]Pinhole{
		port:                          {Src: testServer.Addr(), Dst: netip.MustParseAddrPort("10.0.1.2:50000")},
		"EPRT |1|10.0.1.2|50000|":     {Src: testServer.Addr(), Dst: netip.MustParseAddrPort("10.0.1.2:50000")},
		"PASV\nS: " + entering:        {Src: testClient.Addr(), Dst: netip.MustParseAddrPort("10.0.2.2:50000")},
		"EPSV\nS: 229 ok (|||50000|)": {Src: testClient.Addr(), Dst: netip.MustParseAddrPort("10.0.2.2:50000")},
	} {
		st := newStage(newKernel(t, nil), testClient, testServer)
		st.shake()
		st.play("login\nC: " + command)
		want.ID, want.Timeout = st.latest.ID, 30*time.Second
		if st.latest != want || want.ID == "" {
			t.Errorf("%s: opened %+v, want %+v", command, st.latest, want)
		}
		st.stop()
	}
}

// What has no end, or nothing in it, is read in time that grows with its length
// and no faster, and the session works afterwards: Suricata's parser looped for
// ever (#5244), and took time that grew with the square (#5314).
func TestThreatTimeToRead(t *testing.T) {
	const n = 200_000
	type speech struct{ client, server, end string }
	for name, said := range map[string]speech{
		"line ends":                {"\n", "\n", ""},
		"carriage returns":         {"\r", "", "\n"},
		"NULs":                     {"\x00", "\x00", "\n"},
		"IAC":                      {"\xff", "", "\n"},
		"subnegotiations":          {"\xff\xfa", "", "\xff\xf0\n"},
		"a line without end":       {"0123456789", "", "\n"},
		"commands without answers": {"NOOP\r\n", "", ""},
		"transfers":                {"RETR a\r\n", "", ""},
		"commands and answers":     {"NOOP\r\n", "200 ok\r\n", ""},
		"answers without commands": {"", "200 ok\r\n", ""},
		"a reply of many lines":    {"", "211-x\r\n", "211 x\r\n"},
		"refusals":                 {"PORT 10,9,9,9,195,80\r\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(newKernel(t, nil), testClient, testServer)
			st.shake()
			st.play("login")
			begun := computed(t)
			for range n / 100 {
				st.send(&st.c, &st.s, strings.Repeat(said.client, 100), 0)
				st.send(&st.s, &st.c, strings.Repeat(said.server, 100), 0)
			}
			if took := computed(t) - begun; took > 5*time.Second { // 50 ms; the square of n takes minutes
				t.Errorf("%d times %q took %v", n, said.client+said.server, took)
			}
			if said.client != "" {
				st.send(&st.c, &st.s, said.end, 0)
			}
			if said.server != "" {
				st.send(&st.s, &st.c, said.end, 0)
			}
			st.play("C: PASV\nS: " + entering + "\nC: PASV\nS: " + entering)
			if got := told(st.records); !slices.Contains(got, opensPASV) {
				t.Errorf("afterwards nothing opens: %q", got)
			}
			st.stop()
		})
	}
}

// computed is the time that this process has computed for: what else the machine
// does is not in it.
func computed(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// IPv6 with passive mode (Suricata #4447).
func TestThreatIPv6(t *testing.T) {
	c, s := netip.MustParseAddrPort("[2001:db8::2]:40000"), netip.MustParseAddrPort("[2001:db8:1::2]:21")
	st := newStage(newKernel(t, nil), c, s)
	st.shake()
	st.play("login\nC: EPSV\nS: " + extended + "\nC: EPRT |2|2001:db8::2|50000|\nS: 200 x\nC: EPRT |2|2001:db8::3|50000|\nS: 200 x\nC: PASV\nS: " + entering)
	want := []string{
		"open EPSV [2001:db8:1::2]:50000", "close replaced EPSV 50000", "open EPRT [2001:db8::2]:50000",
		"deny foreign_address EPRT [2001:db8::3]:50000", "deny foreign_address PASV 10.0.2.2:50000",
	}
	if got := told(st.records); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if st.records[1].Pinhole.Src != c.Addr() || st.records[3].Pinhole.Src != s.Addr() {
		t.Error("a pinhole is in the wrong direction")
	}
	st.stop()
}

// A retransmit with other content changes no decision and is recorded.
func TestThreatOtherContent(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login")
	at := st.c.next
	line := []byte("NOOP                \r\n")
	forged := []byte(port + "\r\n")[:len(line)]
	st.packet(&Packet{Src: testClient, Dst: testServer, Seq: at, Ack: st.c.acked, Flags: ACK, Payload: line})
	st.packet(&Packet{Src: testClient, Dst: testServer, Seq: at, Ack: st.c.acked, Flags: ACK, Payload: forged})
	st.stop()
	if got := told(st.records); len(got) != 0 {
		t.Errorf("told %q", got)
	}
	if end := st.records[len(st.records)-1]; end.Conflicts != 1 {
		t.Errorf("%d conflicts", end.Conflicts)
	}
}

func TestThreatForgedReset(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login")
	for _, off := range []uint32{1, 100, 0x7fffffff, 0xffffffff} {
		st.packet(&Packet{Src: testClient, Dst: testServer, Seq: st.c.next + off, Flags: RST})
	}
	st.play("C: PASV\nS: " + entering)
	if got := told(st.records); !slices.Equal(got, []string{opensPASV}) {
		t.Errorf("told %q", got)
	}
	st.stop()
}

// A forged FIN neither ends a session nor hides the real ones.
func TestThreatForgedFIN(t *testing.T) {
	st := newStage(newKernel(t, nil), testClient, testServer)
	st.shake()
	st.play("login\nC: PASV\nS: " + entering)
	st.packet(&Packet{Src: testClient, Dst: testServer, Seq: st.c.next + 3, Ack: st.c.acked, Flags: ACK | FIN})
	st.packet(&Packet{Src: testServer, Dst: testClient, Seq: st.s.next + 4, Ack: st.s.acked, Flags: ACK | FIN})
	st.play("C: NOOP\nS: 200 x\nuse 40001")
	if got := told(st.records); !slices.Equal(got, []string{opensPASV, "use PASV 50000"}) {
		t.Errorf("told %q", got)
	}
	st.play("C FIN\nS FIN")
	if n := st.tracker.Counts().Sessions; n != 0 {
		t.Error("the session goes on behind its end")
	}
	st.stop()
}

// The same addresses and ports with a new initial sequence number are a new
// session, as soon as the server has answered; late copies of the old SYN are not.
func TestThreatTupleReused(t *testing.T) {
	k := newKernel(t, nil)
	old := newStage(k, testClient, testServer)
	old.shake()
	old.play("login\nC: PASV\nS: " + entering)
	old.packet(&Packet{Src: testClient, Dst: testServer, Seq: 1000, Flags: SYN})
	old.packet(&Packet{Src: testClient, Dst: testServer, Seq: 77, Flags: SYN}) // forged, never answered
	old.play("C: NOOP\nS: 200 x")
	if n := k.tracker.Counts().Sessions; n != 1 || len(k.records) != 2 {
		t.Fatalf("a SYN alone ended the session: %q", told(k.records))
	}
	again := newStage(k, testClient, testServer)
	again.c.next, again.s.next = 5_000_000, 6_000_000
	again.shake()
	again.play("C: PASV\nS: " + entering)
	var all []string
	for _, r := range k.records {
		all = append(all, short(r))
	}
	want := []string{"start", opensPASV, "close session_end PASV 50000", "end reused", "start", "deny not_ftp 10.0.2.2:50000"}
	// Only the order of the close and the end of one session is the kernel's.
	slices.Sort(all)
	slices.Sort(want)
	if !slices.Equal(all, want) {
		t.Errorf("told %q, want %q", all, want)
	}
	k.stop()
}

// A reuse at the moment when a limit was lowered ends the old session only once.
func TestThreatTupleReusedAtLimit(t *testing.T) {
	k := newKernel(t, nil)
	newStage(k, testClient, testServer).shake()
	lower := testLimits
	lower.SessionsPerClient = 0
	k.quota.SetLimits(lower)
	again := newStage(k, testClient, testServer)
	again.c.next, again.s.next = 5_000_000, 6_000_000
	again.shake()
	again.play("C FIN\nS FIN")
	k.stop()
}

// Data in the SYN (RFC 7413) is read when the server has taken it.
func TestSYNData(t *testing.T) {
	for name, c := range map[string]struct {
		taken uint32
		again bool
	}{"taken": {8, false}, "not taken": {0, true}, "taken in part": {3, true}} {
		t.Run(name, func(t *testing.T) {
			st := newStage(newKernel(t, nil), testClient, testServer)
			data := []byte("USER u\r\n")
			st.packet(&Packet{Src: testClient, Dst: testServer, Seq: st.c.next, Flags: SYN, Payload: data})
			st.c.next++
			st.packet(&Packet{Src: testServer, Dst: testClient, Seq: st.s.next, Ack: st.c.next + c.taken, Flags: SYN | ACK})
			st.s.next++
			st.c.next += c.taken
			st.s.acked = st.c.next
			st.ack(&st.c, &st.s)
			if c.again {
				st.send(&st.c, &st.s, string(data[c.taken:]), 0)
			}
			st.play("S: 220 x | 331 x\nC: PASS p\nS: 230 x\nC: PASV\nS: " + entering)
			if got := told(st.records); !slices.Equal(got, []string{opensPASV}) || st.records[0].Action != Start {
				t.Errorf("told %q", got)
			}
			st.stop()
		})
	}
}

// What users see with ftp -d, and clients that change the mode.
func TestUsersDialogues(t *testing.T) {
	intro := `
		S: 220 FTP server ready.
		C: USER slacker
		S: 331 Password required for slacker.
		C: PASS secret
		S: 230 User slacker logged in.
		C: SYST
		S: 215 UNIX Type: L8`
	performAll(t, []dialogue{
		{name: "active", script: intro + `
			C: PORT 10,0,1,2,14,178
			S: 200 PORT command successful.
			C: LIST
			S: 150 Opening ASCII mode data connection for file list.
			use 20
			established
			S: 226 Transfer complete.
			ended
			C: QUIT
			S: 221 Goodbye.
			S FIN
			C FIN`,
			want: "open PORT 10.0.1.2:3762\nuse PORT 3762\nclose finished PORT 3762"},
		{name: "passive, with a final dot", script: intro + "\nC: PASV\nS: 227 Entering Passive Mode (10,0,2,2,195,149).\nC: LIST\nuse 40001\nestablished\nS: 150 x | 226 x\nended",
			want: "open PASV 10.0.2.2:50069\nuse PASV 50069\nclose finished PASV 50069"},
		{name: "both modes in one session", script: "login\nC: EPSV\nS: 500 x\nC: PASV\nS: " + entering + `
			use 40001
			established
			ended
			C: EPRT |1|10.0.1.2|50002|
			S: 500 x
			C: PORT 10,0,1,2,195,83
			S: 200 x
			use 20
			established
			ended`,
			want: opensPASV + `
				use PASV 50000
				close finished PASV 50000
				open EPRT 10.0.1.2:50002
				close refused EPRT 50002
				open PORT 10.0.1.2:50003
				use PORT 50003
				close finished PORT 50003`},
	})
}

// Ordinary lines cost at most a few allocations a packet: none.
func TestNoAllocs(t *testing.T) {
	st, exchange := steady(t)
	if n := testing.AllocsPerRun(500, exchange); n > 0 {
		t.Errorf("%v allocations for two lines and their acknowledgements, want 0", n)
	}
	st.stop()
}

func BenchmarkPacket(b *testing.B) {
	_, exchange := steady(b)
	b.ReportAllocs()
	for range b.N {
		exchange()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(4*b.N), "ns/packet")
}

// steady is a session that is logged in, and an exchange of four packets in it.
func steady(tb reporter) (*stage, func()) {
	st := newStage(newKernel(tb, nil), testClient, testServer)
	st.shake()
	st.play("login")
	command, reply := []byte("CWD /pub/linux\r\n"), []byte("250 Directory changed.\r\n")
	now, tracker := time.Now(), st.tracker
	var p Packet
	say := func(from, to *side, data []byte) {
		p = Packet{Src: from.addr, Dst: to.addr, Seq: from.next, Ack: from.acked, Flags: ACK, Payload: data}
		tracker.Packet(now, &p)
		from.next += uint32(len(data))
		to.acked = from.next
		p = Packet{Src: to.addr, Dst: from.addr, Seq: to.next, Ack: to.acked, Flags: ACK}
		tracker.Packet(now, &p)
	}
	exchange := func() {
		say(&st.c, &st.s, command)
		say(&st.s, &st.c, reply)
	}
	for range 100 {
		exchange()
	}
	return st, exchange
}
