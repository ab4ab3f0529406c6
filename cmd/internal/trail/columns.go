package trail

import (
	"database/sql"
	"net/netip"
	"time"

	"ftpinhole/conntrack"
)

// The columns that two or three of the tables have: of the session, and of what
// was negotiated.
const (
	sessionColumns = "flow, client, client_port, server, server_port, user, reason, flags"
	channelColumns = "mode, command, transfer, path, id, src, src_port, from_port, dst, dst_port, timeout, outside, outside_port, seen_as, backend"
)

// The flags of a row.
const (
	flagObserved = 1 << iota
	flagCounted
	flagEncrypted
	flagReconstructed // of the first event; those of the others follow
)

// times are the columns of a life's times: the latest, then each of so many events.
func times(l *life, events int) []any {
	latest := l.latest().Time
	v := make([]any, 1+events)
	for i, r := range l[:events] {
		if r == nil {
			continue
		}
		v[1+i] = r.Time.UnixMicro()
		if r.Time.After(latest) { // the clock was set back
			latest = r.Time
		}
	}
	v[0] = latest.UnixMicro()
	return v
}

// sessionValues are the sessionColumns. The words of closed lists are stored as
// text, in which invalid bytes would be no error of SQLite's either.
func sessionValues(l *life) []any {
	r := l.latest()
	return []any{
		int64(r.FlowID), addrKey(r.Client.Addr()), int64(r.Client.Port()), addrKey(r.Server.Addr()), int64(r.Server.Port()),
		[]byte(r.User), string(r.Reason), flagsOf(l),
	}
}

func channelValues(r *conntrack.Record) []any {
	p := &r.Pinhole
	return []any{
		int64(r.Mode), r.Command, r.Transfer, []byte(r.Path),
		p.ID, addrKey(p.Src), int64(p.SrcPort), int64(p.FromPort), addrKey(p.Dst.Addr()), int64(p.Dst.Port()), p.Timeout.Microseconds(),
		addrKey(p.Outside.Addr()), int64(p.Outside.Port()), addrKey(p.SeenAs), p.Backend,
	}
}

func flagsOf(l *life) int64 {
	var f int64
	set := func(is bool, flag int64) {
		if is {
			f |= flag
		}
	}
	for i, r := range l {
		if r != nil {
			set(r.Reconstructed, flagReconstructed<<i)
		}
	}
	r := l.latest()
	set(r.Observed, flagObserved)
	set(r.Counted, flagCounted)
	set(r.Encrypted, flagEncrypted)
	return f
}

// row is where a row's columns are read to.
type row struct {
	seq    int64
	latest int64
	at     [3]sql.Null[int64]

	flow                   int64
	client, server, user   []byte
	clientPort, serverPort uint16
	reason                 string
	flags                  int64

	mode                      conntrack.Mode
	command, transfer         string
	path                      []byte
	id                        string
	src, dst, outside, seenAs []byte
	srcPort, fromPort         uint16
	dstPort, outsidePort      uint16
	timeout                   int64
	backend                   string

	toServer, toClient, duration int64
}

// times are where the times of so many events go, and what stands before them.
func (r *row) times(events int) []any {
	into := []any{&r.seq, &r.latest}
	for i := range events {
		into = append(into, &r.at[i])
	}
	return into
}

func (r *row) session() []any {
	return []any{&r.flow, &r.client, &r.clientPort, &r.server, &r.serverPort, &r.user, &r.reason, &r.flags}
}

func (r *row) channel() []any {
	return []any{
		&r.mode, &r.command, &r.transfer, &r.path,
		&r.id, &r.src, &r.srcPort, &r.fromPort, &r.dst, &r.dstPort, &r.timeout,
		&r.outside, &r.outsidePort, &r.seenAs, &r.backend,
	}
}

// record is what all records of the life tell alike.
func (r *row) record() conntrack.Record {
	return conntrack.Record{
		FlowID: uint64(r.flow),
		Client: netip.AddrPortFrom(addrOf(r.client), r.clientPort), Server: netip.AddrPortFrom(addrOf(r.server), r.serverPort),
		User: string(r.user), Mode: r.mode, Command: r.command, Transfer: r.transfer, Path: string(r.path),
		Pinhole: conntrack.Pinhole{
			ID: r.id, Src: addrOf(r.src), FromPort: r.fromPort, Dst: netip.AddrPortFrom(addrOf(r.dst), r.dstPort),
			Timeout: time.Duration(r.timeout) * time.Microsecond,
			Outside: netip.AddrPortFrom(addrOf(r.outside), r.outsidePort), SeenAs: addrOf(r.seenAs), Backend: r.backend,
		},
		Observed: r.flags&flagObserved != 0,
	}
}

// life makes a record of each event that has come.
func (r *row) life(events []event) life {
	var l life
	alike := r.record()
	for i, e := range events {
		if !r.at[i].Valid {
			continue
		}
		rec := alike
		rec.Time, rec.Action = time.UnixMicro(r.at[i].V).UTC(), e.action
		rec.Reconstructed = r.flags&(flagReconstructed<<i) != 0
		l[i] = &rec
	}
	return l
}

// end adds to the last event's record what it alone tells.
func (r *row) end(rec *conntrack.Record) {
	rec.Reason = conntrack.Reason(r.reason)
	rec.Counted, rec.Encrypted = r.flags&flagCounted != 0, r.flags&flagEncrypted != 0
	rec.BytesToServer, rec.BytesToClient = uint64(r.toServer), uint64(r.toClient)
	rec.Duration = time.Duration(r.duration) * time.Microsecond
}
