package conntrack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The two ends of the dialogues, and the policy's reasons that the tests use.
var (
	testClient = netip.MustParseAddrPort("10.0.1.2:40000")
	testServer = netip.MustParseAddrPort("10.0.2.2:21")
	testStart  = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
)

var testLimits = Limits{
	LineBytes: 4096, Commands: 64, Pinholes: 64, PinholesPerClient: 16,
	Sessions: 64, SessionsPerClient: 32, HalfOpen: 64,
}

// strict is the policy of law 5.
type strict struct{ terms Terms }

func (p strict) Terms(client, server netip.Addr) Terms { return p.terms }

func (p strict) Decide(r Request) Reason {
	announcer := r.Server.Addr()
	if r.Mode == Active {
		announcer = r.Client.Addr()
	}
	switch {
	case r.Endpoint.Addr() != announcer:
		return "foreign_address"
	case r.Endpoint.Port() < 1024:
		return "privileged_port"
	case r.Endpoint.Port() == r.Server.Port() || r.Endpoint.Port() == 2121,
		r.Endpoint.Port() == 6000 && (r.Mode == Active || r.Inferred):
		return "denied_port"
	}
	return ""
}

// reporter is what *testing.T and *rapid.T have in common.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// kernel stands in for the kernel behind a tracker: it answers at once what
// it is asked, and keeps the records.
type kernel struct {
	tb      reporter
	tracker *Tracker
	quota   *Quota
	now     time.Time
	records []Record

	holes   map[string]Pinhole // that are open
	until   map[string]time.Time
	arrived map[string]bool // a SYN was let through
	latest  Pinhole         // opened last
	fail    bool            // opens fail
	rearmed int             // how often one was armed again
	silent  bool            // answers wait
	waiting []Effect

	translation Translation // of all sessions
	unasked     bool        // asks fail
	unkept      bool        // keeps fail
	kept        []byte      // the session that is kept, as JSON
	forgotten   int         // how often one was to be forgotten
	notes       []Effect    // what was to be remembered
	left        Segment     // how the last packet left
}

func newKernel(tb reporter, change func(*Config, *Terms)) *kernel {
	tb.Helper()
	cfg := Config{Ports: []uint16{21, 2121}, Timeout: 30 * time.Second, TimeoutMax: 300 * time.Second, Limits: testLimits, Seed: 1}
	terms := Terms{LoginRequired: true}
	if change != nil {
		change(&cfg, &terms)
	}
	quota := NewQuota(cfg.Limits)
	return &kernel{
		tb: tb, tracker: New(cfg, strict{terms}, quota), quota: quota, now: testStart,
		holes: make(map[string]Pinhole), until: make(map[string]time.Time), arrived: make(map[string]bool),
	}
}

// do carries effects out and whatever comes of them.
func (k *kernel) do(effects []Effect) {
	queue := append([]Effect(nil), effects...)
	for len(queue) > 0 {
		e := queue[0]
		queue = queue[1:]
		if e.Do == DoRecord {
			k.records = append(k.records, e.Record)
			continue
		}
		if k.silent {
			k.waiting = append(k.waiting, e)
			continue
		}
		// The answer's own effects come next, as they would in the kernel's order.
		queue = append(append([]Effect(nil), k.answer(e)...), queue...)
	}
}

func (k *kernel) answer(e Effect) []Effect {
	h := e.Record.Pinhole
	switch e.Do {
	case DoOpen:
		if k.fail {
			return k.tracker.Opened(k.now, h.ID, "", errors.New("no"))
		}
		if e.Kept != nil {
			if k.unkept {
				return k.tracker.Opened(k.now, h.ID, "", errTest)
			}
			k.keep(e.Kept)
		}
		k.holes[h.ID], k.until[h.ID] = h, k.now.Add(h.Timeout)
		k.latest = h
		return k.tracker.Opened(k.now, h.ID, "", nil)
	case DoClose:
		delete(k.holes, h.ID)
		return k.tracker.Closed(k.now, h.ID, k.arrived[h.ID])
	case DoSeek:
		return k.tracker.Sought(k.now, h.ID, true)
	case DoRearm:
		delete(k.arrived, h.ID)
		k.rearmed++
		k.tracker.Rearmed(h.ID)
		return nil
	case DoLengthen:
		k.lengthen(h)
		return nil
	case DoKill:
		return k.tracker.Killed(k.now, netip.AddrPortFrom(h.Src, h.SrcPort), h.Dst)
	}
	return k.answerTranslated(e)
}

// answerTranslated answers what only translated sessions ask for.
func (k *kernel) answerTranslated(e Effect) []Effect {
	switch e.Do {
	case DoAsk:
		if k.unasked {
			return k.tracker.Translated(k.now, e.Record.Client, e.Record.Server, Translation{}, errTest)
		}
		return k.tracker.Translated(k.now, e.Record.Client, e.Record.Server, k.translation, nil)
	case DoKeep:
		if k.unkept {
			return k.tracker.Kept(k.now, e.Kept.Client, e.Kept.Server, errTest)
		}
		k.keep(e.Kept)
		return k.tracker.Kept(k.now, e.Kept.Client, e.Kept.Server, nil)
	case DoRemember:
		k.notes = append(k.notes, e)
		return nil
	case DoForget:
		k.kept = nil
		k.forgotten++
		return nil
	}
	k.tb.Fatalf("unknown effect %v", e.Do)
	return nil
}

func (k *kernel) keep(kept *Kept) {
	var err error
	if k.kept, err = json.Marshal(kept); err != nil {
		k.tb.Fatalf("%v", err)
	}
}

// lengthen gives a pinhole that waits more time, never more than it had at first.
func (k *kernel) lengthen(h Pinhole) {
	had, waits := k.holes[h.ID]
	waits = waits && !k.arrived[h.ID] && k.now.Before(k.until[h.ID]) && !k.fail
	if waits {
		k.until[h.ID] = k.now.Add(h.Timeout)
	}
	if h.Timeout > had.Timeout && waits {
		k.tb.Errorf("lengthened to %v, opened for %v", h.Timeout, had.Timeout)
	}
	k.tracker.Lengthened(k.now, h.ID, waits)
}

// speak lets a silent kernel answer all that it was asked.
func (k *kernel) speak() {
	k.silent = false
	for _, e := range k.waiting {
		k.do(k.answer(e))
	}
	k.waiting = nil
}

func (k *kernel) packet(p *Packet) {
	k.do(k.tracker.Packet(k.now, p))
	k.left = k.leaves(p)
}

// leaves says how a packet leaves whose turn has come.
func (k *kernel) leaves(p *Packet) Segment {
	if seg, changed := k.tracker.Outgoing(p); changed {
		seg.Payload = bytes.Clone(seg.Payload)
		return seg
	}
	return Segment{p.Seq, p.Flags, p.Urgent, p.Payload}
}

// wait lets time pass, with the ticks that belong to it.
func (k *kernel) wait(d time.Duration) {
	for end := k.now.Add(d); k.now.Before(end); {
		step := min(250*time.Millisecond, end.Sub(k.now))
		k.now = k.now.Add(step)
		for id := range k.holes {
			if k.arrived[id] {
				k.do(k.tracker.Arrived(k.now, id))
			}
		}
		k.do(k.tracker.Tick(k.now))
		for id := range k.holes { // the tracker lets go before the kernel does
			if !k.now.Before(k.until[id]) && !k.silent && !k.arrived[id] {
				k.tb.Errorf("the kernel let go of %s", id)
				delete(k.holes, id)
			}
		}
	}
}

// stop ends everything and looks for what is left.
func (k *kernel) stop() {
	k.tb.Helper()
	k.do(k.tracker.Stop(k.now, Stopped))
	t := k.tracker
	if len(t.sessions)+len(t.channels)+len(t.holes)+len(t.flows)+len(t.refusals.clients) != 0 {
		k.tb.Errorf("left after the end: %d sessions, %d channels, %d holes, %d flows, %d refused clients",
			len(t.sessions), len(t.channels), len(t.holes), len(t.flows), len(t.refusals.clients))
	}
	if q := k.quota; q.sessions != 0 || q.pinholes != 0 || len(q.clients) != 0 {
		k.tb.Errorf("quota left after the end: %d sessions, %d pinholes, %d clients", q.sessions, q.pinholes, len(q.clients))
	}
	checkTrail(k.tb, k.records)
}

// checkTrail holds the records against law 7: each open has exactly one close
// and at most one use before it, each start one end.
func checkTrail(tb reporter, records []Record) {
	tb.Helper()
	const (
		unknown = iota
		opened
		used
		closed
	)
	holes := make(map[string]int)
	sessions := make(map[uint64]int)
	for _, r := range records {
		id, was := r.Pinhole.ID, holes[r.Pinhole.ID]
		switch {
		case r.Action == Open && was == unknown:
			holes[id] = opened
		case r.Action == Use && was == opened:
			holes[id] = used
		case r.Action == Close && (was == opened || was == used):
			holes[id] = closed
		case r.Action == Start && sessions[r.FlowID] == unknown:
			sessions[r.FlowID] = opened
		case r.Action == End && sessions[r.FlowID] == opened:
			sessions[r.FlowID] = closed
		case r.Action == Deny && r.Reason != "":
		default:
			tb.Errorf("record out of place: %v", short(r))
		}
	}
	for id, state := range holes {
		if state != closed {
			tb.Errorf("pinhole %s was never closed", id)
		}
	}
	for id, state := range sessions {
		if state != closed {
			tb.Errorf("session %x never ended", id)
		}
	}
}

// end is one side of a control connection.
type side struct {
	addr  netip.AddrPort
	next  uint32 // sequence number of its next byte
	acked uint32 // what it has heard of the other side
}

// stage plays the dialogue of one control connection.
type stage struct {
	*kernel
	c, s side
}

func newStage(k *kernel, client, server netip.AddrPort) *stage {
	return &stage{kernel: k, c: side{addr: client, next: 1000}, s: side{addr: server, next: 0xffffff00}}
}

// shake plays the handshake.
func (st *stage) shake() {
	st.packet(&Packet{Src: st.c.addr, Dst: st.s.addr, Seq: st.c.next, Flags: SYN})
	st.c.next++
	st.packet(&Packet{Src: st.s.addr, Dst: st.c.addr, Seq: st.s.next, Ack: st.c.next, Flags: SYN | ACK})
	st.s.next++
	st.s.acked, st.c.acked = st.c.next, st.s.next
	st.ack(&st.c, &st.s)
}

// ack lets from acknowledge all that to has sent.
func (st *stage) ack(from, to *side) {
	from.acked = to.next
	st.packet(&Packet{Src: from.addr, Dst: to.addr, Seq: from.next, Ack: from.acked, Flags: ACK})
}

// send sends one segment, which the other side acknowledges.
func (st *stage) send(from, to *side, data string, flags Flags) {
	st.packet(&Packet{
		Src: from.addr, Dst: to.addr, Seq: from.next, Ack: from.acked,
		Flags: ACK | flags, Payload: []byte(data),
	})
	st.unseen(from, to, data)
	if flags&FIN != 0 {
		from.next++
	}
	if left := st.left; flags&RST == 0 {
		st.ack(to, from)
		st.left = left
	}
}

// unseen lets bytes pass that the tracker does not see.
func (st *stage) unseen(from, to *side, data string) {
	from.next += uint32(len(data))
	to.acked = from.next
}

// sides says who speaks, and to whom.
func (st *stage) sides(who string) (from, to *side) {
	if strings.HasPrefix(who, "C") {
		return &st.c, &st.s
	}
	return &st.s, &st.c
}

// play plays a script:
//
//	C: PASV            the client sends the line, CR LF added
//	S: "229 x\n"       the server sends exactly these bytes, written as in Go
//	C: PASV | RETR a   lines in one segment
//	C! PASV            what passes unseen
//	login              220, USER u, 331, PASS secret, 230
//	use 50001          the data connection comes from this port, to the latest pinhole
//	established, ended what happens to it then
//	arrived            a SYN was let through the latest pinhole; no connection follows
//	wait 31s
//	C FIN, S RST       TCP's own words
//	C early NOOP       the client sends the line, and the server has not got it yet
//	gone               conntrack has forgotten the session
//	gone for good      and nothing came of it since
//	join               the handshake was not seen
func (st *stage) play(script string) {
	st.tb.Helper()
	for _, line := range strings.Split(strings.TrimSpace(script), "\n") {
		line = strings.TrimSpace(line)
		if len(line) > 1 && (line[1] == ':' || line[1] == '!') {
			from, to := st.sides(line)
			data := wire(strings.TrimPrefix(line[2:], " "))
			if line[1] == '!' {
				st.unseen(from, to, data)
				continue
			}
			st.send(from, to, data, 0)
			continue
		}
		st.stageDirection(strings.Fields(line))
	}
}

// wire turns the text of a script into bytes.
func wire(text string) string {
	if raw, err := strconv.Unquote(text); err == nil {
		return raw
	}
	var b strings.Builder
	for _, l := range strings.Split(text, " | ") {
		b.WriteString(l + "\r\n")
	}
	return b.String()
}

func (st *stage) stageDirection(words []string) {
	st.tb.Helper()
	if len(words) == 0 {
		return
	}
	src := netip.AddrPortFrom(st.latest.Src, 50001)
	switch words[0] {
	case "login":
		st.play("S: 220 ready\nC: USER u\nS: 331 password\nC: PASS secret\nS: 230 in")
	case "use":
		port, err := strconv.ParseUint(words[1], 10, 16)
		if err != nil {
			st.tb.Fatalf("script: %v", err)
		}
		st.latest.SrcPort = uint16(port)
		st.do(st.tracker.Used(st.now, netip.AddrPortFrom(src.Addr(), uint16(port)), st.latest.Dst))
	case "established":
		st.tracker.Established(netip.AddrPortFrom(src.Addr(), st.latest.SrcPort), st.latest.Dst)
	case "ended":
		st.do(st.tracker.Ended(st.now, netip.AddrPortFrom(src.Addr(), st.latest.SrcPort), st.latest.Dst, true, 10, 20))
	case "arrived":
		st.arrived[st.latest.ID] = true
		st.do(st.tracker.Arrived(st.now, st.latest.ID))
	case "fail":
		st.fail = true
	case "silent":
		st.silent = true
	case "speak":
		st.speak()
	case "wait":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			st.tb.Fatalf("script: %v", err)
		}
		st.wait(d)
	case "C", "S":
		from, to := st.sides(words[0])
		if words[1] == "early" { // what the other side has not got yet
			line := words[2] + "\r\n"
			st.packet(&Packet{Src: from.addr, Dst: to.addr, Seq: from.next, Ack: from.acked, Flags: ACK, Payload: []byte(line)})
			from.next += uint32(len(line))
			return
		}
		flag := FIN
		if words[1] == "RST" {
			flag = RST
		}
		st.send(from, to, "", flag)
	case "gone":
		st.do(st.tracker.Gone(st.now, st.c.addr, st.s.addr, Vanished))
		if len(words) > 1 {
			st.now = st.now.Add(lapsedFor)
			st.do(st.tracker.Tick(st.now))
		}
	default:
		st.tb.Fatalf("script: %q", words)
	}
}

// short is a record in few words.
func short(r Record) string {
	words := []string{[...]string{"", "open", "use", "close", "deny", "start", "end"}[r.Action]}
	add := func(s string) {
		if s != "" {
			words = append(words, s)
		}
	}
	add(string(r.Reason))
	if r.Action == Start || r.Action == End {
		return strings.Join(words, " ")
	}
	add(r.Command)
	if r.Action == Open || r.Action == Deny && r.Pinhole.Dst.IsValid() {
		add(r.Pinhole.Dst.String())
	} else if r.Pinhole.Dst.IsValid() {
		add(fmt.Sprint(r.Pinhole.Dst.Port()))
	}
	if r.Count > 1 {
		add(fmt.Sprintf("x%d", r.Count))
	}
	return strings.Join(words, " ")
}

// told is what the records say in short, without starts and ends.
func told(records []Record) []string {
	var list []string
	for _, r := range records {
		if r.Action != Start && r.Action != End {
			list = append(list, short(r))
		}
	}
	return list
}

// dialogue is a row of a table: a script and what is to be told of it.
type dialogue struct {
	name   string
	script string
	want   string // one short record a line
	change func(*Config, *Terms)
}

// perform plays a dialogue and compares what it told with what is wanted.
func perform(t *testing.T, d dialogue) *stage {
	t.Helper()
	k := newKernel(t, func(c *Config, terms *Terms) {
		c.Join = func(client, server netip.AddrPort) bool { return true }
		if d.change != nil {
			d.change(c, terms)
		}
	})
	st := newStage(k, testClient, testServer)
	script := strings.TrimSpace(d.script)
	if rest, joined := strings.CutPrefix(script, "join"); joined {
		script = rest
		st.c.acked, st.s.acked = st.s.next, st.c.next
	} else {
		st.shake()
	}
	st.play(script)
	if diff := cmp.Diff(lines(d.want), told(st.records)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	st.stop()
	return st
}

func lines(s string) []string {
	var list []string
	for _, l := range strings.Split(s, "\n") {
		if l = strings.TrimSpace(l); l != "" {
			list = append(list, l)
		}
	}
	return list
}

func performAll(t *testing.T, table []dialogue) {
	t.Helper()
	for _, d := range table {
		t.Run(d.name, func(t *testing.T) { perform(t, d) })
	}
}
