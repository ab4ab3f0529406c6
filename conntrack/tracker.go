package conntrack

import (
	"cmp"
	"container/list"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Tracker follows the control sessions of one shard. It is not safe for
// concurrent use. The effects that a method returns are valid until the next
// call.
type Tracker struct {
	ports      []uint16
	timeout    time.Duration
	timeoutMax time.Duration
	limits     Limits
	observe    bool
	joins      func(client, server netip.AddrPort) bool
	knows      func(client, server netip.AddrPort) (Known, bool)
	remembers  bool
	keeps      func() bool
	policy     Policy
	quota      *Quota
	ids        ids

	sessions map[sessionKey]*session
	halfOpen handshakes
	ended    graves
	lapsed   list.List // of lapse, the oldest first
	pressure uint64    // of the quota, when there was room for all last
	strays   graves    // connections that are not followed and have negotiated
	channels map[string]*channel
	holes    map[holeKey]*channel
	flows    map[flowKey]*channel
	refusals refusals

	// Of translated sessions.
	translates bool
	outside    *Outside
	random     *rand.Rand
	wires      map[flowKey]wireTuple // the addresses of those that are kept
	rewrites   map[string]*rewrite   // by the pinhole whose DoOpen they wait for
	departed   departed
	buf        []byte
	acks       Acks

	effects []Effect
	order   []*channel
}

// New returns a tracker without sessions. Trackers that share a quota share
// its limits.
func New(cfg Config, policy Policy, quota *Quota) *Tracker {
	return &Tracker{
		ports: slices.Clone(cfg.Ports), timeout: cfg.Timeout, timeoutMax: cfg.TimeoutMax, limits: cfg.Limits,
		observe: cfg.Observe, joins: cfg.Join, knows: cfg.Knows, remembers: cfg.Remember, keeps: cfg.Recordable,
		policy: policy, quota: quota, ids: ids(cfg.Seed),
		sessions: make(map[sessionKey]*session),
		halfOpen: newHandshakes(cfg.Limits.HalfOpen),
		channels: make(map[string]*channel),
		holes:    make(map[holeKey]*channel),
		flows:    make(map[flowKey]*channel),
		refusals: newRefusals(),

		translates: cfg.Translate, outside: cfg.Outside,
		random:   rand.New(rand.NewPCG(cfg.Seed, 0)),
		wires:    make(map[flowKey]wireTuple),
		rewrites: make(map[string]*rewrite),
		departed: departed{byKey: make(map[sessionKey]*translated)},
	}
}

// Reconfigure changes ports, times, limits and policy. Sessions and pinholes
// that are there stay, under the terms that they began with.
func (t *Tracker) Reconfigure(ports []uint16, timeout, timeoutMax time.Duration, limits Limits, policy Policy) {
	t.ports, t.timeout, t.timeoutMax = slices.Clone(ports), timeout, timeoutMax
	t.limits, t.policy = limits, policy
	t.halfOpen.limit = limits.HalfOpen
}

// Packet takes one packet of a control connection. Packets of connections
// that are not followed have no effect.
func (t *Tracker) Packet(now time.Time, p *Packet) []Effect {
	t.effects = t.effects[:0]
	if p.Flags&SYN != 0 {
		t.handshake(p)
		return t.effects
	}
	s, toServer := t.find(p)
	if h, up := t.halfOpen.find(p); h != nil && t.complete(now, h, up, p, s) {
		s, toServer = t.find(p)
	}
	if s == nil {
		if s, toServer = t.join(now, p); s == nil {
			t.stray(now, p)
			return t.effects
		}
	}
	switch {
	case s.lapsed != nil:
		if !t.resumes(now, s, toServer, p) {
			return t.effects
		}
	case s.pickedUp: // by now conntrack can say what it made of the first packet
		s.pickedUp, s.asking = false, true
		t.do(DoAsk, s.record())
	}
	if s.restored {
		s.restored, s.local = false, localClient(p, toServer)
	}
	if s.asking {
		if s.first == nil {
			s.first = p.clone()
			return t.effects
		}
		t.learn(now, s, Translation{}, errUnanswered)
	}
	t.segment(now, s, toServer, p)
	return t.effects
}

// find looks the packet's session up.
func (t *Tracker) find(p *Packet) (s *session, toServer bool) {
	if s = t.sessions[sessionKey{p.Src, p.Dst}]; s != nil {
		return s, true
	}
	return t.sessions[sessionKey{p.Dst, p.Src}], false
}

// Gone says that conntrack no longer holds a control connection (Vanished), or
// that it is closed there. One that it does not hold may still go on.
func (t *Tracker) Gone(now time.Time, client, server netip.AddrPort, why Reason) []Effect {
	t.effects = t.effects[:0]
	key := sessionKey{client, server}
	if s := t.sessions[key]; s != nil && why == Vanished {
		t.vanished(now, s)
	} else if s != nil {
		t.end(now, s, why)
	} else if nat := t.departed.byKey[key]; nat != nil && why == Vanished {
		t.forgetTranslated(nat)
	}
	return t.effects
}

func (t *Tracker) end(now time.Time, s *session, why Reason) {
	holes := SessionEnd
	if why == Stopped || why == EndOfCapture {
		holes = why
	}
	t.shutAll(now, s, holes)
	t.tellSwallowed(now, s)
	key := sessionKey{s.client, s.server}
	delete(t.sessions, key)
	if s.lapsed != nil {
		t.resume(s)
	}
	t.quota.give(s.client.Addr(), 1, 0)
	t.ended.add(key, s.flowID)
	if why == Vanished {
		t.strays.add(key, s.flowID)
	}
	r := s.record()
	r.Time, r.Action, r.Reason = now, End, why
	r.User = cmp.Or(s.user, s.former)
	r.Counted, r.BytesToServer, r.BytesToClient = true, s.up.bytes, s.down.bytes
	r.Duration = now.Sub(s.started)
	r.Pinholes, r.Denied = s.opened, s.denied
	r.Encrypted, r.Conflicts = s.encrypted, s.up.conflicts+s.down.conflicts
	t.do(DoRecord, r)
	t.depart(now, s, why)
	t.unlearn(s, why)
}

// Tick lets time pass: what has had its time goes. It is to be called a few
// times a second.
func (t *Tracker) Tick(now time.Time) []Effect {
	t.effects = t.effects[:0]
	t.tickChannels(now)
	t.tickDeparted(now)
	t.tickLapsed(now)
	t.flushRefusals(now, false)
	return t.effects
}

// Stop ends all sessions and shuts all pinholes; why is Stopped or
// EndOfCapture. The kernel is not asked any more: whoever stops takes
// everything out of it. What was kept stays kept, for a next daemon.
func (t *Tracker) Stop(now time.Time, why Reason) []Effect {
	t.effects = t.effects[:0]
	for _, c := range slices.Clone(t.oldestFirst()) {
		if c.state == opening {
			t.forget(c) // it was never acknowledged, and so never recorded
			continue
		}
		if c.closing != "" {
			t.finish(now, c, c.closing)
			continue
		}
		t.finish(now, c, why)
	}
	all := make([]*session, 0, len(t.sessions))
	for _, s := range t.sessions {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *session) int {
		if a.started.Equal(b.started) {
			return a.client.Compare(b.client)
		}
		return a.started.Compare(b.started)
	})
	for _, s := range all {
		t.end(now, s, why)
	}
	for len(t.departed.queue) > 0 {
		t.unwire(t.departed.queue[0])
		t.departed.queue = t.departed.queue[1:]
	}
	clear(t.departed.byKey)
	clear(t.rewrites)
	t.flushRefusals(now, true)
	return t.effects
}
