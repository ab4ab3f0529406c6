package gateway

import (
	"ftpinhole/cmd/internal/flows"
	"ftpinhole/rules/nft"
)

// knownFlow is a data connection that the shards were told of. To conntrack, what
// opens it again after a RST is the same one.
type knownFlow struct {
	reopened uint32 // nft.ReopenMark as it was last
	// waiting: a SYN has opened it again, and nothing was told of it since; its
	// state is still that of the connection before.
	waiting bool
	// What the counters said at the end of the connection before.
	orig, reply uint64
}

func newKnownFlow(f flows.Flow) *knownFlow { return &knownFlow{reopened: f.Mark & nft.ReopenMark} }

// reopens reports whether a word of a data connection tells that it was opened
// again: as one more connection.
func (k *knownFlow) reopens(f flows.Flow) bool {
	mark := f.Mark & nft.ReopenMark
	if k.reopened == mark {
		k.waiting = k.waiting && (f.State == flows.None || f.State == flows.Close)
		return false
	}
	k.reopened, k.waiting = mark, true
	return true
}

// over reports whether the connection has ended.
func (k *knownFlow) over(f flows.Flow) bool { return f.State.Over() && !k.waiting }

// ended returns the flow with the bytes of its last connection alone.
func (k *knownFlow) ended(f flows.Flow) flows.Flow {
	if f.Counted {
		orig, reply := f.BytesOrig, f.BytesReply
		f.BytesOrig, f.BytesReply = orig-min(k.orig, orig), reply-min(k.reply, reply)
		k.orig, k.reply = orig, reply
	}
	return f
}
