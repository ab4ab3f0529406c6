package conntrack

import (
	"slices"
	"strings"
	"testing"
)

// behindNAT is a client's translation that makes its lines longer.
var behindNAT = Translation{Server: testServer, Client: masked}

// says sends one segment, which nobody acknowledges, and returns how it leaves.
func (st *stage) says(who, data string, flags Flags) Segment {
	from, to := st.sides(who)
	p := &Packet{Src: from.addr, Dst: to.addr, Seq: from.next, Ack: from.acked, Flags: ACK | flags, Payload: []byte(data)}
	from.next = p.end()
	st.packet(p)
	return st.left
}

// again sends bytes once more, from as far before the next.
func (st *stage) again(who string, back int, data string) Segment {
	from, to := st.sides(who)
	p := &Packet{Src: from.addr, Dst: to.addr, Seq: from.next - uint32(back), Ack: from.acked, Flags: ACK, Payload: []byte(data)}
	st.packet(p)
	return st.left
}

// acks is an acknowledgement of one end, as it comes from the wire.
func (st *stage) acks(who string, n uint32) uint32 {
	p := &Packet{Src: st.s.addr, Dst: st.translation.Client, Ack: n, Flags: ACK}
	if who == "C" {
		p.Src, p.Dst = st.c.addr, st.translation.Server
	}
	if a := st.tracker.Incoming(p); a != nil {
		return a.Ack(n)
	}
	return n
}

// loggedIn is a translated session whose client is logged in.
func loggedIn(tb reporter, tr Translation, change func(*Config, *Terms)) *stage {
	tb.Helper()
	st := newTranslated(tb, tr, change)
	st.shake()
	st.play("login")
	return st
}

// A line that is cut is withheld from its argument on, whatever the cut, and
// its sender is told that it has arrived.
func TestLaw1LineCutAnywhere(t *testing.T) {
	const line, want = "PORT 10,0,1,2,195,80\r\n", "PORT 198,51,100,7,195,80\r\n"
	for cut := 1; cut < len(line); cut++ {
		st := loggedIn(t, behindNAT, nil)
		begin := st.c.next
		first := st.says("C", line[:cut], 0)
		left, keeps := min(cut, 5), cut > 5
		if got := string(first.Payload); got != line[:left] || first.Seq != begin {
			t.Errorf("cut at %d: %q left at first", cut, got)
		}
		if keeps != (st.kept != nil) {
			t.Errorf("cut at %d: kept %s", cut, st.kept)
		}
		if got := st.acks("S", begin+uint32(left)); got != begin+uint32(cut) {
			t.Errorf("cut at %d: told that %d bytes have arrived", cut, got-begin)
		}
		second := st.says("C", line[cut:], 0)
		if got := line[:left] + string(second.Payload); got != want || second.Seq != begin+uint32(left) {
			t.Errorf("cut at %d: %q left", cut, got)
		}
		if got := st.acks("S", begin+uint32(len(want))); got != begin+uint32(len(line)) {
			t.Errorf("cut at %d: all has arrived, told %d", cut, got-begin)
		}
		if got := st.acks("S", begin+uint32(len(want))-1); got != begin+max(5, uint32(cut)) && cut > 5 {
			t.Errorf("cut at %d: a part has arrived, told %d", cut, got-begin)
		}
		if got := told(st.records); !slices.Equal(got, []string{opensPORT}) {
			t.Errorf("cut at %d: told %q", cut, got)
		}
		st.stop()
	}
}

// A packet that is withheld whole leaves as one old byte, which is acknowledged
// at once: the sender may wait for that before it goes on (RFC 9293 3.7.4).
func TestLaw3WithheldWhole(t *testing.T) {
	st := loggedIn(t, behindNAT, nil)
	begin := st.c.next
	st.says("C", "PORT ", 0)
	for i, b := range "10,0,1,2,195,80" {
		seg := st.says("C", string(b), 0)
		if string(seg.Payload) != " " || seg.Seq != begin+4 {
			t.Fatalf("%q left at %d", seg.Payload, seg.Seq-begin)
		}
		if got := st.acks("S", begin+5) - begin; got != uint32(6+i) {
			t.Fatalf("told that %d bytes have arrived, want %d", got, 6+i)
		}
	}
	if seg := st.says("C", "", 0); seg.Seq != begin+5 || len(seg.Payload) > 0 {
		t.Errorf("an acknowledgement left at %d", seg.Seq-begin)
	}
	if seg := st.again("C", 1, ""); seg.Seq != begin+4 || string(seg.Payload) != " " {
		t.Errorf("a keep-alive probe left at %d with %q", seg.Seq-begin, seg.Payload)
	}
	if seg := st.again("C", 12, "0,1,"); string(seg.Payload) != " " {
		t.Errorf("what is withheld left when it was sent again: %q", seg.Payload)
	}
	if seg := st.says("C", "\n", 0); string(seg.Payload) != "198,51,100,7,195,80\n" || seg.Seq != begin+5 {
		t.Errorf("%q left at %d", seg.Payload, seg.Seq-begin)
	}
	st.stop()
}

// What turns out not to be an endpoint goes on as it came.
func TestLaw3WithheldGoesOn(t *testing.T) {
	spaces := strings.Repeat(" ", 300)
	for name, c := range map[string]struct {
		pieces []string
		flags  Flags // of the last
		want   string
		told   string
	}{
		"a foreign address": {[]string{"PORT 10,9,9", ",9,195,80\r\n"}, 0, "10,9,9,9,195,80\r\n", "deny foreign_address PORT 10.9.9.9:50000"},
		"no endpoint":       {[]string{"PORT x", "y\r\nNOOP\r\n"}, 0, "xy\r\nNOOP\r\n", "deny malformed PORT"},
		"telnet":            {[]string{"PORT 10,0,1,2,", "\xff\xf1195,80\r\n"}, 0, "10,0,1,2,\xff\xf1195,80\r\n", "deny malformed PORT 10.0.1.2:50000"},
		// What does not fit the segment any more is sent again.
		"too long":      {[]string{"PORT 1" + spaces, spaces, "x"}, 0, "1" + (spaces + spaces)[:leastMSS4-1], ""},
		"FIN":           {[]string{"PORT 10,0", ""}, FIN, "10,0", ""},
		"FIN with data": {[]string{"PORT 10,0", ",1"}, FIN, "10,0,1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			st := loggedIn(t, behindNAT, nil)
			begin := st.c.next
			arrived := make(map[uint32]byte)
			var fin uint32
			for i, piece := range c.pieces {
				var flags Flags
				if i == len(c.pieces)-1 {
					flags = c.flags
				}
				seg := st.says("C", piece, flags)
				for j, b := range seg.Payload {
					arrived[seg.Seq-begin+uint32(j)] = b
				}
				if seg.Flags&FIN != 0 {
					fin = seg.Seq - begin + uint32(len(seg.Payload))
				}
			}
			var got []byte
			for n := uint32(5); ; n++ {
				b, ok := arrived[n]
				if !ok {
					break
				}
				got = append(got, b)
			}
			if !strings.HasPrefix(string(got), c.want) || c.flags&FIN != 0 && (string(got) != c.want || fin != uint32(5+len(c.want))) {
				t.Errorf("arrived %q, FIN at %d, want %q", got, fin, c.want)
			}
			if got := strings.Join(told(st.records), "\n"); got != c.told {
				t.Errorf("told %q, want %q", got, c.told)
			}
			st.stop()
		})
	}
}

// What opens nothing is not withheld.
func TestLaw3NotWithheld(t *testing.T) {
	inward := Translation{Server: published, Client: testClient}
	for name, c := range map[string]struct {
		tr     Translation
		script string
		who    string
		data   string
	}{
		"not logged in":    {behindNAT, "S: 220 x", "C", "PORT 10,0"},
		"not FTP":          {behindNAT, "S: 220 x\nC: hello\nS: 500 x", "C", "PORT 10,0"},
		"only the verb":    {behindNAT, "login", "C", "PORT"},
		"another verb":     {behindNAT, "login", "C", "PORTS 10,0"},
		"telnet before it": {behindNAT, "login", "C", "\xff\xf1PORT 10,0"},
		"the client's, only the server is translated": {inward, "login", "C", "PORT 10,0"},
		"the server's, only the client is translated": {behindNAT, "login\nC: PASV", "S", "227 (10,0"},
		"unrequested":      {inward, "login", "S", "227 (10,0"},
		"another reply":    {inward, "login\nC: PASV", "S", "226 (10,0"},
		"the other's":      {inward, "login\nC: PASV", "S", "229 (|||5"},
		"encrypted":        {behindNAT, "login\nC: AUTH TLS\nS: 234 x", "C", "\x16\x03\x01\x00\x05"},
		"too long at once": {behindNAT, "login", "C", "PORT " + strings.Repeat("1", 600)},
	} {
		t.Run(name, func(t *testing.T) {
			st := newTranslated(t, c.tr, nil)
			st.shake()
			st.play(c.script)
			if got := string(st.says(c.who, c.data, 0).Payload); got != c.data {
				t.Errorf("%q left of %q", got, c.data)
			}
			st.stop()
		})
	}
}

// The server's line is withheld too, also at the end of a block.
func TestLaw1ReplyCut(t *testing.T) {
	st := loggedIn(t, Translation{Server: published, Client: testClient}, nil)
	st.play("C: PASV")
	first := st.says("S", "227-a\r\n227 Entering (10,0,2", 0)
	second := st.says("S", ",2,195,80)\r\n", 0)
	if got := string(first.Payload) + string(second.Payload); got != "227-a\r\n227 Entering (203,0,113,5,195,80)\r\n" {
		t.Errorf("%q left", got)
	}
	st.stop()
}

// It is, wherever it is cut, whichever command it answers.
func TestLaw1ReplyCutAnywhere(t *testing.T) {
	const line, want = "227 Entering (10,0,2,2,195,80)\r\n", "227 Entering (203,0,113,5,195,80)\r\n"
	for before, opens := range map[string]string{
		"C: PASV": opensPASV, "C: EPSV": "open EPSV 10.0.2.2:50000",
		"C: NOOP\nC: PASV": opensPASV, "C: NOOP\nC: EPSV": "open EPSV 10.0.2.2:50000",
	} {
		for cut := 1; cut < len(line); cut++ {
			st := loggedIn(t, Translation{Server: published, Client: testClient}, nil)
			st.play(before)
			first := st.says("S", line[:cut], 0)
			second := st.says("S", line[cut:], 0)
			if got := string(first.Payload) + string(second.Payload); got != want {
				t.Errorf("%q, cut at %d: %q left", before, cut, got)
			}
			if got := told(st.records); !slices.Equal(got, []string{opens}) {
				t.Errorf("%q, cut at %d: told %q", before, cut, got)
			}
			st.stop()
		}
	}
}

// A line that cannot be kept back, as the kernel fails, goes on as it came.
func TestLaw1WithheldKernelFails(t *testing.T) {
	st := loggedIn(t, behindNAT, nil)
	st.unkept = true
	first := st.says("C", "PORT 10,0,1,2", 0)
	second := st.says("C", ",195,80\r\n", 0)
	if got := string(first.Payload) + string(second.Payload); got != port+"\r\n" {
		t.Errorf("%q left", got)
	}
	st.unkept = false
	third := st.says("C", port+"\r\n", 0)
	if got := string(third.Payload); got != "PORT 198,51,100,7,195,80\r\n" {
		t.Errorf("%q left when the kernel was well again", got)
	}
	want := []string{"deny kernel_error PORT 10.0.1.2:50000", opensPORT}
	if got := told(st.records); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	st.stop()
}

// It fails in the midst of a line: what the sender was told to have arrived does.
func TestLaw3WithheldKernelFailsLater(t *testing.T) {
	st := loggedIn(t, behindNAT, nil)
	begin := st.c.next
	st.says("C", "PORT 10,0", 0)
	st.unkept = true
	second := st.says("C", ",1,2", 0)
	if got := string(second.Payload); got != "10,0,1,2" || second.Seq != begin+5 {
		t.Errorf("%q left at %d", got, second.Seq-begin)
	}
	if got := st.acks("S", begin+5); got != begin+9 {
		t.Errorf("told that %d bytes have arrived", got-begin)
	}
	third := st.says("C", ",195,80\r\n", 0)
	if got := string(third.Payload); got != ",195,80\r\n" || third.Seq != begin+13 {
		t.Errorf("%q left at %d", got, third.Seq-begin)
	}
	if got := told(st.records); !slices.Equal(got, []string{"deny kernel_error PORT 10.0.1.2:50000"}) {
		t.Errorf("told %q", got)
	}
	st.stop()
}

// A reset in the midst of a withheld line stands where the receiver takes it.
func TestLaw3ResetInAWithheldLine(t *testing.T) {
	st := loggedIn(t, behindNAT, nil)
	begin := st.c.next
	st.says("C", "PORT 10,0", 0)
	if seg := st.says("C", "", RST); seg.Seq != begin+5 || seg.Flags&RST == 0 || len(seg.Payload) > 0 {
		t.Errorf("%+v, want a reset at %d", seg, begin+5)
	}
	st.stop()
}
