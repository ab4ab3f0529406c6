package rules

import (
	"net/netip"
	"time"
)

// Pinhole is a hole for one TCP connection from Src to Dst.
type Pinhole struct {
	ID      string         // unique for ever; at most 127 printable ASCII bytes
	Src     netip.Addr     // unmapped, no zone
	SrcPort uint16         // 0: any
	Dst     netip.AddrPort // of Src's family
	Timeout time.Duration  // how long it waits for the connection

	// Outside is where the connection is sent to if that is not Dst: the kernel
	// translates it (DNAT). The zero value: it is not translated.
	Outside netip.AddrPort
	// SeenAs is the source that Dst sees if that is not Src (SNAT). Invalid: it
	// is not translated.
	SeenAs netip.Addr
	// Mark is what its connection has in its conntrack mark before it is routed, as
	// its control connection has it. 0: nothing.
	Mark uint32
	// Control is the control connection that agreed on it, as its client sends
	// (conntrack's original direction: before any translation), and ControlReply
	// what comes back, as its server sends.
	Control, ControlReply Tuple
}

// Key is what a pinhole lets pass, without its name and time. Two pinholes of
// one key are the same hole.
type Key struct {
	Src     netip.Addr
	SrcPort uint16
	Dst     netip.AddrPort
}

// Key returns what p lets pass.
func (p Pinhole) Key() Key {
	return Key{Src: p.Src, SrcPort: p.SrcPort, Dst: p.Dst}
}

// Tuple is one direction of a TCP connection.
type Tuple struct{ Src, Dst netip.AddrPort }
