package nft

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ftpinhole/rules"
)

// Table is our table in the kernel and the pinholes that it should hold. It
// may be used by many goroutines; changes wait for each other, and for every
// other program that is changing nf_tables. Arrived and Verify wait for nobody.
type Table struct {
	config atomic.Pointer[Config]
	reader *conn
	writer *conn

	// changes is held over a change in the kernel and in what is below, so
	// that both see changes in one order.
	changes   sync.Mutex
	xtables   bool                 // the kernel lacks nft's queue statement; under changes
	installed bool                 // under changes
	rewritten map[rules.Tuple]bool // under changes

	mu      sync.Mutex // guards what follows, held for moments only
	byID    map[string]*hole
	owners  map[slot]*hole // of what is in the kernel
	polls   uint64         // how often Arrived has asked
	sweepAt int            // how many of byID call for a sweep
	intact  string         // the print of the table as installed, "" if it is not
}

// hole is a pinhole that has been put into the kernel and not been removed. A
// newer one may have taken over how it is translated (dnat), while it is open.
type hole struct {
	rules.Pinhole
	deadline time.Time
	arrived  bool   // its SYN came
	armed    uint64 // Table.polls when it was armed again
}

// Dial opens the way to the nf_tables of the calling thread's network
// namespace, and changes nothing there.
func Dial(c Config) (*Table, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	reader, err := dial()
	if err != nil {
		return nil, err
	}
	writer, err := dial()
	if err != nil {
		return nil, errors.Join(err, reader.nl.Close())
	}
	t := &Table{
		reader:    reader,
		writer:    writer,
		rewritten: make(map[rules.Tuple]bool),
		byID:      make(map[string]*hole),
		owners:    make(map[slot]*hole),
		sweepAt:   firstSweep,
	}
	t.config.Store(&c)
	return t, nil
}

// Close closes the sockets, and leaves the table as it is.
func (t *Table) Close() error {
	return errors.Join(t.reader.nl.Close(), t.writer.nl.Close())
}

// Install makes the table, in place of any of its name, in one step: no packet
// finds it missing. Pinholes that this Table holds and that no connection has
// used are in it again, for what is left of their time at now, and so are
// rewritten sessions.
func (t *Table) Install(now time.Time) error {
	t.changes.Lock()
	defer t.changes.Unlock()
	if err := t.askArrived(); err != nil {
		return err
	}
	return t.put(now)
}

// Reconfigure puts the chains of another configuration into the table, in one
// step. The sets stay: a pinhole that is used at this very moment is used once.
// Marks, queues and helper have to be the same. After an error the old one stays.
func (t *Table) Reconfigure(c Config, now time.Time) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	t.changes.Lock()
	defer t.changes.Unlock()
	whole, err := t.verify()
	if err != nil {
		return err
	}
	old := t.config.Load()
	c.SourcePorts = c.SourcePorts || old.SourcePorts // there may be pinholes that need them
	t.config.Store(&c)
	if whole {
		if err = t.writer.commit(t.rechain(old)); err == nil {
			_ = t.remember() // where that fails, Verify finds another table than it knows
			return nil
		}
		err = explain("change table inet "+TableName, err)
	} else if err = t.askArrived(); err == nil { // somebody has changed it, or taken it away
		err = t.put(now)
	}
	if err != nil {
		t.config.Store(old)
	}
	return err
}

// rechain returns the batch of Reconfigure. Chains that stay have their rules
// exchanged: a chain that leaves its hook takes the kernel long.
func (t *Table) rechain(old *Config) *batch {
	b, c := &batch{}, t.config.Load()
	before, after := chains(old, t.xtables), chains(c, t.xtables)
	in := func(all []chain, name string) bool {
		return slices.ContainsFunc(all, func(c chain) bool { return c.name == name })
	}
	for _, chain := range before {
		b.flushChain(chain.name)
		if !in(after, chain.name) {
			b.deleteChain(chain.name)
		}
	}
	had := sets(old)
	for i, s := range sets(c) {
		if !slices.Contains(had, s) {
			b.addSet(s, uint32(i+1), c.SetSize)
		}
	}
	for _, chain := range after {
		if !in(before, chain.name) {
			b.addChain(chain)
		}
		b.addRules(chain)
	}
	return b
}

// askArrived notes which pinholes were used: an element that is made again would
// let a second connection through. Without the old table there is nobody left
// to ask.
func (t *Table) askArrived() error {
	if _, err := t.Arrived(); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// put makes the table; changes is held.
func (t *Table) put(now time.Time) error {
	err := t.writer.commit(t.install(now))
	var message *messageError
	if !t.xtables && errors.As(err, &message) && message.modules == queueModules && errors.Is(err, unix.ENOENT) {
		t.xtables = true
		err = t.writer.commit(t.install(now))
	}
	if err != nil {
		return explain("install table inet "+TableName, err)
	}
	t.installed = true
	return t.remember()
}

// install returns the batch of Install.
func (t *Table) install(now time.Time) *batch {
	b := &batch{}
	b.addTable() // so that there is one to delete
	b.deleteTable()
	b.addTable()
	c := t.config.Load()
	for i, s := range sets(c) {
		b.addSet(s, uint32(i+1), c.SetSize)
	}
	if c.Helper != "" {
		b.addHelper(c.Helper)
	}
	for _, chain := range chains(c, t.xtables) {
		b.addChain(chain)
		b.addRules(chain)
	}
	for tuple := range t.rewritten {
		b.addElement(directionOf(tuple), 0, 0)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.byID {
		if left := h.deadline.Sub(now); left > 0 && !h.arrived {
			for _, e := range t.owned(h) {
				b.addElement(e, left, 0)
			}
		}
	}
	return b
}

// Uninstall deletes the table with all that is in it. It is no error if it is
// gone already.
func (t *Table) Uninstall() error {
	t.changes.Lock()
	defer t.changes.Unlock()
	b := &batch{}
	b.deleteTable()
	if err := t.writer.commit(b); err != nil && !errors.Is(err, unix.ENOENT) {
		return explain("delete table inet "+TableName, err)
	}
	t.installed = false
	clear(t.rewritten)
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.byID)
	clear(t.owners)
	t.intact = ""
	return nil
}
