package expect

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ftpinhole/rules"
)

// DefaultHelper is the name of our helper.
const DefaultHelper = "ftpinhole"

// maxPerControl is how many expectations the kernel keeps for one connection
// (NF_CT_EXPECT_MAX_CNT, include/net/netfilter/nf_conntrack_expect.h).
const maxPerControl = 255

// Config is what the helper is made from.
type Config struct {
	Helper string // its name, at most 15 bytes, never "ftp"; "" means DefaultHelper
	Queue  uint16 // where its packets would go if somebody enabled it
	// Max is how many pinholes a control connection may have at once, 1 to 255.
	// The kernel drops the oldest for one more.
	Max     int
	Timeout time.Duration // of a pinhole, if it is not told otherwise; whole seconds
}

// Backend makes pinholes of expectations. It may be used by many goroutines.
type Backend struct {
	config Config
	conn   *conn

	// changes is held over a change in the kernel and in what is below.
	changes sync.Mutex
	byID    map[string]*hole
	byTuple map[rules.Tuple]*hole
	sweepAt int // how many of byID call for a sweep
}

// hole is a pinhole that has been put into the kernel and not been removed.
type hole struct {
	rules.Pinhole
	deadline time.Time // by the caller's clock
	expires  time.Time // by ours, which goes as the kernel's does
	arrived  bool      // its SYN came
}

// Dial opens the way to the conntrack of the calling thread's network
// namespace, and changes nothing there.
func Dial(c Config) (*Backend, error) {
	if c.Helper == "" {
		c.Helper = DefaultHelper
	}
	switch {
	case len(c.Helper) > 15 || c.Helper == "ftp":
		return nil, fmt.Errorf("expect: helper %q: needs another name, of at most 15 bytes", c.Helper)
	case c.Max < 1 || c.Max > maxPerControl:
		return nil, fmt.Errorf("expect: %d pinholes for a control connection: needs 1 to %d", c.Max, maxPerControl)
	case c.Timeout <= 0:
		return nil, fmt.Errorf("expect: timeout %v: needs more than 0", c.Timeout)
	}
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	return &Backend{
		config: c, conn: conn,
		byID: make(map[string]*hole), byTuple: make(map[rules.Tuple]*hole), sweepAt: firstSweep,
	}, nil
}

// Close closes the socket, and leaves helper and expectations as they are.
func (b *Backend) Close() error { return b.conn.nl.Close() }

// helpers returns ours, of both families.
func (b *Backend) helpers() []Helper {
	h := Helper{
		Name: b.config.Helper, Queue: uint32(b.config.Queue),
		Max: uint32(b.config.Max), Timeout: seconds(b.config.Timeout),
	}
	h6 := h
	h6.IPv6 = true
	return []Helper{h, h6}
}

// Register gives the kernel our helper. One that is there from before is taken
// over, with the expectations of its connections. ErrUnsupported: the kernel has
// no nfnetlink_cthelper.
func (b *Backend) Register() error {
	for _, h := range b.helpers() {
		if _, err := b.conn.ask(h.create()); err != nil {
			return explainHelper("register helper "+h.Name, err)
		}
	}
	return nil
}

// Unregister takes our helper from the kernel, and with it what it expects.
// ErrInUse: an nft object names it, that has to go first. It is no error if it
// is gone already.
func (b *Backend) Unregister() error {
	for _, h := range b.helpers() {
		if _, err := b.conn.ask(h.remove()); err != nil && !errors.Is(err, unix.ENOENT) {
			return explainHelper("remove helper "+h.Name, err)
		}
	}
	return nil
}

// Registered lists our helper as the kernel has it, once for each family.
func (b *Backend) Registered() ([]Helper, error) {
	messages, err := b.conn.ask(dumpHelpers())
	if err != nil {
		return nil, explainHelper("list helpers", err)
	}
	var found []Helper
	for _, m := range messages {
		h, ok, err := readHelper(m)
		switch {
		case err != nil:
			return nil, explain("list helpers", err)
		case ok && h.Name == b.config.Helper:
			found = append(found, h)
		}
	}
	return found, nil
}

// Flush removes all expectations of connections that have our helper, also those
// of a daemon before us.
func (b *Backend) Flush() error {
	b.changes.Lock()
	defer b.changes.Unlock()
	if _, err := b.conn.ask(removeOf(b.config.Helper)); err != nil {
		return explain("flush the expectations of helper "+b.config.Helper, err)
	}
	clear(b.byID)
	clear(b.byTuple)
	return nil
}

// List returns the expectations of connections that have our helper.
func (b *Backend) List() ([]Expectation, error) {
	messages, err := b.conn.ask(dump())
	if err != nil {
		return nil, explain("list expectations", err)
	}
	var found []Expectation
	for _, m := range messages {
		e, ok, err := read(m)
		switch {
		case err != nil:
			return nil, explain("list expectations", err)
		case ok && e.Helper == b.config.Helper:
			found = append(found, e)
		}
	}
	return found, nil
}

// seconds is how the kernel counts: whole ones, none shorter than d.
func seconds(d time.Duration) uint32 {
	return uint32(min(math.Ceil(d.Seconds()), math.MaxInt32))
}
