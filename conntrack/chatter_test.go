package conntrack

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// spoken is one line of a dialogue, and what the other side is to read.
type spoken struct {
	before, tuple, after string
	// names is the port that the line names as an endpoint of its side, 0 if none.
	names uint16
	kind  string // PORT, EPRT, 227 or 229
	own   bool   // the address is the one that has to be rewritten
}

func (l spoken) text() string { return l.before + l.tuple + l.after }

// chatter makes the two programs of a simulation speak FTP.
type chatter struct {
	sim   *simulation
	rand  *rand.Rand
	terms Terms
	v6    bool
	port  uint16 // named last

	said      [2][]spoken // client, server
	until     [2]int64    // when all of it is written
	line      []byte      // of the client, as the server reads it
	reply     []byte      // of the server, as the client reads it
	block     string
	turns     int
	asked     int
	answers   int
	lastWords bool
}

func (c *chatter) nextPort() uint16 {
	c.port += uint16(1 + c.rand.IntN(40))
	return c.port
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// say writes lines to one end, cut anywhere, with pauses between the pieces.
func (c *chatter) say(to int, lines ...spoken) {
	e := [2]*tcpEnd{c.sim.client, c.sim.server}[to]
	var text string
	for _, l := range lines {
		c.said[to] = append(c.said[to], l)
		text += l.text()
	}
	when := max(c.sim.now, c.until[to])
	for len(text) > 0 {
		n := len(text)
		if c.rand.IntN(3) == 0 {
			n = 1 + c.rand.IntN(n)
		}
		piece := text[:n]
		text = text[n:]
		c.sim.at(when, func() { e.write([]byte(piece)) })
		when += pick(c.rand, int64(0), 1, 30, 300)
	}
	c.until[to] = when
	if to == 1 && c.lastWords || to == 0 && strings.HasPrefix(lines[0].before, "QUIT") && c.rand.IntN(4) == 0 {
		c.sim.at(when, e.close)
	}
}

// hostPort writes an endpoint in the form that a line has it.
func hostPort(kind, delim string, a netip.Addr, port uint16) string {
	switch kind {
	case "EPRT":
		family := "1"
		if a.Is6() {
			family = "2"
		}
		return strings.Join([]string{"", family, a.String(), strconv.Itoa(int(port)), ""}, delim)
	case "229":
		return strings.Join([]string{"", "", "", strconv.Itoa(int(port)), ""}, delim)
	}
	return fmt.Sprintf("%s,%d,%d", strings.ReplaceAll(a.String(), ".", ","), port>>8, port&0xff)
}

func (c *chatter) ending() string { return pick(c.rand, "\r\n", "\r\n", "\r\n", "\n", "\r\r\n") }

// command is what the client may say when it is logged in.
func (c *chatter) command() spoken {
	word := pick(c.rand, "PORT", "PORT", "EPRT", "EPRT", "PASV", "EPSV", "PASV", "EPSV", "odd")
	if c.v6 {
		word = strings.NewReplacer("PORT", "EPRT", "PASV", "EPSV").Replace(word)
	}
	switch word {
	case "PASV", "EPSV":
		return spoken{before: word + c.ending()}
	case "odd":
		return spoken{before: pick(c.rand,
			"NOOP", "LIST", "", "RETR a b", "STAT", "PORT", "PORT ", "EPRT |1|", "PORT 10,9,9,9,195,80", "EPRT |1|10.9.9.9|50000|",
			"PORT 1,2", "PORT "+strings.Repeat("7", 700), "\xff\xf4\xff\xf2ABOR", "227 hello", "PORT abc",
			"port "+strings.Repeat(" ", 400)) + c.ending()}
	}
	l := spoken{kind: word, names: c.nextPort(), own: true, after: c.ending()}
	l.before = pick(c.rand, word+" ", strings.ToLower(word)+" ", " "+word+"\t ")
	l.tuple = hostPort(word, pick(c.rand, "|", "!"), c.sim.c.Addr(), l.names)
	if word == "PORT" {
		l.tuple = pick(c.rand, l.tuple, strings.ReplaceAll(l.tuple, ",", " , "))
	}
	if c.rand.IntN(20) == 0 { // telnet's bytes are not for rewriting
		l.after = "\x00" + l.after
		l.own = false
	}
	return l
}

// answer is what the server says to a line.
func (c *chatter) answer(text string) []spoken {
	plain := func(s string) []spoken { return []spoken{{before: s}} }
	words := strings.Fields(strings.ToUpper(text))
	if len(words) == 0 {
		return plain("500 what\r\n")
	}
	if strings.HasSuffix(words[0], "ABOR") {
		return plain("225 nothing\r\n")
	}
	switch words[0] {
	case "USER":
		return plain("331 more\r\n")
	case "PASS":
		return plain("230 in\r\n")
	case "QUIT":
		c.lastWords = true
		return plain("221 bye\r\n")
	case "RETR", "LIST":
		return plain("150 coming\r\n226 done\r\n")
	case "STAT":
		return plain("213-list\r\n227 Entering (10,0,2,2,195,80)\r\n 213 x\r\n213 end\r\n")
	case "PASV":
		return c.entering("227")
	case "EPSV":
		return c.entering("229")
	case "PORT", "EPRT":
		return plain(pick(c.rand, "200 ok", "200 ok", "500 no") + "\r\n")
	}
	return plain(pick(c.rand, "200 ok", "502 what") + "\r\n")
}

func (c *chatter) entering(code string) []spoken {
	l := spoken{kind: code, names: c.nextPort(), own: true}
	l.before = code + pick(c.rand, " Entering Passive Mode (", " (", " ok 7 (")
	l.after = pick(c.rand, ")", ").", ")   ", ").  ", ") and so on ...") + pick(c.rand, "\r\n", "\n")
	addr := c.sim.s.Addr()
	if code == "227" && c.terms.PasvPeer && c.rand.IntN(2) == 0 {
		addr = netip.MustParseAddr(pick(c.rand, "0.0.0.0", "192.168.100.200", "10.1.1.1"))
	}
	l.tuple = hostPort(code, pick(c.rand, "|", "!"), addr, l.names)
	if c.rand.IntN(4) == 0 {
		l.before = code + "-first\r\n " + code + " second\r\n" + l.before
	}
	return []spoken{l}
}

// heardByServer reads the client's bytes.
func (c *chatter) heardByServer(b []byte) {
	c.line = append(c.line, b...)
	for {
		at := bytes.IndexByte(c.line, '\n')
		if at < 0 {
			return
		}
		text := string(c.line[:at])
		c.line = c.line[at+1:]
		c.say(1, c.answer(text)...)
	}
}

// heardByClient reads the server's bytes, and speaks when all is answered.
func (c *chatter) heardByClient(b []byte) {
	c.reply = append(c.reply, b...)
	for {
		at := bytes.IndexByte(c.reply, '\n')
		if at < 0 {
			break
		}
		text := string(c.reply[:at])
		c.reply = c.reply[at+1:]
		switch code := text[:min(3, len(text))]; {
		case c.block != "":
			if strings.HasPrefix(text, c.block+" ") {
				c.block = ""
				c.answers++
			}
		case strings.HasPrefix(text, code+"-"):
			c.block = code
		case code != "150":
			c.answers++
		}
		if strings.HasPrefix(text, "221") {
			c.sim.client.close()
			return
		}
	}
	if c.answers == c.asked+1 {
		c.turn()
	}
}

// turn is the client's next words.
func (c *chatter) turn() {
	var lines []spoken
	switch c.turns--; {
	case c.asked == 0:
		lines = []spoken{{before: "USER u\r\n"}}
	case c.asked == 1:
		lines = []spoken{{before: "PASS p\r\n"}}
	case c.turns <= 0:
		lines = []spoken{{before: "QUIT\r\n"}}
	default:
		for range 1 + c.rand.IntN(3) {
			lines = append(lines, c.command())
		}
	}
	c.asked += len(lines)
	c.say(0, lines...)
}

// reads reports whether the other side has read what it was to read: all lines
// as they were said, and the endpoints in them rewritten. refused says of a port
// that its line had to stay as it was, either that it may have.
func (c *chatter) reads(side int, got string, refused, either func(port uint16) bool, outside func(port uint16) uint16) (want string, ok bool) {
	for _, l := range c.said[side] {
		text := c.rewritten(side, l, outside)
		if refused(l.names) || either(l.names) && strings.HasPrefix(got[min(len(want), len(got)):], l.text()) {
			text = l.text()
		}
		want += text
	}
	return want, got == want
}

// rewritten is how a line leaves: it knows nothing of packets.
func (c *chatter) rewritten(side int, l spoken, outside func(port uint16) uint16) string {
	tr, own := c.sim.translation, c.sim.c.Addr()
	outer := tr.Client.Addr()
	if side == 1 {
		own, outer = c.sim.s.Addr(), tr.Server.Addr()
	}
	named := own
	if l.kind == "227" {
		named = netip.MustParseAddr(strings.Join(strings.Split(l.tuple, ",")[:4], "."))
	}
	port := outside(l.names)
	if l.names == 0 || !l.own || (named == outer || l.kind == "229") && port == l.names {
		return l.text()
	}
	tuple := hostPort(l.kind, l.tuple[:1], outer, port)
	after := strings.TrimRight(l.after, "\r\n")
	end := l.after[len(after):]
	if side == 1 {
		switch more := len(tuple) - len(l.tuple); {
		case more < 0:
			after += strings.Repeat(" ", -more)
		case len(after)-len(strings.TrimRight(after, " .")) >= more:
			after = after[:len(after)-more]
		}
	}
	return l.before + tuple + after + end
}

// newSimulation draws two ends, a network and a gateway between them.
func newSimulation(r *rand.Rand) (*simulation, *chatter) {
	addr := func(list ...string) netip.Addr { return netip.MustParseAddr(pick(r, list...)) }
	sim := &simulation{rand: r, loss: pick(r, 0, 0.02, 0.15), twice: pick(r, 0, 0.1), spread: pick(r, int64(1), 10, 80)}
	c := &chatter{sim: sim, rand: r, turns: 4 + r.IntN(8), port: 20000, v6: r.IntN(4) == 0}
	c.terms = Terms{LoginRequired: true, WaitFor2xx: r.IntN(6) == 0, PasvPeer: r.IntN(4) == 0}
	client, server := addr("10.0.1.2", "1.1.1.1", "192.168.100.200"), addr("10.0.2.2", "2.2.2.2", "192.168.200.100")
	if c.v6 {
		client, server = addr("fd00::1", "2001:db8:1:2:3:4:5:6"), addr("fd00::2", "2001:db8:1:2:3:4:5:7")
	}
	sim.c, sim.s = netip.AddrPortFrom(client, 40000), netip.AddrPortFrom(server, 21)
	sim.translation = Translation{Client: sim.c, Server: sim.s}
	if r.IntN(5) != 0 {
		outer := addr("203.0.113.200", "8.8.8.8", "100.64.11.1")
		if c.v6 {
			outer = addr("fd01::1", "2001:db8:9:9:9:9:9:9")
		}
		sim.translation.Client = netip.AddrPortFrom(outer, 61000)
	}
	if r.IntN(5) != 0 {
		outer := addr("203.0.113.201", "9.9.9.9", "100.64.11.2")
		if c.v6 {
			outer = addr("fd01::2", "2001:db8:9:9:9:9:9:a")
		}
		sim.translation.Server = netip.AddrPortFrom(outer, pick(r, uint16(21), 2121))
	}
	draw := func() habits {
		h := habits{
			mss: pick(r, 1460, 536, 100), buffer: 65535,
			nagle: r.IntN(2) == 0, sack: r.IntN(2) == 0, delayed: r.IntN(2) == 0, ragged: r.IntN(2) == 0,
		}
		if h.lazy = r.IntN(4) == 0; h.lazy {
			h.buffer = pick(r, 600, 3000)
		}
		return h
	}
	isns := []uint32{1000, 0xffffffff, 0xfffffff0, 0xffffff80, 0xfffffe00, 0x7fffffc0}
	sim.client = &tcpEnd{habits: draw(), sim: sim, rand: r, app: c.heardByClient, ahead: make(map[uint32]byte)}
	sim.server = &tcpEnd{habits: draw(), sim: sim, rand: r, app: c.heardByServer, ahead: make(map[uint32]byte)}
	sim.gate = &gate{sim: sim, terms: c.terms, config: Config{
		Ports: []uint16{21}, Timeout: 30 * time.Second, Limits: testLimits, Seed: r.Uint64(),
		Translate: true, Outside: NewOutside(49152, 65535),
	}}
	if !c.terms.WaitFor2xx { // or the port of a line that opens nothing would not be known
		sim.crowd()
	}
	sim.gate.start()
	sim.client.out = func(p *wirePacket) { sim.travel(p, func(p *wirePacket) { sim.gate.from(true, p) }) }
	sim.server.out = func(p *wirePacket) { sim.travel(p, func(p *wirePacket) { sim.gate.from(false, p) }) }
	sim.shake(pick(r, isns...), pick(r, isns...))
	var tick func()
	tick = func() {
		if sim.gate.alive {
			sim.gate.do(sim.gate.tracker.Tick(sim.gate.clock()))
		}
		sim.at(sim.now+1000, tick)
	}
	sim.at(1000, tick)
	sim.at(100, func() { c.say(1, spoken{before: "220 ready\r\n"}) })
	return sim, c
}

// crowd lets others have some of the outside ports.
func (sim *simulation) crowd() {
	other := netip.MustParseAddrPort("192.0.2.1:1")
	for port := uint16(20000); port < 21000; port += uint16(1 + sim.rand.IntN(8)) {
		for _, k := range []outsideKey{
			{sim.s.Addr(), netip.AddrPortFrom(sim.translation.Client.Addr(), port)},
			{sim.c.Addr(), netip.AddrPortFrom(sim.translation.Server.Addr(), port)},
		} {
			sim.gate.config.Outside.take(k, other)
		}
	}
}

// shake plays the handshake, without losses.
func (sim *simulation) shake(clientISN, serverISN uint32) {
	c, s, g := sim.client, sim.server, sim.gate
	c.una, c.nxt, c.highest, c.next, c.window = clientISN+1, clientISN+1, clientISN+1, serverISN+1, uint32(s.buffer)
	s.una, s.nxt, s.highest, s.next, s.window = serverISN+1, serverISN+1, serverISN+1, clientISN+1, uint32(c.buffer)
	g.track = [2]tracked{
		{c.next0(), clientISN + 1 + uint32(s.buffer), uint32(c.buffer)},
		{s.next0(), serverISN + 1 + uint32(c.buffer), uint32(s.buffer)},
	}
	g.do(g.tracker.Packet(g.clock(), &Packet{Src: sim.c, Dst: sim.s, Seq: clientISN, Flags: SYN}))
	g.do(g.tracker.Packet(g.clock(), &Packet{Src: sim.s, Dst: sim.c, Seq: serverISN, Ack: clientISN + 1, Flags: SYN | ACK}))
	p := c.packet(c.nxt)
	p.Src, p.Dst = sim.c, sim.s
	g.take(p)
}

func (e *tcpEnd) next0() uint32 { return e.una }

// verdict compares what was read with what was to be read.
func (c *chatter) verdict(finished bool) []string {
	sim, killed := c.sim, c.sim.gate.lives > 1
	faults := slices.Clone(sim.faults)
	if !finished && len(faults) == 0 {
		faults = append(faults, fmt.Sprintf("not finished after %d ms", sim.now))
	}
	refused, outside := make(map[uint16]bool), make(map[uint16]uint16)
	for _, r := range sim.gate.records {
		if r.Action == Deny && r.Reason != "foreign_address" {
			refused[r.Pinhole.Dst.Port()] = true
			if r.Reason != Malformed && (r.Reason != KernelError || sim.gate.failures == 0) && !killed {
				faults = append(faults, "refused: "+short(r))
			}
		}
	}
	for _, h := range sim.gate.opens {
		if o := h.Outside; o.IsValid() {
			outside[h.Dst.Port()] = o.Port()
			if o.Port() != h.Dst.Port() && o.Port() < 49152 {
				faults = append(faults, fmt.Sprintf("%v is no port of the range", o))
			}
		}
	}
	for side, e := range []*tcpEnd{sim.server, sim.client} {
		want, ok := c.reads(side, string(e.read),
			func(p uint16) bool { return refused[p] && !killed },
			func(uint16) bool { return killed }, // what is read around its death, the daemon may not know
			func(p uint16) uint16 { return cmp.Or(outside[p], p) })
		if finished && !ok {
			faults = append(faults, fmt.Sprintf("side %d:\nread %q\nwant %q", side, e.read, want))
		}
	}
	return faults
}
