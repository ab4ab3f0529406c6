package replay

import (
	"net/netip"

	"ftpinhole/conntrack"
)

// flow is a data connection, whoever opened it first.
type flow struct{ src, dst netip.AddrPort }

// connection is a data connection that a pinhole let in.
type connection struct {
	orig, reply uint64 // payload bytes
	origFIN     bool
	replyFIN    bool
}

// dataPacket takes the packets of data connections, and reports whether this
// was one.
func (r *replay) dataPacket(p *conntrack.Packet) bool {
	const handshake = conntrack.SYN | conntrack.ACK | conntrack.FIN | conntrack.RST
	f := flow{p.Src, p.Dst}
	if p.Flags&handshake == conntrack.SYN {
		before := r.tracker.Counts().Data
		r.do(r.tracker.Used(r.now, f.src, f.dst))
		if r.tracker.Counts().Data > before {
			r.data[f] = &connection{}
			return true
		}
		_, again := r.data[f]
		return again
	}
	if c := r.data[f]; c != nil {
		c.orig += uint64(len(p.Payload))
		c.origFIN = c.origFIN || p.Flags&conntrack.FIN != 0
		r.progress(f, c, p, false)
		return true
	}
	back := flow{p.Dst, p.Src}
	if c := r.data[back]; c != nil {
		c.reply += uint64(len(p.Payload))
		c.replyFIN = c.replyFIN || p.Flags&conntrack.FIN != 0
		r.progress(back, c, p, true)
		return true
	}
	return false
}

func (r *replay) progress(f flow, c *connection, p *conntrack.Packet, reply bool) {
	if reply && p.Flags&conntrack.RST == 0 {
		r.tracker.Established(f.src, f.dst)
	}
	if p.Flags&conntrack.RST != 0 || c.origFIN && c.replyFIN {
		delete(r.data, f)
		r.do(r.tracker.Ended(r.now, f.src, f.dst, true, c.orig, c.reply))
	}
}
