package conntrack

// Do says what the gateway is to do.
type Do uint8

// What the tracker asks for, in the order in which it is to be done.
const (
	// DoOpen: put Record.Pinhole into the kernel before the packet in hand is
	// released, and answer with Tracker.Opened.
	DoOpen Do = iota + 1
	// DoClose: take the pinhole Record.Pinhole.ID out of the kernel.
	DoClose
	// DoKill: delete the connection Record.Pinhole (its SrcPort is known) from
	// conntrack, if it is not established.
	DoKill
	// DoSeek: a SYN came through the pinhole Record.Pinhole.ID, and no event told
	// of its connection. Look for connections that no event told of, tell of
	// them (Tracker.Used), and then answer with Tracker.Sought.
	DoSeek
	// DoRearm: let the pinhole Record.Pinhole.ID take another SYN, since the one
	// that came made no connection, and answer with Tracker.Rearmed.
	DoRearm
	// DoRecord: write Record to the audit trail.
	DoRecord
)

// Effect is one thing to be done.
type Effect struct {
	Do     Do
	Record Record
}

// do appends an effect to those that the call in hand returns.
func (t *Tracker) do(what Do, r Record) {
	t.effects = append(t.effects, Effect{what, r})
}
