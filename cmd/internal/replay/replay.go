package replay

import (
	"errors"
	"io"
	"net/netip"
	"time"

	"ftpinhole/conntrack"
)

// Source gives one packet after the other, io.EOF at the end. ok is false for
// what is not TCP.
type Source interface {
	Next() (at time.Time, pkt conntrack.Packet, ok bool, err error)
}

// tick is how much of the capture's time passes between two looks at what has
// had its time.
const tick = 50 * time.Millisecond

// Run replays the capture and hands each record to tell, in order. The records
// carry the capture's times. A capture that breaks off is replayed to there,
// and its error returned.
func Run(src Source, tracker *conntrack.Tracker, tell func(*conntrack.Record)) error {
	r := replay{tracker: tracker, tell: tell, data: make(map[flow]*connection)}
	for {
		at, pkt, ok, err := src.Next()
		if err != nil {
			r.do(tracker.Stop(r.now, conntrack.EndOfCapture))
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		r.pass(at)
		if ok {
			r.packet(&pkt)
		}
	}
}

type replay struct {
	tracker *conntrack.Tracker
	tell    func(*conntrack.Record)
	now     time.Time // the latest time of the capture
	data    map[flow]*connection
}

// pass lets time pass up to that of the packet in hand. Captures may step back
// a little; the tracker's time does not.
func (r *replay) pass(at time.Time) {
	if at.Before(r.now) {
		return
	}
	// Pinholes end at their own time; without any, silence may be of any length.
	for r.tracker.Counts().Pinholes > 0 && r.now.Add(tick).Before(at) {
		r.now = r.now.Add(tick)
		r.do(r.tracker.Tick(r.now))
	}
	r.now = at
	r.do(r.tracker.Tick(at))
}

func (r *replay) packet(p *conntrack.Packet) {
	if !r.dataPacket(p) {
		r.do(r.tracker.Packet(r.now, p))
	}
}

// do carries effects out as a kernel would that answers at once.
func (r *replay) do(effects []conntrack.Effect) {
	// The tracker's next call overwrites its answer to this one.
	for _, e := range append([]conntrack.Effect(nil), effects...) {
		hole := e.Record.Pinhole
		switch e.Do {
		case conntrack.DoRecord:
			r.tell(&e.Record)
		case conntrack.DoOpen:
			r.do(r.tracker.Opened(r.now, hole.ID, "", nil))
		case conntrack.DoClose:
			r.do(r.tracker.Closed(r.now, hole.ID, false))
		case conntrack.DoLengthen:
			r.tracker.Lengthened(r.now, hole.ID, true)
		case conntrack.DoKill:
			r.do(r.tracker.Killed(r.now, netip.AddrPortFrom(hole.Src, hole.SrcPort), hole.Dst))
		}
	}
}
