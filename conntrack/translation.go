package conntrack

import "net/netip"

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
