package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"ftpinhole/cmd/internal/audit"
	"ftpinhole/cmd/internal/config"
	"ftpinhole/cmd/internal/decode"
	"ftpinhole/cmd/internal/flows"
	"ftpinhole/cmd/internal/queue"
	"ftpinhole/cmd/internal/sequences"
	"ftpinhole/cmd/internal/trail"
	"ftpinhole/conntrack"
	"ftpinhole/rules"
	"ftpinhole/rules/expect"
	"ftpinhole/rules/nft"
)

// Open binds the queues and opens everything that the daemon needs. Nothing but
// the helper of expectations is put into the kernel before Run; version is what status says of the program.
func Open(ctx context.Context, cfg config.Config, version string, log *slog.Logger) (*Gateway, error) {
	g := &Gateway{
		config: cfg, version: version, log: log, started: time.Now(),
		counters: newCounters(), joinable: &joinable{},
	}
	g.current.Store(&g.config)
	if err := g.open(ctx); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func (g *Gateway) open(ctx context.Context) error {
	policy, err := g.config.NewPolicy()
	if err != nil {
		return err
	}
	bound := g.bind()
	if bound != nil && !errors.Is(bound, queue.ErrTaken) {
		return bound
	}
	// Where a daemon has taken the queue, this says which.
	if g.lock, err = lock(g.log); err != nil {
		return err
	}
	if bound != nil {
		return bound
	}
	if g.audit, err = audit.Open(g.config.AuditLog, g.log); err != nil {
		return err
	}
	if g.trail, err = openTrail(g.config, g.audit, g.log); err != nil {
		return err
	}
	if g.expect, err = openExpectations(g.config, g.log); err != nil {
		return err
	}
	if g.table, err = nft.Dial(g.tableConfig(g.config, policy)); err != nil {
		return err
	}
	if g.kernel, err = flows.Dial(0); err != nil {
		return fmt.Errorf("conntrack: %w", err)
	}
	dir, err := sequences.Open(SessionsDir(g.config))
	if err != nil {
		return err
	}
	g.keeper = &keeper{table: g.table, dir: dir, routes: &routes{}, have: make(map[connection][]rules.Tuple), owners: make(map[rules.Tuple]connection), log: g.log}
	g.openNotes()
	if g.events, err = flows.Listen(ctx, flows.Config{Mask: g.config.Mark | controlMark}); err != nil {
		return fmt.Errorf("conntrack events: %w", err)
	}
	g.assemble(policy)
	return nil
}

// openNotes opens what is known of sessions. Without it the daemon works; then its
// successor knows nothing of the sessions that are open.
func (g *Gateway) openNotes() {
	g.notes = &notes{waiting: newMailbox[note](), log: g.log}
	book, damaged, err := sequences.OpenBook(filepath.Join(g.config.StateDir, bookName))
	if err != nil {
		g.log.Error("what is known of sessions is not kept for the next daemon", "err", err)
		return
	}
	if damaged != nil {
		g.log.Warn("not all is known of the sessions of a former daemon", "err", damaged)
	}
	g.notes.book = book
}

// bookName is the file in the state directory that says what is known of sessions.
const bookName = "sessions"

// SessionsDir is where rewritten sessions are kept for the next daemon: beside the
// socket, since that is in memory.
func SessionsDir(c config.Config) string { return filepath.Join(filepath.Dir(c.Socket), "sessions") }

func (g *Gateway) tableConfig(cfg config.Config, policy *rules.Policy) nft.Config {
	c := nft.Config{
		Ports: cfg.Ports, QueueNum: cfg.QueueNum, Queues: uint16(cfg.QueueCount()),
		Mark: cfg.Mark, ControlMark: controlMark, FailClosed: cfg.FailsClosed(), SourcePorts: policy.ActiveSourcePorts(),
	}
	if g.expect != nil {
		c.Helper = expect.DefaultHelper
	}
	for _, h := range cfg.Hooks {
		c.Hooks = append(c.Hooks, nft.Hook(h))
	}
	return c
}

// backend names what makes the pinholes, or would if the daemon did not only
// observe.
func (g *Gateway) backend() string {
	if g.expect != nil {
		return viaExpect
	}
	return viaNft
}

// ways are the ways to open a pinhole, the best first.
func (g *Gateway) ways() []way {
	switch sets := (way{viaNft, g.table}); {
	case g.config.Observe:
		return []way{{"", none{}}}
	case g.expect != nil:
		return []way{{viaExpect, g.expect}, sets}
	default:
		return []way{sets}
	}
}

// logPatience is how long a batch of the trail waits for the audit log.
const logPatience = time.Second

// inherits is what data connections have of their control connections' marks:
// nothing that is ours.
func (g *Gateway) inherits() *marks {
	if g.config.Observe {
		return nil
	}
	return &marks{kernel: g.kernel, ours: g.config.Mark | controlMark | nft.ReopenMark, log: g.log}
}

func openTrail(c config.Config, file *audit.Log, log *slog.Logger) (*trail.Trail, error) {
	return trail.Open(filepath.Join(c.StateDir, trail.FileName), trail.Config{
		Keep: time.Duration(c.Audit.KeepDays) * 24 * time.Hour, MaxBytes: int64(c.Audit.MaxSizeMB) << 20, Log: audit.Backwards(c.AuditLog),
		Logged: func() { file.Sync(logPatience) },
	}, log)
}

// bind binds the queues before the table is touched: one that somebody else
// reads ends the start.
func (g *Gateway) bind() error {
	shards := g.config.QueueCount()
	for i := range shards + config.RewriteQueues {
		q, err := queue.Open(queue.Config{
			Num: g.config.QueueNum + uint16(i), Log: g.log,
			FailClosed: i >= shards || g.config.FailsClosed(),
		})
		if err != nil {
			return err
		}
		g.queues = append(g.queues, q)
	}
	return nil
}

func (g *Gateway) assemble(policy *rules.Policy) {
	ways := g.ways()
	g.holes = &holes{ways: ways, keeper: g.keeper, marks: g.inherits(), changes: newMailbox[change](), clock: time.Now, log: g.log}
	g.guard = &guard{table: helped{g.table, g.expect}, clock: time.Now, log: g.log, changed: make(chan string, 1)}
	g.asks = &translations{kernel: g.kernel, twice: &twice{}, questions: newMailbox[question](), log: g.log}
	g.outside = conntrack.NewOutside(g.config.NAT.Ports[0], g.config.NAT.Ports[1])
	limits := Limits(g.config.Limits)
	g.quota = conntrack.NewQuota(limits)
	kills, seeks := newMailbox[kill](), newMailbox[seek]()
	g.beats = make(beats, g.config.QueueCount())
	g.verdicts = make([]verdicts, len(g.queues))
	var recordable func() bool
	if g.config.Audit.Required {
		recordable = func() bool { return g.unrecorded() == nil }
	}
	for range g.beats {
		g.shards = append(g.shards, &shard{
			tracker: conntrack.New(conntrack.Config{
				Ports: g.config.Ports, Timeout: g.config.PinholeTimeout.Duration, TimeoutMax: g.config.PinholeTimeoutMax.Duration,
				Limits: limits, Seed: seed(), Observe: g.config.Observe,
				Join: g.joinable.take, Knows: g.notes.former, Remember: true, Recordable: recordable,
				Translate: !g.config.Observe, Outside: g.outside,
			}, Policy{policy}, g.quota),
			decoder: decode.New(),
			packets: make(chan packet, packetsWaiting),
			acks:    make(chan packet, packetsWaiting),
			calls:   newMailbox[func()](),
			holes:   g.holes.changes, kills: kills, seeks: seeks, questions: g.asks.questions, notes: g.notes.waiting,
			record: g.record,
			clock:  time.Now, log: g.log, counters: g.counters,
			held: make(map[connection]*hold),
		})
	}
	g.arrivals = &arrivals{ways: ways, shards: g.shards, log: g.log}
	if g.expect != nil {
		g.expect.shards = g.shards
	}
	g.conns = &connections{
		kernel: g.kernel, events: g.events.Events(), kills: kills, seeks: seeks, shards: g.shards,
		dataMark: g.config.Mark, control: controlMark,
		clock: time.Now, log: g.log, counters: g.counters, joinable: g.joinable, notes: g.notes, twice: g.asks.twice,
	}
}

// Limits are the tracker's, as configured.
func Limits(l config.Limits) conntrack.Limits {
	return conntrack.Limits{
		LineBytes: l.LineBytes, Commands: l.CommandsOutstanding,
		Pinholes: l.Pinholes, PinholesPerClient: l.PinholesPerClient,
		Sessions: l.Sessions, SessionsPerClient: l.SessionsPerClient,
		HalfOpen: l.HalfOpen,
	}
}

func seed() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.NativeEndian.Uint64(b[:])
}
