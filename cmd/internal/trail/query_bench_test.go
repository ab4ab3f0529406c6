package trail

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"ftpinhole/cmd/internal/patience"
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

// 500,000 pinholes, one filter: under 100 ms.
func BenchmarkFind(b *testing.B) {
	path := filepath.Join(b.TempDir(), FileName)
	n := fill(b, path, 500000)
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
		{"none", Filter{}},
		{"since", Filter{Since: since}},
		{"until", Filter{Until: begun.Add(time.Second)}},
		{"uses_until", Filter{Until: begun.Add(time.Second), Action: conntrack.Use}},
		{"nobody", Filter{User: "nobody"}},
		{"last_second", Filter{Since: begun.Add(499 * time.Second), Clients: prefix("10.0.0.0/8")}},
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
		benchFind(b, r, bb.name, bb.f)
	}
}

func benchFind(b *testing.B, r *Reader, name string, f Filter) {
	b.Run(name, func(b *testing.B) {
		n := 0
		before := cpuTime(b)
		for b.Loop() {
			got, err := r.Find(b.Context(), f)
			if err != nil {
				b.Fatal(err)
			}
			n = len(got)
		}
		// Its own work, whatever else the machine does.
		b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		b.Logf("%d found", n)
	})
}

// facets are what a filter may ask of a pinhole, each in two ways, which exclude each
// other. Each way has two ports, as no server lives on one. The last is asked in the
// first way alone: then the pinhole was used.
var facets = []struct {
	name string
	ask  func(f *Filter, way int)
	give func(r *conntrack.Record, way int)
}{
	{"user", func(f *Filter, way int) { f.User = facetUsers[way] },
		func(r *conntrack.Record, way int) { r.User = facetUsers[way] }},
	{"port", func(f *Filter, way int) { f.Port = facetPorts[way] },
		func(r *conntrack.Record, way int) {
			r.Pinhole.Dst = netip.AddrPortFrom(r.Pinhole.Dst.Addr(), facetPorts[way]+r.Pinhole.Dst.Port()/2%2)
		}},
	{"reason", func(f *Filter, way int) { f.Reasons = []conntrack.Reason{facetReasons[way]} },
		func(r *conntrack.Record, way int) { r.Reason = facetReasons[way] }},
	{"client", func(f *Filter, way int) {
		f.Clients = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(10 + way)}), 8)}
	}, func(r *conntrack.Record, way int) {
		a := r.Client.Addr().As4()
		a[0] = byte(10 + way)
		r.Client = netip.AddrPortFrom(netip.AddrFrom4(a), 40000)
	}},
	{"server", func(f *Filter, way int) {
		f.Servers = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(way)}), 32)}
	}, func(r *conntrack.Record, way int) {
		r.Server = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(way)}), 21)
	}},
	{"used", func(f *Filter, way int) { f.Action = conntrack.Use }, func(r *conntrack.Record, way int) {}},
}

const facetUsed = 5

var (
	facetUsers   = [2]string{"anonymous", "somebody"}
	facetPorts   = [2]uint16{2000, 3000}
	facetReasons = [2]conntrack.Reason{conntrack.Finished, conntrack.Expired}
)

// faceted writes 500,000 pinholes, of which way says the facets.
func faceted(b *testing.B, way func(i, facet int) int) *Reader {
	path := filepath.Join(b.TempDir(), FileName)
	tr := open(b, path, roomy)
	for i := range 500000 {
		for _, action := range []conntrack.Action{conntrack.Open, conntrack.Use, conntrack.Close} {
			r := pinhole(i, action)
			for n, f := range facets {
				f.give(&r, way(i, n))
			}
			if action == conntrack.Use && way(i, facetUsed) != 0 {
				continue
			}
			for len(tr.others) > cap(tr.others)/2 {
				time.Sleep(time.Millisecond)
			}
			tr.Write(of(r))
		}
	}
	patience.Until(b, "all is taken", func() bool { return len(tr.others) == 0 })
	shut(b, tr)
	return reader(b, path)
}

// Two conditions, of which each holds for half of the records and both for a few
// old ones.
func BenchmarkFindPairs(b *testing.B) {
	r := faceted(b, func(i, facet int) int {
		if i < 64 {
			return i >> facet & 1
		}
		return i & 1
	})
	for n, one := range facets {
		for _, other := range facets[:n] {
			f := Filter{Since: begun.Add(-time.Minute)}
			one.ask(&f, 0)
			other.ask(&f, 1)
			benchFind(b, r, one.name+"_"+other.name, f)
		}
	}
}

// Three conditions, of which each two hold for a third of the records, and all for
// none.
func BenchmarkFindTriples(b *testing.B) {
	third := []int{0, 1, 2, 0, 1, 2} // of a facet: where it does not hold
	r := faceted(b, func(i, facet int) int {
		if i%3 == third[facet] {
			return 1
		}
		return 0
	})
	for _, triple := range [][3]int{{0, 1, 2}, {0, 4, 2}, {3, 1, 2}, {3, 4, 2}, {0, 1, 5}, {3, 4, 5}} {
		f := Filter{Since: begun.Add(-time.Minute)}
		name := ""
		for _, n := range triple {
			facets[n].ask(&f, 0)
			name += facets[n].name + "_"
		}
		benchFind(b, r, name[:len(name)-1], f)
	}
}

// 500,000 pinholes: under a second.
func BenchmarkSummary(b *testing.B) {
	path := filepath.Join(b.TempDir(), FileName)
	fill(b, path, 500000)
	r := reader(b, path)
	for _, by := range []By{ByClient, ByServer, ByUser, ByReason} {
		for name, f := range map[string]Filter{"all": {}, "since": {Since: begun.Add(-time.Minute)}, "until": {Until: begun.Add(400 * time.Second)}} {
			b.Run(string(by)+"_"+name, func(b *testing.B) {
				n := 0
				for b.Loop() {
					got, err := r.Summary(b.Context(), f, by)
					if err != nil {
						b.Fatal(err)
					}
					n = len(got)
				}
				b.Logf("%d lines", n)
			})
		}
	}
}
