package conntrack

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"ftpinhole/parser"
)

// What random dialogues are made of.
var (
	clientWords = []string{
		"PASV", "EPSV", port, "EPRT |1|10.0.1.2|50001|", "RETR a", "LIST", "NOOP", "TYPE I",
		"PORT 10,9,9,9,195,80", "PORT 10,0,1,2,0,22", "USER v", "PASS hunter2", "REIN", "ABOR", "QUIT",
		"EPSV ALL", "AUTH TLS", "xyzzy", "", entering, "CCC", "ACCT a", "OPEN h",
		// As it is spelled on the wire: telnet's words, bare LF, NUL, blanks, CR CR LF.
		"\xff\xfb\x01PASV", "NOOP\nEPSV", "\xff\xf4\xff\xf2ABOR", "port\t10, 0,1,2 ,195,81 \r", "PO\x00RT 10,0,1,2,195,82", "\xff\xfa\x01\n\xff\xf0PASV",
	}
	serverWords = []string{
		"200 ok", "226 done", "150 coming", entering, extended, "227 Entering (10,0,2,2,195,81)",
		"331 more", "230 in", "530 out", "332 account", "202 superfluous", "500 no", "211-list", "211 end", " text", "220 again", "221 bye",
		"227-Entering (10,0,2,2,195,82)", "426 cut", "225 open", "234 tls", "421 over", port,
		"\xff\xfc\x01" + entering, "200 ok\n" + extended, "229 ok (!!!50003!)\r", "22\x007 (10,0,2,2,195,83)", "211 end\r\n" + entering,
	}
)

// turn is some bytes that one side sends before the other speaks.
type turn struct {
	client bool
	lines  []string
}

func (u turn) bytes() string { return strings.Join(u.lines, "\r\n") + "\r\n" }

func drawTurns(t *rapid.T) []turn {
	turns := []turn{{false, []string{rapid.SampledFrom([]string{"220 ready", "220 ready", "230 welcome", "200 welcome"}).Draw(t, "greeting")}}}
	if rapid.Bool().Draw(t, "login") {
		turns = append(turns, turn{true, []string{"USER u", "PASS hunter2"}}, turn{false, []string{"331 more", rapid.SampledFrom([]string{"230 in", "200 in", "202 in"}).Draw(t, "answer")}})
	}
	for range rapid.IntRange(1, 10).Draw(t, "turns") {
		u := turn{client: rapid.Bool().Draw(t, "client")}
		words := serverWords
		if u.client {
			words = clientWords
		}
		u.lines = rapid.SliceOfN(rapid.SampledFrom(words), 1, 4).Draw(t, "lines")
		turns = append(turns, u)
	}
	return turns
}

// timeless are the records without their times.
func timeless(records []Record) []Record {
	list := slices.Clone(records)
	for i := range list {
		list[i].Time, list[i].Duration = time.Time{}, 0
	}
	return list
}

var byValue = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})

// Whatever pieces a dialogue comes in, the same is recorded (law 3).
func TestLaw3SameRecordsForAnySegmentation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		turns := drawTurns(t)
		isn := rapid.SampledFrom([]uint32{1000, 0xffffffff, 0xfffffff0, 0xffffff00}).Draw(t, "isn")
		whole := newStage(newKernel(t, nil), testClient, testServer)
		cut := newStage(newKernel(t, nil), testClient, testServer)
		for _, st := range []*stage{whole, cut} {
			st.c.next, st.s.next = isn, isn-30
			st.shake()
		}
		var earlier []*Packet
		for _, u := range turns {
			from, to := whole.sides(map[bool]string{true: "C", false: "S"}[u.client])
			whole.send(from, to, u.bytes(), 0)
			earlier = cut.shuffled(t, u, earlier)
		}
		whole.stop()
		cut.stop()
		if diff := cmp.Diff(timeless(whole.records), timeless(cut.records), byValue); diff != "" {
			t.Fatalf("records (-whole +cut):\n%s", diff)
		}
		for _, r := range cut.records {
			if strings.Contains(r.User+r.Path+r.Command+r.Transfer, "hunter2") {
				t.Fatalf("a password is in %v", r)
			}
		}
	})
}

// shuffled sends a turn in pieces, some of them twice, in any order, and old
// packets between them.
func (st *stage) shuffled(t *rapid.T, u turn, earlier []*Packet) []*Packet {
	from, to := st.sides(map[bool]string{true: "C", false: "S"}[u.client])
	data := u.bytes()
	var packets []*Packet
	add := func(a, b int) {
		packets = append(packets, &Packet{
			Src: from.addr, Dst: to.addr, Seq: from.next + uint32(a), Ack: from.acked, Flags: ACK,
			Payload: []byte(data[a:b]),
		})
	}
	for at := 0; at < len(data); {
		n := rapid.IntRange(1, min(len(data)-at, 30)).Draw(t, "cut")
		add(at, at+n)
		at += n
	}
	for range rapid.IntRange(0, 3).Draw(t, "copies") {
		a := rapid.IntRange(0, len(data)-1).Draw(t, "copy from")
		add(a, rapid.IntRange(a+1, len(data)).Draw(t, "copy to"))
	}
	order := rapid.Permutation(packets).Draw(t, "order")
	for _, p := range order {
		st.packet(p)
		if len(earlier) > 0 && rapid.IntRange(0, 5).Draw(t, "late") == 0 {
			st.packet(rapid.SampledFrom(earlier).Draw(t, "old"))
		}
	}
	st.unseen(from, to, data)
	st.ack(to, from)
	return append(earlier, packets...)
}

// No open without agreement (law 5), for random dialogues.
func TestLaw5NoOpenWithoutAgreement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := newStage(newKernel(t, nil), testClient, testServer)
		st.shake()
		var j judge
		readers := map[bool]*parser.LineReader{true: {}, false: {}}
		for _, u := range drawTurns(t) {
			from, to := st.sides(map[bool]string{true: "C", false: "S"}[u.client])
			for piece := range strings.Lines(u.bytes()) {
				if line, _, ok := readers[u.client].Next([]byte(piece)); ok {
					j.lines = append(j.lines, said{u.client, string(line.Text)})
				}
				st.judged(t, j, func() { st.send(from, to, piece, 0) })
			}
		}
		st.stop()
	})
}

// judged sends what completes at most one line, and holds what was opened
// against the judge.
func (st *stage) judged(tb reporter, j judge, send func()) {
	tb.Helper()
	before := len(st.records)
	send()
	for _, r := range st.records[before:] {
		if r.Action != Open {
			continue
		}
		if j.blind() {
			tb.Fatalf("%s in a session that speaks TLS", short(r))
		}
		if may := j.mayOpen(); !slices.Contains(may, short(r)) {
			tb.Fatalf("opened %q, agreed on %q", short(r), may)
		}
	}
}

// Two who speak in turns get every port that they agree on (law 1).
func TestLaw1WhatIsAgreedOpens(t *testing.T) {
	type exchange struct{ command, replies, opens string }
	exchanges := []exchange{
		{"PASV", entering, opensPASV},
		{"PASV", "227-a\r\n 226 b\r\n" + entering, opensPASV},
		{"pasv", "227 Passive mode OK 10,0,2,2,195,80", opensPASV},
		{"EPSV", extended, opensEPSV},
		{"EPSV 1", "229 Entering (!!!50000!)", opensEPSV},
		{port, "200 ok", opensPORT},
		{"EPRT |1|10.0.1.2|50000|", "200 ok", "open EPRT 10.0.1.2:50000"},
		{port, "500 no", opensPORT},
		{"RETR a", "150 a\r\n226 b", ""}, {"STOR a", "125 a\r\n250 b", ""}, {"LIST", "425 no", ""},
		{"RETR a", "150 a\r\n426 b", ""}, {"NOOP", "200 ok", ""}, {"FEAT", "211-x\r\n EPSV\r\n211 e", ""},
		{"xyzzy", "500 what", ""}, {"", "500 what", ""}, {"ABOR", "225 nothing", ""}, {"ABOR", "226 closed", ""},
		{"ABOR", "500 what", ""}, {"REST 1", "350 ok", ""}, {"STAT", "213-227 x\r\n227 (10,0,2,2,1,1)\r\n213 e", ""},
		{"REIN", "500 no", ""}, {"AUTH TLS", "500 no", ""}, {"QUIT", "500 no", ""}, {"USER w", "500 no", ""},
		{"PASV", "500 no", ""}, {"PASV", "425 no", ""}, {"EPSV", "522 no", ""},
	}
	logins := []string{
		"login", "S: 230 welcome\nC: NOOP\nS: 200 ok", "S: 200 welcome\nC: NOOP\nS: 200 ok",
		"S: 220 x\nC: USER u\nS: 200 in", "S: 220 x\nC: USER u | PASS p\nS: 331 x | 202 in",
		"S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 332 x\nC: ACCT a\nS: 200 in",
	}
	rapid.Check(t, func(t *rapid.T) {
		st := newStage(newKernel(t, nil), testClient, testServer)
		st.shake()
		st.play(rapid.SampledFrom(logins).Draw(t, "login"))
		for i, x := range rapid.SliceOfN(rapid.SampledFrom(exchanges), 1, 20).Draw(t, "exchanges") {
			before := len(st.records)
			st.send(&st.c, &st.s, x.command+"\r\n", 0)
			st.send(&st.s, &st.c, x.replies+"\r\n", 0)
			var opened string
			for _, r := range st.records[before:] {
				if r.Action == Open {
					opened = short(r)
				}
			}
			if opened != x.opens {
				t.Fatalf("exchange %d, %q: opened %q, want %q", i, x.command, opened, x.opens)
			}
		}
		st.stop()
	})
}

// FuzzSession takes the bytes of both sides and where they are cut: each byte
// of cuts is a segment, its lowest bit the side, the others its length. world
// says how addresses are translated and what fails.
func FuzzSession(f *testing.F) {
	login := "USER u\r\nPASS p\r\n"
	greet := "220 x\r\n331 x\r\n230 x\r\n"
	cuts := []byte{28, 33, 255, 254, 255, 254, 255, 254}
	f.Add([]byte(login+"PASV\r\n"), []byte(greet+entering+"\r\n"), cuts, byte(0))
	f.Add([]byte(login+port+"\r\nRETR a\r\nQUIT\r\n"), []byte(greet+"200 x\r\n150 x\r\n226 x\r\n221 x\r\n"), cuts, byte(0))
	f.Add([]byte(login+"AUTH TLS\r\n\x16\x03\x01\x00\x01aPASV\r\n"), []byte(greet+"234 x\r\n\x16\x03\x01\x00\x01a"+entering+"\r\n"), cuts, byte(0))
	f.Add([]byte(login+"AUTH TLS\r\n\x16\x03\x01\x00\x01a"+port+"\r\n"), []byte(greet+"234 x\r\n\x16\x03\x01\x00\x01a200 x\r\n"), []byte{32, 43, 20, 15, 12, 13, 44, 15}, byte(0))
	f.Add([]byte(login+"AUTH TLS\r\n"+port+"\r\n"), []byte(greet+"234 x\r\n200 x\r\n"), []byte{32, 43, 20, 15, 15, 44}, byte(0))
	f.Add([]byte("POST / HTTP/1.1\r\n\r\n"+port+"\r\n"), []byte(greet), cuts, byte(0))
	f.Add([]byte(login+"STAT a\r\nPASV\r\n"), []byte(greet+"213-x\r\n"+entering+"\r\n213 x\r\n"+extended+"\r\n"), cuts, byte(0))
	f.Add([]byte(login+"\xff\xf4\xff\xf2ABOR\r\nEPSV\r\n"), []byte(greet+"226 x\r\n229-x\r\n"+extended+"\r\n"), cuts, byte(0))
	f.Add([]byte(login+"PASV\r\n"), []byte("220 x\r\n331 x\r\n202 x\r\n"+entering+"\r\n"), cuts, byte(0))
	f.Add([]byte("USER u\r\nNOOP\r\n"+port+"\r\n"), []byte("220 x\r\n331 x\r\n200 x\r\n"), []byte{14, 33, 255, 254}, byte(0))
	f.Add([]byte("OPEN h\r\n"+port+"\r\n"), []byte("230 x\r\n200 x\r\n"), []byte{15, 16, 15, 255, 254}, byte(0))
	f.Add([]byte("NOOP\r\n"+port+"\r\n"), []byte("230 x\r\n200 x\r\n"), []byte{15, 12, 15, 255, 254}, byte(0))
	f.Add([]byte(login+"NOOP\r\nNOOP\r\nPASV\r\nEPSV\r\n"), []byte(greet+entering+"\r\n200 x\r\n"+entering+"\r\n"), cuts, byte(0))
	f.Add([]byte(login+port+"\r\nNOOP\r\nRETR a\r\nPASV\r\n"), []byte(greet+"200 x\r\n150 x\r\n"+entering+"\r\n"), cuts, byte(0))
	f.Add([]byte(login+"FEAT\r\nPASV\r\nEPSV\r\n"), []byte(greet+"211-x\r\n200 x\r\n"+entering+"\r\n"+extended+"\r\n"), cuts, byte(0))
	f.Add([]byte(login+"PORT 198,51,100,7,195,80\r\n"), []byte(greet+"200 x\r\n"), cuts, byte(3))
	f.Add([]byte(login+"PASV\r\n"), []byte(greet+"227 (0,0,0,0,195,80).\r\n"), []byte{28, 33, 255, 254, 41, 9, 255}, byte(5))
	f.Add([]byte(login+port+"\r\n"), []byte(greet+"200 x\r\n"), []byte{28, 255, 30, 18, 4, 8, 255}, byte(27))
	f.Add([]byte(login+"PORT 192,0,2,9,195,80\r\n"), []byte(greet+"200 x\r\n"), cuts, byte(67))
	f.Add([]byte(login+"PASV\r\n"), []byte(greet+"227 (192,0,2,9,195,80).\r\n"), []byte{28, 33, 255, 254, 41, 9, 255}, byte(37))
	f.Fuzz(func(t *testing.T, client, server, cuts []byte, world byte) {
		st, j := fuzzed(t, world)
		st.shake()
		readers := [2]*parser.LineReader{parser.NewLineReader(testLimits.LineBytes), parser.NewLineReader(testLimits.LineBytes)}
		text := [2]*[]byte{&client, &server}
		ends := [2]*side{&st.c, &st.s}
		sure := true
		for _, c := range cuts {
			who := int(c & 1)
			from, to := ends[who], ends[1-who]
			n := min(int(c>>1), len(*text[who]))
			data := (*text[who])[:n]
			*text[who] = (*text[who])[n:]
			// One segment may hold several lines; the judge looks at them one by one.
			var may []string
			rest := data
			for !j.blind() {
				line, after, ok := readers[who].Next(rest)
				if rest = after; !ok {
					break
				}
				sure = sure && !line.Overlong // its beginning may have opened a block
				said := said{who == 0, string(line.Text)}
				if line.Overlong {
					said.text = "?"
				}
				j.lines = append(j.lines, said)
				may = append(may, j.mayOpen()...)
			}
			before := len(st.records)
			if j.blind() {
				j.hidden[who] = append(j.hidden[who], rest...)
			}
			st.send(from, to, string(data), 0)
			if j.blind() {
				clear, once := j.mayOpenBehindTLS()
				may, sure = append(may, clear...), sure && once
			}
			for _, r := range st.records[before:] {
				if r.Action != Open || j.blind() && !sure {
					continue
				}
				at := slices.Index(may, short(r))
				if at < 0 {
					t.Fatalf("opened %q, agreed on %q", short(r), may)
				}
				if !j.blind() {
					may = may[at+1:]
				}
			}
			checkMemory(t, st.tracker)
		}
		st.stop()
	})
}

// fuzzed is a session in one of several worlds, and its judge.
func fuzzed(tb reporter, world byte) (*stage, judge) {
	has := func(bit int) bool { return world>>bit&1 != 0 }
	tr := Translation{Server: testServer, Client: testClient}
	if has(1) {
		tr.Client = masked
	}
	if has(2) {
		tr.Server = netip.MustParseAddrPort("1.1.1.1:21")
	}
	var j judge
	k := newKernel(tb, func(c *Config, terms *Terms) {
		if has(0) {
			translating(c, terms)
			j.client, j.server = tr.Client.Addr(), tr.Server.Addr()
		}
		terms.PasvPeer, terms.PasvKeep, terms.PortKeep = has(3), has(5), has(6)
		j.pasvAny, j.portAny = has(3) || has(5), has(6)
	})
	k.translation, k.unkept = tr, has(4)
	return newStage(k, testClient, testServer), j
}

// checkMemory holds a tracker against its bounds (law 8).
func checkMemory(tb reporter, t *Tracker) {
	tb.Helper()
	for _, s := range t.sessions {
		if len(s.outstanding) > t.limits.Commands || len(s.channels) > maxAhead {
			tb.Fatalf("%d commands outstanding, %d channels", len(s.outstanding), len(s.channels))
		}
		for _, d := range []*direction{&s.up, &s.down} {
			checkBounds(tb, &d.stream)
			if q := s.sequence(d); q != nil && !q.sound() {
				tb.Fatalf("beyond all bounds: %+v", q.Sequence)
			}
		}
		if len(s.user) > maxUser || len(s.claimed) > maxUser {
			tb.Fatalf("user of %d bytes", len(s.user))
		}
	}
}
