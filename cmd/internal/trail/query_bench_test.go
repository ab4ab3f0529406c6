package trail

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"ftpinhole/conntrack"

	"golang.org/x/sys/unix"
)

func cpuTime(tb testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The must of issue 6: 500,000 records, a filter, under 50 ms.
func BenchmarkFind(b *testing.B) {
	path := filepath.Join(b.TempDir(), FileName)
	n := fill(b, path, 150000)
	b.Logf("%d records", n)
	r := reader(b, path)
	since := begun.Add(-time.Minute)
	prefix := func(texts ...string) (all []netip.Prefix) {
		for _, s := range texts {
			all = append(all, netip.MustParsePrefix(s))
		}
		return all
	}
	for _, bb := range []struct {
		name string
		f    Filter
	}{
		{"since", Filter{Since: since}},
		{"last_second", Filter{Since: begun.Add(149 * time.Second), Clients: prefix("10.0.0.0/8")}},
		{"one_client", Filter{Since: since, Clients: prefix("10.0.1.7/32")}},
		{"some_clients", Filter{Since: since, Clients: prefix("10.0.16.0/20")}},
		{"two_clients", Filter{Since: since, Clients: prefix("10.0.1.7/32", "10.0.130.7/32")}},
		{"some_clients_and_none", Filter{Since: since, Clients: prefix("10.0.16.0/20", "172.16.0.0/12")}},
		{"all_clients", Filter{Since: since, Clients: prefix("10.0.0.0/8")}},
		{"half_of_the_clients_old", Filter{Since: since, Clients: prefix("10.0.0.0/18")}},
		{"no_client", Filter{Since: since, Clients: prefix("2001:db8::/32")}},
		{"server", Filter{Since: since, Servers: prefix("192.0.2.21/32")}},
		{"user", Filter{Since: since, User: "user5"}},
		{"port", Filter{Since: since, Port: 2000}},
		{"denials", Filter{Since: since, Action: conntrack.Deny}},
		{"reason", Filter{Since: since, Reasons: []conntrack.Reason{conntrack.Finished}}},
		{"reasons", Filter{Since: since, Reasons: []conntrack.Reason{"privileged_port", conntrack.Lost}}},
		{"denials_of_some", Filter{Since: since, Action: conntrack.Deny, Clients: prefix("10.0.16.0/20")}},
		{"denials_of_half_old", Filter{Since: since, Action: conntrack.Deny, Clients: prefix("10.0.0.0/18")}},
		{"closes_that_denials_have", Filter{Since: since, Action: conntrack.Close, Reasons: []conntrack.Reason{"privileged_port"}}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			n := 0
			before := cpuTime(b)
			for b.Loop() {
				got, err := r.Find(b.Context(), bb.f)
				if err != nil {
					b.Fatal(err)
				}
				n = len(got)
			}
			// Its own work, whatever else the machine does.
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
			by, _, err := r.choose(b.Context(), &bb.f)
			b.Logf("%d found, %s chosen (%v)", n, by.name, err)
		})
	}
}
