package trail

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"ftpinhole/cmd/internal/patience"
	"ftpinhole/conntrack"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	runChild()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

var quiet = slog.New(slog.DiscardHandler)

// start of the tests' time: recent, so that nothing is too old.
var begun = time.Now().Add(-time.Hour).Truncate(time.Microsecond).UTC()

var roomy = Config{Keep: 90 * 24 * time.Hour, MaxBytes: 1 << 30}

// pinhole is a record of the nth pinhole of a made-up day.
func pinhole(n int, action conntrack.Action) conntrack.Record {
	session := n/4 + 1
	r := conntrack.Record{
		Time: begun.Add(time.Duration(n) * time.Millisecond), Action: action, FlowID: uint64(session) * 0x9e3779b97f % (1 << 53),
		Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(session >> 16), byte(session >> 8), byte(session)}), 40000),
		Server: netip.MustParseAddrPort("192.0.2.21:21"), User: fmt.Sprintf("user%d", session%997),
		Mode: conntrack.Passive, Command: "PASV", Transfer: "RETR", Path: "/pub/file.bin",
	}
	r.Pinhole = conntrack.Pinhole{ID: fmt.Sprintf("%x-%d", r.FlowID, n%4+1), Src: r.Client.Addr(),
		Dst: netip.AddrPortFrom(r.Server.Addr(), uint16(1024+n%60000)), Timeout: 30 * time.Second}
	if action != conntrack.Open {
		r.Pinhole.SrcPort = 51000
	}
	switch action {
	case conntrack.Close:
		r.Reason, r.Counted, r.BytesToClient, r.Duration = conntrack.Finished, true, uint64(n), time.Second
	case conntrack.Deny:
		r.Reason, r.Pinhole.ID, r.Pinhole.SrcPort = "privileged_port", "", 0
	}
	return r
}

func open(t testing.TB, path string, cfg Config) *Trail {
	t.Helper()
	tr, err := Open(path, cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func shut(t testing.TB, tr *Trail) {
	t.Helper()
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if n := tr.Lost(); n != 0 {
		t.Errorf("%d records lost", n)
	}
}

func reader(t testing.TB, path string) *Reader {
	t.Helper()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func find(t testing.TB, path string, f Filter) []conntrack.Record {
	t.Helper()
	out, err := reader(t, path).Find(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fill writes the records of n pinholes: open, use and close, and a refusal
// for each third.
func fill(t testing.TB, path string, n int) (records int) {
	t.Helper()
	tr := open(t, path, roomy)
	put := func(r conntrack.Record) {
		for len(tr.others) > cap(tr.others)/2 || len(tr.refusals) > cap(tr.refusals)/2 {
			time.Sleep(time.Millisecond)
		}
		tr.Write(r)
		records++
	}
	for i := range n {
		put(pinhole(i, conntrack.Open))
		put(pinhole(i, conntrack.Use))
		put(pinhole(i, conntrack.Close))
		if i%3 == 0 {
			put(pinhole(i, conntrack.Deny))
		}
	}
	patience.Until(t, "all is taken", func() bool { return len(tr.others)+len(tr.refusals) == 0 })
	shut(t, tr)
	return records
}

func TestWriteAndFind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", FileName)
	n := fill(t, path, patience.Amount(3000, 150))
	if got := find(t, path, Filter{Limit: 1 << 20}); len(got) != n {
		t.Fatalf("%d records, want %d", len(got), n)
	}
}

// The must of issue 6: writing keeps up with 10,000 records a second.
func BenchmarkWrite(b *testing.B) {
	path := filepath.Join(b.TempDir(), FileName)
	start := time.Now()
	n := 0
	for b.Loop() {
		n += fill(b, path+fmt.Sprint(n, rand.Int()), 30000)
	}
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "records/s")
}
