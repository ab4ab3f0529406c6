package conntrack

import (
	"net/netip"
	"time"
)

// Translation is how the gateway translates the addresses of one control
// connection (NAT). Without any, Server is the session's server and Client its
// client.
type Translation struct {
	// Server is where the client connects to, before DNAT.
	Server netip.AddrPort `json:"server"`
	// Client is where the server sees the client, after SNAT.
	Client netip.AddrPort `json:"client"`
}

// Segment is how a packet is to leave: with this sequence number, these flags
// and this payload instead of its own.
type Segment struct {
	Seq     uint32
	Flags   Flags
	Urgent  uint16 // the urgent pointer; counts if Flags has URG
	Payload []byte // valid until the tracker's next call
}

// Kept is what a next daemon needs to go on with a session whose sequence
// numbers are shifted. It has no pointers into the tracker.
type Kept struct {
	Client      netip.AddrPort `json:"client"`
	Server      netip.AddrPort `json:"server"`
	Translation Translation    `json:"translation"`
	Up          Sequence       `json:"up"`   // client to server
	Down        Sequence       `json:"down"` // server to client
}

// Sequence is how the bytes of one direction are changed on their way.
type Sequence struct {
	// Shift is added to sequence numbers before the first edit.
	Shift uint32 `json:"shift"`
	// Edits are in the order of their places.
	Edits []Edit `json:"edits,omitempty"`
	// Withheld are bytes of a line that is not complete yet: the receiver has
	// not got them, the sender may have been told that it has.
	Withheld *Withheld `json:"withheld,omitempty"`
}

// Edit is a run of bytes that leaves as another one.
type Edit struct {
	Seq    uint32 `json:"seq"`    // of the first byte, as it was sent
	Length uint32 `json:"length"` // of what was sent
	Bytes  []byte `json:"bytes"`  // what leaves instead
	// Told is how much of it the sender was told to have arrived while none had:
	// it was withheld.
	Told uint32 `json:"told,omitempty"`
	Last byte   `json:"last"` // the byte before Seq
}

// Withheld is the beginning of an Edit whose end has not come.
type Withheld struct {
	Seq   uint32 `json:"seq"`
	Bytes []byte `json:"bytes"`
	Last  byte   `json:"last"`
}

// Translated is the answer to DoAsk. With an error the session goes on as one
// that is not translated.
func (t *Tracker) Translated(now time.Time, client, server netip.AddrPort, tr Translation, err error) []Effect {
	return nil
}

// Kept is the answer to DoKeep. With an error nothing is rewritten.
func (t *Tracker) Kept(now time.Time, client, server netip.AddrPort, err error) []Effect {
	return nil
}

// Restore goes on with a session that a former daemon kept: it is joined in the
// middle (law 6).
func (t *Tracker) Restore(now time.Time, k *Kept) []Effect { return nil }

// Rewritten reports whether the sequence numbers of the packet's session are
// shifted (or its bytes withheld): a packet of it must not pass as it is. The
// packet's addresses are those of the hooks after conntrack.
func (t *Tracker) Rewritten(p *Packet) bool { return false }

// Outgoing says how a packet that Packet has taken is to leave, when its turn
// has come: false if as it is.
func (t *Tracker) Outgoing(p *Packet) (Segment, bool) { return Segment{}, false }

// Incoming says how the acknowledgements of a packet are to be changed before
// conntrack sees it: nil if not at all. The packet's addresses are those on the
// wire, before any NAT.
func (t *Tracker) Incoming(p *Packet) *Acks { return nil }

// Acks translates acknowledgements of what was sent on into such of what was
// sent. It is valid until the tracker's next call.
type Acks struct{}

// Ack translates an acknowledgement number.
func (a *Acks) Ack(n uint32) uint32 { return n }

// Sack translates a block of selective acknowledgement (RFC 2018 3): its left
// edge, and its right one which lies behind it. It is false if nothing is left.
func (a *Acks) Sack(left, right uint32) (l, r uint32, ok bool) { return left, right, true }
