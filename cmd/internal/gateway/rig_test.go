package gateway

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ftpinhole/cmd/internal/decode"
	"ftpinhole/cmd/internal/flows"
	"ftpinhole/cmd/internal/sequences"
	"ftpinhole/conntrack"
	"ftpinhole/rules"
)

// rig is a shard between fakes of the kernel's sides: packets, pinholes and
// conntrack. It lives in a synctest bubble, so that time is exact.
type rig struct {
	t       *testing.T
	shard   *shard
	conns   *connections
	backend *fakeBackend // the table's sets
	first   *fakeBackend // what is tried before, if not nil
	kernel  *fakeConntrack
	table   *fakeRewriter
	nat     *fakeTranslator
	keeper  *keeper
	book    string // the file of what is known of sessions
	events  chan flows.Event
	mu      sync.Mutex
	records []conntrack.Record
	log     strings.Builder // read it after synctest.Wait
	sent    []*fakePacket
	stop    func()
}

// ways are those of the rig.
func (r *rig) ways() []way {
	sets := way{viaNft, r.backend}
	if r.first == nil {
		return []way{sets}
	}
	return []way{{viaExpect, r.first}, sets}
}

// newRig starts a rig; held are connections that the kernel has already.
func newRig(t *testing.T, policy conntrack.Policy, held ...flows.Flow) *rig {
	t.Helper()
	return startRig(t, policy, nil, held...)
}

// startRig is newRig with a backend that is tried first.
func startRig(t *testing.T, policy conntrack.Policy, first *fakeBackend, held ...flows.Flow) *rig {
	t.Helper()
	if policy == nil {
		p, err := rules.NewPolicy(rules.Config{ControlPorts: []uint16{21}})
		if err != nil {
			t.Fatal(err)
		}
		policy = Policy{p}
	}
	limits := conntrack.Limits{LineBytes: 4096, Commands: 32, Pinholes: 100, PinholesPerClient: 100, Sessions: 100, SessionsPerClient: 100, HalfOpen: 100}
	r := &rig{t: t, backend: &fakeBackend{}, first: first, kernel: &fakeConntrack{have: map[connection]flows.Flow{}}, events: make(chan flows.Event)}
	for _, f := range held {
		r.kernel.put(f)
	}
	log := slog.New(slog.NewTextHandler(&r.log, nil))
	dir, err := sequences.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r.table, r.nat = &fakeRewriter{have: map[rules.Tuple]bool{}}, &fakeTranslator{}
	r.keeper = &keeper{table: r.table, dir: dir, routes: &routes{}, have: map[connection][]rules.Tuple{}, owners: map[rules.Tuple]connection{}, log: log}
	h := &holes{ways: r.ways(), keeper: r.keeper, marks: &marks{kernel: r.kernel, ours: 0x70000000, log: log}, changes: newMailbox[change](), clock: time.Now, log: log}
	questions := &translations{kernel: r.nat, twice: &twice{}, questions: newMailbox[question](), log: log}
	joins := &joinable{}
	r.book = filepath.Join(t.TempDir(), "sessions")
	book, _, err := sequences.OpenBook(r.book)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { book.Close() })
	known := &notes{book: book, waiting: newMailbox[note](), log: log}
	kills, seeks := newMailbox[kill](), newMailbox[seek]()
	r.shard = &shard{
		tracker: conntrack.New(conntrack.Config{Ports: []uint16{21}, Timeout: 30 * time.Second, TimeoutMax: 300 * time.Second, Limits: limits, Join: joins.take, Knows: known.former, Remember: true,
			Translate: true, Outside: conntrack.NewOutside(50000, 60000)}, policy, conntrack.NewQuota(limits)),
		decoder: decode.New(), packets: make(chan packet, packetsWaiting), acks: make(chan packet, packetsWaiting), calls: newMailbox[func()](),
		holes: h.changes, kills: kills, seeks: seeks, questions: questions.questions, notes: known.waiting, clock: time.Now, log: log, counters: newCounters(), held: map[connection]*hold{},
		record: func(rec conntrack.Record) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.records = append(r.records, rec)
		},
	}
	r.conns = &connections{
		kernel: r.kernel, events: r.events, kills: kills, seeks: seeks, shards: []*shard{r.shard},
		dataMark: 0x10000000, control: controlMark, clock: time.Now, log: log, counters: r.shard.counters, joinable: joins, notes: known, twice: questions.twice,
	}
	r.conns.remember()
	asks := &arrivals{ways: r.ways(), shards: r.conns.shards, log: log}
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	tasks.Go(func() { r.shard.run(ctx, func() {}) })
	tasks.Go(func() { h.run(ctx) })
	tasks.Go(func() { r.conns.run(ctx) })
	tasks.Go(func() { asks.run(ctx) })
	tasks.Go(func() { questions.run(ctx) })
	tasks.Go(func() { known.run(ctx) })
	r.stop = func() {
		cancel()
		tasks.Wait()
	}
	t.Cleanup(func() { // also when the test has failed with the kernel stuck
		r.backend.release()
		r.nat.release()
		r.stop()
		for i, p := range r.sent { // law 2, in every test
			if got := p.verdicts(); got != 1 {
				t.Errorf("packet %d has %d verdicts at the end, want 1", i, got)
			}
		}
	})
	return r
}

// later has the shard take it for later than it is.
func (r *rig) later(by time.Duration) {
	r.shard.calls.put(func() { r.shard.carryOut(r.shard.tracker.Tick(time.Now().Add(by)), connection{}, nil) })
	synctest.Wait()
}

// knew lets a former daemon have known of a session. It is to be called before
// packets come.
func (r *rig) knew(k conntrack.Known) {
	r.t.Helper()
	if err := r.conns.notes.book.Put(k); err != nil {
		r.t.Fatal(err)
	}
	r.nextBook()
}

// nextBook opens the book as the next daemon does.
func (r *rig) nextBook() {
	r.t.Helper()
	book, damaged, err := sequences.OpenBook(r.book)
	if err != nil || damaged != nil {
		r.t.Fatal(err, damaged)
	}
	r.t.Cleanup(func() { book.Close() })
	r.conns.notes.book = book
}

// said lists the records of pinholes in short.
func (r *rig) said() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for _, rec := range r.records {
		word := map[conntrack.Action]string{conntrack.Open: "open", conntrack.Use: "use", conntrack.Close: "close", conntrack.Deny: "deny"}[rec.Action]
		if word == "" {
			continue
		}
		if rec.Reason != "" {
			word += " " + string(rec.Reason)
		}
		list = append(list, word)
	}
	return list
}

// fakeBackend is the kernel's sets; stuck makes it hang.
type fakeBackend struct {
	mu       sync.Mutex
	stuck    chan struct{}
	fail     error
	arrived  bool            // a SYN comes through each pinhole, as often as it is armed
	came     map[string]bool // a SYN came through this one
	log      []string
	inKernel map[string]rules.Pinhole
	until    map[string]time.Time
}

func (b *fakeBackend) hang() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stuck = make(chan struct{})
}

func (b *fakeBackend) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stuck != nil {
		close(b.stuck)
		b.stuck = nil
	}
}

func (b *fakeBackend) wait() {
	b.mu.Lock()
	stuck := b.stuck
	b.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
}

func (b *fakeBackend) Add(p rules.Pinhole, now time.Time) error {
	b.wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	if b.inKernel == nil {
		b.inKernel, b.until = map[string]rules.Pinhole{}, map[string]time.Time{}
	}
	b.until[p.ID] = now.Add(p.Timeout)
	b.inKernel[p.ID] = p
	b.log = append(b.log, "add "+p.Dst.String())
	return nil
}

func (b *fakeBackend) Remove(id string) (bool, error) {
	b.wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, "remove "+b.inKernel[id].Dst.String())
	delete(b.inKernel, id)
	return b.arrived || b.came[id], b.fail
}

func (b *fakeBackend) Arrived() ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ids []string
	for id := range b.inKernel {
		if b.arrived || b.came[id] {
			ids = append(ids, id)
		}
	}
	return ids, b.fail
}

func (b *fakeBackend) Rearm(id string, _ time.Time) error {
	b.wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	delete(b.came, id)
	b.log = append(b.log, "rearm "+b.inKernel[id].Dst.String())
	return nil
}

func (b *fakeBackend) Lengthen(id string, d time.Duration, now time.Time) (bool, error) {
	b.wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	p, waits := b.inKernel[id]
	if b.fail != nil || !waits || b.arrived || b.came[id] || !now.Before(b.until[id]) {
		return false, b.fail
	}
	b.until[id] = now.Add(d)
	b.log = append(b.log, fmt.Sprintf("lengthen %v %v", p.Dst, d))
	return true, nil
}

// syn lets a SYN through each pinhole that is open.
func (b *fakeBackend) syn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.came = map[string]bool{}
	for id := range b.inKernel {
		b.came[id] = true
	}
}

func (b *fakeBackend) did() []string {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.log...)
}

// fakeConntrack is the kernel's table of connections.
type fakeConntrack struct {
	mu      sync.Mutex
	have    map[connection]flows.Flow
	deleted []flows.Flow
	deaf    error         // dumps fail
	slow    chan struct{} // a dump shows what was there when it began, and ends with this
}

// slowDumps makes dumps wait until the function that it returns is called.
func (c *fakeConntrack) slowDumps() (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slow := make(chan struct{})
	c.slow = slow
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.slow = nil
		close(slow)
	}
}

func (c *fakeConntrack) put(f flows.Flow) flows.Flow {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.ReplySrc.IsValid() {
		f.ReplySrc, f.ReplyDst = f.Server, f.Client
	}
	c.have[connection{f.Client, f.Server}] = f
	return f
}

func (c *fakeConntrack) Get(f flows.Flow) (flows.Flow, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	got, ok := c.have[connection{f.Client, f.Server}]
	return got, ok, nil
}

func (c *fakeConntrack) Delete(f flows.Flow) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deleted = append(c.deleted, f)
	delete(c.have, connection{f.Client, f.Server})
	return nil
}

func (c *fakeConntrack) Dump(mark, mask uint32) ([]flows.Flow, error) {
	c.mu.Lock()
	var list []flows.Flow
	for _, f := range c.have {
		if f.Mark&mask == mark {
			list = append(list, f)
		}
	}
	deaf, slow := c.deaf, c.slow
	c.mu.Unlock()

	if slow != nil {
		<-slow
	}
	return list, deaf
}

// fakePacket counts its verdicts.
type fakePacket struct {
	payload []byte
	broken  bool // Data panics
	strict  bool // it must not pass unread
	mu      sync.Mutex
	count   int
	unread  bool   // it was let go as such
	as      []byte // what it left as, if not as it was
	dropped bool
	order   *[]*fakePacket
}

func (p *fakePacket) Data() ([]byte, uint8) {
	if p.broken {
		panic("a bug")
	}
	return p.payload, uint8(conntrack.HookForward)
}

func (p *fakePacket) Accept() bool { return p.verdict(nil, false) }

func (p *fakePacket) AcceptAs(payload []byte) bool {
	return p.verdict(append([]byte{}, payload...), false)
}

func (p *fakePacket) Drop() bool { return p.verdict(nil, true) }

func (p *fakePacket) verdict(as []byte, dropped bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	p.as, p.dropped = as, dropped
	if p.order != nil {
		*p.order = append(*p.order, p)
	}
	return p.count == 1
}

func (p *fakePacket) Unread() bool {
	p.unread = true
	return p.verdict(nil, p.strict)
}

// verdicts is how many the packet got so far.
func (p *fakePacket) verdicts() int {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// dialogue sends the packets of one control connection.
type dialogue struct {
	r              *rig
	client, server netip.AddrPort
	up, down       uint32 // next sequence numbers
	order          []*fakePacket
}

// login begins a session from a client's port and logs in.
func (r *rig) login(port uint16) *dialogue {
	d := r.dial(port)
	if got := r.sent[len(r.sent)-1].verdicts(); got != 1 {
		r.t.Fatalf("the login's last packet has %d verdicts", got)
	}
	return d
}

// dial is login while the kernel may have trouble.
func (r *rig) dial(port uint16) *dialogue { return r.dialFrom("10.0.1.2", port) }

func (r *rig) dialFrom(client string, port uint16) *dialogue {
	d := &dialogue{r: r, client: netip.AddrPortFrom(netip.MustParseAddr(client), port), server: netip.MustParseAddrPort("10.0.2.2:21"), up: 1000, down: 5000}
	d.login()
	return d
}

// login plays the handshake and the login.
func (d *dialogue) login() {
	d.raw(true, conntrack.SYN, "")
	d.up++
	d.raw(false, conntrack.SYN|conntrack.ACK, "")
	d.down++
	d.raw(true, conntrack.ACK, "")
	d.s("220 ready")
	d.c("USER anonymous")
	d.s("331 password")
	d.c("PASS secret")
	d.s("230 welcome")
}

func (d *dialogue) raw(toServer bool, flags conntrack.Flags, payload string) *fakePacket {
	src, dst, seq, ack := d.client, d.server, d.up, d.down
	if !toServer {
		src, dst, seq, ack = d.server, d.client, d.down, d.up
	}
	if flags&conntrack.ACK == 0 {
		ack = 0
	}
	return d.r.send(&fakePacket{payload: ip4(src, dst, seq, ack, flags, payload), order: &d.order})
}

func (r *rig) send(p *fakePacket) *fakePacket {
	r.sent = append(r.sent, p)
	r.shard.hand(r.t.Context(), p)
	synctest.Wait()
	return p
}

// c and s send a line of the client and of the server.
func (d *dialogue) c(line string) *fakePacket { return d.part(line + "\r\n") }

// part sends some bytes of the client.
func (d *dialogue) part(text string) *fakePacket {
	p := d.raw(true, conntrack.ACK, text)
	d.up += uint32(len(text))
	return p
}

func (d *dialogue) s(line string) *fakePacket {
	p := d.raw(false, conntrack.ACK, line+"\r\n")
	d.down += uint32(len(line) + 2)
	return p
}

func ip4(src, dst netip.AddrPort, seq, ack uint32, flags conntrack.Flags, payload string) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[8], b[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(b[2:], uint16(40+len(payload)))
	s, d := src.Addr().As4(), dst.Addr().As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	binary.BigEndian.PutUint16(b[20:], src.Port())
	binary.BigEndian.PutUint16(b[22:], dst.Port())
	binary.BigEndian.PutUint32(b[24:], seq)
	binary.BigEndian.PutUint32(b[28:], ack)
	b[32], b[33] = 5<<4, byte(flags)
	return append(b, payload...)
}
