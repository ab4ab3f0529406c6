package nft

import "fmt"

// TableName is the name of our table, of family inet.
const TableName = "ftpinhole"

// Hook is where sessions are read, as the configuration spells it.
type Hook string

// The hooks.
const (
	Forward Hook = "forward" // sessions through the gateway
	Input   Hook = "input"   // sessions to a server on the gateway itself
	Output  Hook = "output"  // sessions from a client on the gateway, loopback too
)

// The marks and sizes that stand in for zeros in Config.
const (
	DefaultMark        = 0x10000000
	DefaultControlMark = 0x20000000
	DefaultSetSize     = 65536
)

// ReopenMark changes in the mark of a data connection with each SYN that opens it
// again: conntrack keeps a closed connection for a while, and what has its
// addresses and ports then is the same entry to it. On control connections the bit
// means something else.
const ReopenMark = 0x40000000

// Config is what the table is made from.
type Config struct {
	Ports    []uint16 // control ports; at least one
	Hooks    []Hook   // at least one
	QueueNum uint16   // the first queue
	Queues   uint16   // how many, 0 means 1; the kernel balances sessions over them
	// FailClosed drops packets of control sessions while nobody reads the queues;
	// else they pass.
	FailClosed bool
	// AckQueue and RewriteQueue are where packets of rewritten sessions go, see
	// Table.AddRewritten. 0: the two after the last of Queues.
	AckQueue, RewriteQueue uint16
	// Mark is put (or-ed) into the conntrack mark of data connections, and
	// ControlMark into that of control connections. 0: the defaults.
	Mark, ControlMark uint32
	// Helper is the kernel's conntrack helper that control connections get, so that
	// their data connections can be expected. It has to be registered. "": none.
	Helper string
	// SourcePorts makes the sets for pinholes that name a source port.
	SourcePorts bool
	// SetSize is how much fits into each set: pinholes, what is translated,
	// directions of rewritten sessions. 0: DefaultSetSize.
	SetSize uint32
}

// withDefaults returns c with zeros replaced, or what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if c.Queues == 0 {
		c.Queues = 1
	}
	if c.Mark == 0 {
		c.Mark = DefaultMark
	}
	if c.ControlMark == 0 {
		c.ControlMark = DefaultControlMark
	}
	if c.SetSize == 0 {
		c.SetSize = DefaultSetSize
	}
	if len(c.Ports) == 0 {
		return c, fmt.Errorf("nft: no control port: name at least one, usually 21")
	}
	seen := make(map[uint16]bool)
	for _, p := range c.Ports {
		if p == 0 || seen[p] {
			return c, fmt.Errorf("nft: control port %d is 0 or listed twice: name each port from 1 to 65535 once", p)
		}
		seen[p] = true
	}
	if len(c.Hooks) == 0 {
		return c, fmt.Errorf("nft: no hook: name at least one of %s, %s, %s", Forward, Input, Output)
	}
	for _, h := range c.Hooks {
		if h != Forward && h != Input && h != Output {
			return c, fmt.Errorf("nft: unknown hook %q: write %s, %s or %s", h, Forward, Input, Output)
		}
	}
	next := int(c.QueueNum) + int(c.Queues)
	if next+2 > 1<<16 {
		return c, fmt.Errorf("nft: queues %d to %d: queue numbers end at 65535: choose a lower first queue", c.QueueNum, next+1)
	}
	if c.AckQueue == 0 {
		c.AckQueue = uint16(next)
	}
	if c.RewriteQueue == 0 {
		c.RewriteQueue = uint16(next + 1)
	}
	for _, q := range []uint16{c.AckQueue, c.RewriteQueue} {
		if c.AckQueue == c.RewriteQueue || q >= c.QueueNum && int(q) < next {
			return c, fmt.Errorf("nft: queue %d is used for two things: choose another for acknowledgements or rewritten sessions", q)
		}
	}
	if len(c.Helper) >= helperNameLen {
		return c, fmt.Errorf("nft: helper %q: its name has more than %d bytes: choose a shorter one", c.Helper, helperNameLen-1)
	}
	if c.Mark&c.ControlMark != 0 {
		return c, fmt.Errorf("nft: mark %#x shares bits with the control sessions' %#x: choose other bits", c.Mark, c.ControlMark)
	}
	return c, nil
}

// hooked tells whether sessions at h are read.
func (c *Config) hooked(h Hook) bool {
	for _, x := range c.Hooks {
		if x == h {
			return true
		}
	}
	return false
}
