package trail

import (
	"slices"

	"ftpinhole/conntrack"
)

var refusalEvents = []event{{action: conntrack.Deny, at: "time"}}

// refusals has a row for each record of a refusal, with its count. A refusal has
// no name but its seq, which the writer gives it once.
var refusals = table{
	name: "refusals", kind: refused,
	events:  refusalEvents,
	columns: "time, " + sessionColumns + ", " + channelColumns + ", count",
	size:    "350 + 2*length(user) + length(path)", sizeOf: refusalBytes, values: refusalValues, scanned: scannedRefusal,
}

func refusalBytes(l *life) int64 {
	r := l.latest()
	return 350 + 2*int64(len(r.User)) + int64(len(r.Path))
}

func refusalValues(l *life) []any {
	r := l.latest()
	return slices.Concat(times(l, 0), sessionValues(l), channelValues(r), []any{int64(r.Count)})
}

func scannedRefusal(scan func(...any) error) (seq int64, l life, err error) {
	var r row
	var count int
	err = scan(slices.Concat(r.times(0), r.session(), r.channel(), []any{&count})...)
	if err != nil {
		return 0, l, err
	}
	r.at[0].V, r.at[0].Valid = r.latest, true
	l = r.life(refusalEvents)
	l[0].Reason, l[0].Pinhole.SrcPort, l[0].Count = conntrack.Reason(r.reason), r.srcPort, count
	return r.seq, l, nil
}
