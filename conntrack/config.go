package conntrack

import (
	"net/netip"
	"time"
)

// Config is what a Tracker is made with.
type Config struct {
	Ports   []uint16      // control ports
	Timeout time.Duration // how long a pinhole waits for its connection, at least 1 s
	// TimeoutMax is how long it waits while its transfer command has no final
	// reply. Not above Timeout: no longer than that.
	TimeoutMax time.Duration
	Limits     Limits
	// Seed makes flow ids differ between daemons and shards.
	Seed uint64
	// Observe: decide and record; the gateway opens nothing.
	Observe bool
	// Join is asked when data comes on a connection whose handshake was not
	// seen: whether to follow it from there on (law 6). It counts as logged in
	// then, but opens nothing until a command other than PORT and EPRT was
	// answered. In a capture that is right for all, live for those that conntrack
	// held when the daemon started.
	Join func(client, server netip.AddrPort) bool
	// Knows, if set, returns what a former daemon knew of such a connection.
	Knows func(client, server netip.AddrPort) (Known, bool)
	// Remember: ask to keep what is known of each session (DoRemember).
	Remember bool
	// Recordable, if set, is asked before a pinhole is opened: whether its
	// records would be kept. It must not block.
	Recordable func() bool
	// Translate: ask how each session is translated (DoAsk), and rewrite what it
	// says accordingly. Live and not observing.
	Translate bool
	// Outside gives out ports of translated addresses; all shards share it.
	// Needed with Translate.
	Outside *Outside
}
