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
	// DoLengthen: let the pinhole Record.Pinhole.ID, if no SYN came through it, wait
	// for Record.Pinhole.Timeout from now on, and answer with Tracker.Lengthened.
	DoLengthen
	// DoRecord: write Record to the audit trail.
	DoRecord
	// DoAsk: find out how the gateway translates the control connection from
	// Record.Client to Record.Server, and answer with Tracker.Translated. The
	// packet in hand waits for that.
	DoAsk
	// DoKeep: before the packet in hand is released, see to it that all packets
	// of the session Kept.Client to Kept.Server come by, and keep Kept for a
	// next daemon. Answer with Tracker.Kept. A DoOpen that has a Kept asks for
	// the same, and is answered with Tracker.Opened alone.
	DoKeep
	// DoForget: what was kept for the session from Record.Client to
	// Record.Server is not needed any more.
	DoForget
	// DoRemember: keep Known for a next daemon in place of what it was to know of
	// the session from Record.Client to Record.Server; nil is nothing. The packet
	// in hand is released afterwards if it is Urgent. There is no answer.
	DoRemember
)

// Effect is one thing to be done.
type Effect struct {
	Do     Do
	Record Record
	Kept   *Kept // DoKeep, and those DoOpen that need it
	Known  *Known
	Urgent bool
	// Translation is the control connection's, for DoOpen; the zero value if it is
	// not known.
	Translation Translation
}

// do appends an effect to those that the call in hand returns.
func (t *Tracker) do(what Do, r Record) {
	t.effects = append(t.effects, Effect{Do: what, Record: r})
}
