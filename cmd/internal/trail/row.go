package trail

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"ftpinhole/conntrack"
)

// columns are the record's, in the order of values and scanned; seq stands
// before them.
const columns = "time, action, reason, flow, client, client_port, server, server_port, user, " +
	"mode, command, transfer, path, id, src, src_port, from_port, dst, dst_port, timeout, count, " +
	"to_server, to_client, duration, pinholes, denied, conflicts, flags, outside, outside_port, seen_as, backend"

// The flags of a row.
const (
	flagObserved = 1 << iota
	flagCounted
	flagEncrypted
	flagReconstructed
)

// insertion adds a record, unless it is there already.
var insertion = "INSERT OR IGNORE INTO records (seq, " + columns + ") VALUES (?" +
	strings.Repeat(", ?", strings.Count(columns, ",")+1) + ")"

// values are the columns of r. The words of closed lists are stored as text, in
// which invalid bytes would be no error of SQLite's either.
func values(seq int64, r *conntrack.Record) []any {
	p := &r.Pinhole
	return []any{
		seq, r.Time.UnixMicro(), int64(r.Action), string(r.Reason), int64(r.FlowID),
		addrKey(r.Client.Addr()), int64(r.Client.Port()), addrKey(r.Server.Addr()), int64(r.Server.Port()), []byte(r.User),
		int64(r.Mode), r.Command, r.Transfer, []byte(r.Path),
		p.ID, addrKey(p.Src), int64(p.SrcPort), int64(p.FromPort), addrKey(p.Dst.Addr()), int64(p.Dst.Port()), p.Timeout.Microseconds(), int64(r.Count),
		int64(r.BytesToServer), int64(r.BytesToClient), r.Duration.Microseconds(), int64(r.Pinholes), int64(r.Denied), int64(r.Conflicts), flags(r),
		addrKey(p.Outside.Addr()), int64(p.Outside.Port()), addrKey(p.SeenAs), p.Backend,
	}
}

func flags(r *conntrack.Record) int64 {
	var f int64
	for _, b := range []struct {
		set  bool
		flag int64
	}{{r.Observed, flagObserved}, {r.Counted, flagCounted}, {r.Encrypted, flagEncrypted}, {r.Reconstructed, flagReconstructed}} {
		if b.set {
			f |= b.flag
		}
	}
	return f
}

// scanned reads a row of columns.
func scanned(scan func(...any) error) (conntrack.Record, error) {
	var (
		r                                    conntrack.Record
		at, flow, toServer, toClient, f      int64
		timeout, duration                    int64
		client, server, user, path, src, dst []byte
		outside, seenAs                      []byte
		clientPort, serverPort, dstPort      uint16
		outsidePort                          uint16
	)
	p := &r.Pinhole
	err := scan(&at, &r.Action, &r.Reason, &flow, &client, &clientPort, &server, &serverPort, &user,
		&r.Mode, &r.Command, &r.Transfer, &path, &p.ID, &src, &p.SrcPort, &p.FromPort, &dst, &dstPort, &timeout, &r.Count,
		&toServer, &toClient, &duration, &r.Pinholes, &r.Denied, &r.Conflicts, &f,
		&outside, &outsidePort, &seenAs, &p.Backend)
	if err != nil {
		return r, err
	}
	r.Time = time.UnixMicro(at).UTC()
	r.FlowID, r.BytesToServer, r.BytesToClient = uint64(flow), uint64(toServer), uint64(toClient)
	r.Client, r.Server = netip.AddrPortFrom(addrOf(client), clientPort), netip.AddrPortFrom(addrOf(server), serverPort)
	p.Src, p.Dst = addrOf(src), netip.AddrPortFrom(addrOf(dst), dstPort)
	p.Outside, p.SeenAs = netip.AddrPortFrom(addrOf(outside), outsidePort), addrOf(seenAs)
	r.User, r.Path = string(user), string(path)
	p.Timeout, r.Duration = time.Duration(timeout)*time.Microsecond, time.Duration(duration)*time.Microsecond
	r.Observed, r.Counted = f&flagObserved != 0, f&flagCounted != 0
	r.Encrypted, r.Reconstructed = f&flagEncrypted != 0, f&flagReconstructed != 0
	return r, nil
}

// rowBytes is about what a record takes in the database: its columns and index
// entries, and the text from the wire, of which the user stands in five indices too.
func rowBytes(r *conntrack.Record) int64 {
	return rowOverhead + 6*int64(len(r.User)) + int64(len(r.Path))
}

// rowOverhead is measured, with IPv6 addresses, which the gateway translates.
const rowOverhead = 900

// rowBytesSQL is rowBytes of a row. The totals of another are not these: who
// changes it changes them in a migration.
var rowBytesSQL = fmt.Sprintf("%d + 6*length(user) + length(path)", rowOverhead)
