package conntrack

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// simulation is two ends of a control connection with a gateway between them, and
// a network that loses, repeats and reorders on both of its sides.
type simulation struct {
	rand   *rand.Rand
	now    int64 // ms
	events events
	faults []string

	client, server *tcpEnd
	c, s           netip.AddrPort
	translation    Translation
	loss, twice    float64
	spread         int64 // of delays: reordering
	gate           *gate
}

type event struct {
	at, n int64
	do    func()
}

type events struct {
	list []event
	n    int64
}

func (e *events) Len() int { return len(e.list) }
func (e *events) Less(i, j int) bool {
	return e.list[i].at < e.list[j].at || e.list[i].at == e.list[j].at && e.list[i].n < e.list[j].n
}
func (e *events) Swap(i, j int) { e.list[i], e.list[j] = e.list[j], e.list[i] }
func (e *events) Push(x any)    { e.list = append(e.list, x.(event)) }
func (e *events) Pop() any {
	last := e.list[len(e.list)-1]
	e.list = e.list[:len(e.list)-1]
	return last
}

func (sim *simulation) at(when int64, do func()) {
	sim.events.n++
	heap.Push(&sim.events, event{when, sim.events.n, do})
}

func (sim *simulation) fault(format string, args ...any) {
	if len(sim.faults) < 10 {
		sim.faults = append(sim.faults, fmt.Sprintf("%d ms: ", sim.now)+fmt.Sprintf(format, args...))
	}
}

// run lets time pass until both ends are done, and reports whether they are.
func (sim *simulation) run() bool {
	const patience, storm = 600_000, 50_000
	for sim.events.Len() > 0 && sim.now < patience && len(sim.faults) == 0 {
		e := heap.Pop(&sim.events).(event)
		sim.now = e.at
		e.do()
		if sim.events.n > storm {
			sim.fault("a storm of packets")
		}
		if sim.client.done() && sim.server.done() {
			return true
		}
	}
	return false
}

// travel carries a packet over one side of the network.
func (sim *simulation) travel(p *wirePacket, to func(*wirePacket)) {
	for range 2 {
		if sim.rand.Float64() >= sim.loss {
			copied := *p
			sim.at(sim.now+1+sim.rand.Int64N(sim.spread), func() { to(&copied) })
		}
		if sim.rand.Float64() >= sim.twice {
			return
		}
	}
}

// gate is the gateway: the kernel's conntrack and the daemon.
type gate struct {
	sim      *simulation
	tracker  *Tracker
	alive    bool
	lives    int
	kept     []byte // what a next daemon finds
	queued   bool   // the session's packets come by, whatever happens
	fails    float64
	slow     bool // what fails may be done nevertheless, too late
	failures int
	done     int64 // when all that was asked for is done
	before   int   // opens of the first life
	records  []Record
	opens    []Pinhole

	holding bool
	pending int
	held    *wirePacket
	behind  []*wirePacket
	track   [2]tracked // client, server
	config  Config
	terms   Terms
}

func (g *gate) clock() time.Time { return testStart.Add(time.Duration(g.sim.now) * time.Millisecond) }

func (g *gate) start() {
	g.tracker = New(g.config, strict{g.terms}, NewQuota(g.config.Limits))
	g.alive = true
	g.lives++
}

// from takes a packet of one of the two ends from the wire.
func (g *gate) from(toServer bool, p *wirePacket) {
	sim := g.sim
	p.Src, p.Dst = sim.translation.Server, sim.translation.Client // as the ends call each other
	wire := p.Packet
	if toServer {
		wire.Src, wire.Dst = sim.c, sim.translation.Server
		p.Src, p.Dst = sim.c, sim.s
	} else {
		wire.Src, wire.Dst = sim.s, sim.translation.Client
		p.Src, p.Dst = sim.s, sim.c
	}
	if g.queued && !g.alive {
		return
	}
	if g.queued {
		if acks := g.tracker.Incoming(&wire); acks != nil {
			p.Ack = acks.Ack(p.Ack)
			var blocks [][2]uint32
			for _, b := range p.sacks {
				if l, r, ok := acks.Sack(b[0], b[1]); ok {
					blocks = append(blocks, [2]uint32{l, r})
				}
			}
			p.sacks = blocks
		}
	}
	g.judge(toServer, p)
	switch {
	case !g.alive:
		g.send(p)
	case g.holding:
		g.behind = append(g.behind, p)
	default:
		g.take(p)
	}
}

func (g *gate) take(p *wirePacket) {
	g.held, g.holding = p, true
	g.do(g.tracker.Packet(g.clock(), &p.Packet))
	g.release()
}

// release lets the packet go for which nothing is awaited any more.
func (g *gate) release() {
	if g.pending > 0 || !g.holding {
		return
	}
	p := g.held
	g.held, g.holding = nil, false
	length := len(p.Payload)
	seg, changed := g.tracker.Outgoing(&p.Packet)
	if changed {
		p.Seq, p.Flags, p.Payload = seg.Seq, seg.Flags, append([]byte(nil), seg.Payload...)
	}
	if len(p.Payload) > max(length, room(&Packet{Dst: p.Dst})) {
		g.sim.fault("a segment of %d bytes left with %d", length, len(p.Payload))
	}
	g.send(p)
	for len(g.behind) > 0 && !g.holding {
		p := g.behind[0]
		g.behind = g.behind[1:]
		g.take(p)
	}
}

func (g *gate) send(p *wirePacket) {
	to := g.sim.client.receive
	if p.Src == g.sim.c {
		to = g.sim.server.receive
	}
	g.sim.travel(p, to)
}

// do carries effects out, each in its time.
func (g *gate) do(effects []Effect) {
	for _, e := range effects {
		switch e.Do {
		case DoRecord:
			g.records = append(g.records, e.Record)
			continue
		case DoOpen:
			g.opens = append(g.opens, e.Record.Pinhole)
		}
		var err error
		// What fails behind the answer to PORT changes no line any more.
		late := e.Do == DoOpen && e.Record.Mode == Active && g.terms.WaitFor2xx
		if (e.Do == DoOpen || e.Do == DoKeep) && !late && g.sim.rand.Float64() < g.fails {
			err = errTest
			g.failures++
		}
		g.done = max(g.done, g.sim.now+g.sim.rand.Int64N(20)) // one after the other
		answered := g.done + g.sim.rand.Int64N(20)
		done := err == nil || g.slow && g.sim.rand.IntN(2) == 0
		if err != nil && done { // too slow: it was given up
			answered = g.sim.now + 10
			g.done += 30
		}
		life := g.lives
		g.sim.at(g.done, func() {
			if done && life == g.lives && g.alive {
				g.carry(e)
			}
		})
		if e.Do == DoForget {
			continue
		}
		g.pending++
		g.sim.at(answered, func() {
			if life == g.lives && g.alive {
				g.pending--
				g.answer(e, err)
				g.release()
			}
		})
	}
}

// carry does in the kernel what was asked for.
func (g *gate) carry(e Effect) {
	switch {
	case e.Do == DoForget:
		g.kept, g.queued = nil, false
	case e.Kept != nil:
		g.queued = true
		g.keep(e.Kept)
	}
}

func (g *gate) keep(k *Kept) {
	var err error
	if g.kept, err = json.Marshal(k); err != nil {
		g.sim.fault("%v", err)
	}
}

func (g *gate) answer(e Effect, err error) {
	r := e.Record
	switch e.Do {
	case DoAsk:
		g.do(g.tracker.Translated(g.clock(), r.Client, r.Server, g.sim.translation, nil))
	case DoOpen:
		g.do(g.tracker.Opened(g.clock(), r.Pinhole.ID, "", err))
	case DoKeep:
		g.do(g.tracker.Kept(g.clock(), e.Kept.Client, e.Kept.Server, err))
	case DoClose:
		g.do(g.tracker.Closed(g.clock(), r.Pinhole.ID, false))
	}
}

// kill ends the daemon: what it held is lost.
func (g *gate) kill() {
	g.alive, g.before = false, len(g.opens)
	g.held, g.holding, g.pending, g.behind = nil, false, 0, nil
}

// restore starts the next daemon.
func (g *gate) restore() {
	g.start()
	var k Kept
	if err := json.Unmarshal(g.kept, &k); err != nil {
		g.sim.fault("%v", err)
		return
	}
	g.do(g.tracker.Restore(g.clock(), &k))
}

// tracked is one direction as the kernel's conntrack sees it (struct
// ip_ct_tcp_state).
type tracked struct {
	end, maxEnd, maxWindow uint32
}

// judge is tcp_in_window of nf_conntrack_proto_tcp.c, without window scaling.
func (g *gate) judge(toServer bool, p *wirePacket) {
	from, to := &g.track[1], &g.track[0]
	if toServer {
		from, to = to, from
	}
	end := p.Seq + uint32(len(p.Payload))
	if p.Flags&FIN != 0 {
		end++
	}
	sack := p.Ack
	for _, b := range p.sacks {
		if before(sack, b[1]) {
			sack = b[1]
		}
	}
	const maxAckWindow = 66000
	back := max(maxAckWindow, from.maxWindow)
	// A packet that the network has kept back while a small window moved on is
	// under the lower bound without any gateway too.
	window := max(to.maxWindow, 4096)
	switch {
	case !before(p.Seq, from.maxEnd+1):
		g.sim.fault("conntrack: sequence number %d over the upper bound %d", p.Seq, from.maxEnd)
	case !before(from.end-window-1, end):
		g.sim.fault("conntrack: data up to %d under the lower bound %d", end, from.end-window)
	case before(to.end, sack):
		g.sim.fault("conntrack: %d is acknowledged, %d was not sent", sack, sack-1)
	case before(sack, to.end-back):
		g.sim.fault("conntrack: %d is acknowledged, %d was sent long ago", sack, to.end)
	}
	from.maxWindow = max(from.maxWindow, p.window+sack-p.Ack)
	if before(from.end, end) {
		from.end = end
	}
	if before(from.maxEnd, end) {
		to.maxWindow += end - from.maxEnd
	}
	if edge := sack + p.window; before(to.maxEnd-1, edge) {
		to.maxEnd = edge
		if p.window == 0 {
			to.maxEnd++
		}
	}
}
