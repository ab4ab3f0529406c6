package conntrack

import (
	"math/rand/v2"
	"slices"
)

// wirePacket is a packet of the simulated network.
type wirePacket struct {
	Packet
	window uint32
	sacks  [][2]uint32
}

// habits are how a simulated end uses TCP.
type habits struct {
	mss     int
	buffer  int  // receive buffer
	nagle   bool // RFC 9293 3.7.4
	sack    bool // RFC 2018
	delayed bool // RFC 9293 3.8.6.3
	lazy    bool // reads late, so that the window closes
	ragged  bool // segments of any size, also when sent again
}

// end is one end of a simulated TCP connection (RFC 9293), from its
// established state on. It is strict: whatever it is told is believed, and what
// cannot be is a fault.
type tcpEnd struct {
	habits
	sim  *simulation
	rand *rand.Rand
	out  func(*wirePacket)
	app  func(data []byte) // reads what comes

	una, nxt, highest uint32 // sent and not acknowledged, to be sent, sent at all
	pending           []byte // from una on
	window            uint32 // of the other end
	closing, finSent  bool
	finSeq            uint32
	sacked            [][2]uint32
	duplicates        int
	backoff           int64
	timer             int64 // when the oldest is sent again; 0 if none waits

	next     uint32 // expected
	ahead    map[uint32]byte
	finAt    uint32
	finHeard bool
	finished bool // FIN was read
	unread   int
	readAt   int64 // when the application reads, if it is lazy
	toAck    int
	ackTimer int64
	twice    [][2]uint32 // came again (RFC 2883)
	written  []byte      // all that the application wrote, and read
	read     []byte
}

const (
	leastTimeout = 200
	ackDelay     = 40
)

// write takes what the application says.
func (e *tcpEnd) write(b []byte) {
	e.written = append(e.written, b...)
	e.pending = append(e.pending, b...)
	e.push()
}

func (e *tcpEnd) close() {
	e.closing = true
	e.push()
}

// done reports whether both directions have ended.
func (e *tcpEnd) done() bool { return e.finSent && e.una == e.finSeq+1 && e.finished }

// push sends what may be sent.
func (e *tcpEnd) push() {
	for {
		e.skipSacked()
		flight := e.nxt - e.una
		rest := 0
		if int(flight) < len(e.pending) {
			rest = len(e.pending) - int(flight)
		}
		room := max(int(e.window)-int(flight), 0)
		n := min(rest, e.mss, room)
		for _, b := range e.sacked {
			if before(e.nxt, b[0]) {
				n = min(n, int(b[0]-e.nxt))
			}
		}
		last := n == rest && e.closing
		fresh := !before(e.nxt, e.highest)
		switch {
		case n == 0 && rest > 0, n == 0 && !last, n == 0 && e.finSent && !before(e.nxt, e.finSeq+1):
			e.arm()
			return
		case fresh && e.nagle && n < e.mss && flight > 0 && !last:
			return
		}
		if e.ragged && n > 1 && e.rand.IntN(2) == 0 {
			n, last = 1+e.rand.IntN(n-1), false
		}
		e.segment(e.nxt, n, last)
		e.nxt += uint32(n)
		if last {
			e.nxt++
		}
		if before(e.highest, e.nxt) {
			e.highest = e.nxt
		}
		e.arm()
	}
}

func (e *tcpEnd) skipSacked() {
	for _, b := range e.sacked {
		if !before(e.nxt, b[0]) && before(e.nxt, b[1]) {
			e.nxt = b[1]
		}
	}
}

func (e *tcpEnd) segment(seq uint32, n int, fin bool) {
	p := e.packet(seq)
	at := seq - e.una
	p.Payload = slices.Clone(e.pending[at : int(at)+n])
	if fin {
		p.Flags |= FIN
		e.finSent, e.finSeq = true, seq+uint32(n)
	}
	e.out(p)
}

func (e *tcpEnd) packet(seq uint32) *wirePacket {
	e.toAck, e.ackTimer = 0, 0
	p := &wirePacket{window: uint32(e.space())}
	p.Seq, p.Ack, p.Flags = seq, e.next, ACK
	if e.sack {
		p.sacks = append(e.twice, e.blocks()...)
		e.twice = nil
	}
	return p
}

func (e *tcpEnd) space() int { return max(e.buffer-e.unread, 0) }

// blocks are what came ahead of its turn, at most three.
func (e *tcpEnd) blocks() [][2]uint32 {
	var at []uint32
	for n := range e.ahead {
		at = append(at, n)
	}
	slices.SortFunc(at, func(a, b uint32) int { return int(int32(a - b)) })
	var list [][2]uint32
	for _, n := range at {
		if k := len(list); k > 0 && list[k-1][1] == n {
			list[k-1][1]++
			continue
		}
		list = append(list, [2]uint32{n, n + 1})
	}
	return list[:min(len(list), 3)]
}

func (e *tcpEnd) ack() { e.out(e.packet(e.nxt)) }

// arm sets the timer if something waits for its acknowledgement, or for room.
func (e *tcpEnd) arm() {
	if e.timer != 0 || e.nxt == e.una && (len(e.pending) == 0 || e.window > 0) {
		return
	}
	e.backoff = max(e.backoff, leastTimeout)
	e.timer = e.sim.now + e.backoff
	e.sim.at(e.timer, e.expire)
}

func (e *tcpEnd) expire() {
	if e.timer != e.sim.now {
		return
	}
	e.timer = 0
	if e.nxt == e.una && len(e.pending) == 0 {
		return
	}
	e.backoff = min(2*e.backoff, 8*leastTimeout)
	e.nxt, e.duplicates = e.una, 0
	if e.window == 0 && len(e.pending) > 0 { // is there room by now?
		e.segment(e.una, 1, false)
		e.nxt++
		if before(e.highest, e.nxt) {
			e.highest = e.nxt
		}
	}
	e.push()
	e.arm()
}

// receive takes a packet.
func (e *tcpEnd) receive(p *wirePacket) {
	length := uint32(len(p.Payload))
	if p.Flags&FIN != 0 {
		length++
	}
	edge := e.next + uint32(e.space())
	inside := func(n uint32) bool { return !before(n, e.next) && before(n, edge) }
	ok := p.Seq == e.next || inside(p.Seq)
	if length > 0 {
		ok = inside(p.Seq) || inside(p.Seq+length-1)
	}
	if !ok {
		e.ack()
		return
	}
	e.acknowledged(p, length)
	if length == 0 {
		return
	}
	if n := uint32(len(p.Payload)); n > 0 && !before(e.next, p.Seq+n) {
		e.twice = [][2]uint32{{p.Seq, p.Seq + n}}
	}
	for i, b := range p.Payload {
		if n := p.Seq + uint32(i); inside(n) {
			if was, have := e.ahead[n]; have && was != b {
				e.sim.fault("byte %d came as %q and as %q", n, was, b)
			}
			e.ahead[n] = b
		}
	}
	if p.Flags&FIN != 0 {
		if at := p.Seq + length - 1; e.finHeard && at != e.finAt {
			e.sim.fault("FIN came at %d and at %d", e.finAt, at)
		} else {
			e.finHeard, e.finAt = true, at
		}
	}
	e.deliver(p)
}

// deliver hands to the application what stands in order.
func (e *tcpEnd) deliver(p *wirePacket) {
	var data []byte
	for {
		b, ok := e.ahead[e.next]
		if !ok {
			break
		}
		delete(e.ahead, e.next)
		data = append(data, b)
		e.next++
	}
	if e.finHeard && !e.finished && e.next == e.finAt {
		if len(e.ahead) > 0 {
			e.sim.fault("data behind FIN")
		}
		e.finished = true
		e.next++
	}
	e.read = append(e.read, data...)
	old := len(data) == 0
	e.toAck++
	if !e.delayed || old || e.toAck > 1 || len(e.ahead) > 0 || p.Flags&FIN != 0 {
		e.ack()
	} else if e.ackTimer == 0 {
		e.ackTimer = e.sim.now + ackDelay
		e.sim.at(e.ackTimer, func() {
			if e.ackTimer == e.sim.now {
				e.ack()
			}
		})
	}
	if len(data) == 0 {
		return
	}
	if !e.lazy {
		e.app(data)
		return
	}
	e.unread += len(data)
	e.readAt = max(e.readAt, e.sim.now+1+e.rand.Int64N(60))
	e.sim.at(e.readAt, func() {
		shut := e.space() < e.mss
		e.unread -= len(data)
		e.app(data)
		if shut && e.space() > 0 {
			e.ack()
		}
	})
}

// acknowledged takes what the other end says that it has.
func (e *tcpEnd) acknowledged(p *wirePacket, length uint32) {
	if before(e.highest, p.Ack) {
		e.sim.fault("acknowledged %d, sent up to %d", p.Ack, e.highest)
		return
	}
	for _, b := range p.sacks {
		if before(e.highest, b[1]) || !before(b[0], b[1]) || b[0] == p.Ack {
			e.sim.fault("selective acknowledgement %d to %d, sent up to %d", b[0], b[1], e.highest)
		}
		if !before(b[0], e.una) && !slices.Contains(e.sacked, b) {
			e.sacked = append(e.sacked, b)
		}
	}
	switch {
	case before(e.una, p.Ack):
		n := p.Ack - e.una
		e.pending = e.pending[min(int(n), len(e.pending)):]
		e.una = p.Ack
		if before(e.nxt, e.una) {
			e.nxt = e.una
		}
		e.sacked = slices.DeleteFunc(e.sacked, func(b [2]uint32) bool { return before(b[0], e.una) })
		e.window, e.duplicates, e.backoff, e.timer = p.window, 0, 0, 0
	case p.Ack == e.una:
		if length == 0 && p.window == e.window && e.nxt != e.una {
			e.duplicates++
		}
		e.window = p.window
		if e.duplicates == 3 && len(e.pending) > 0 {
			n := min(len(e.pending), e.mss)
			if e.ragged {
				n = 1 + e.rand.IntN(n)
			}
			e.segment(e.una, min(n, int(e.highest-e.una)), false)
		}
	}
	e.push()
	e.arm()
}
