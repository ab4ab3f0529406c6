package trail

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"ftpinhole/conntrack"
)

// What a transfer costs: its open, use and close, of a session that has ten, of one
// of 200 clients.
func BenchmarkTransfer(b *testing.B) {
	tr := open(b, filepath.Join(b.TempDir(), FileName), roomy)
	put := func(r conntrack.Record, n int) {
		session := n / 10
		r.FlowID = uint64(session+1) * 0x9e3779b97f % (1 << 53)
		r.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(session % 200)}), 40000)
		for len(tr.others) > cap(tr.others)/2 {
			time.Sleep(time.Millisecond)
		}
		tr.Write(r)
	}
	before := cpuTime(b)
	b.ResetTimer()
	for n := range b.N {
		put(pinhole(n, conntrack.Open), n)
		put(pinhole(n, conntrack.Use), n)
		put(pinhole(n, conntrack.Close), n)
		if n%10 == 9 {
			for _, action := range []conntrack.Action{conntrack.Start, conntrack.End} {
				r := pinhole(n, action)
				r.Pinhole, r.Mode, r.Command, r.Transfer, r.Path = conntrack.Pinhole{}, 0, "", "", ""
				put(r, n)
			}
		}
	}
	shut(b, tr)
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1000/float64(b.N), "cpu-µs/transfer")
}
