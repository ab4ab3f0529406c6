package bench

import (
	"flag"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"ftpinhole/cmd/internal/audit"
	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/lab/load"
	"ftpinhole/conntrack"
)

var nat = flag.String("nat", "none", "how the gateway translates: none or masquerade")

var restarts = flag.Int("restarts", 0, "how often the daemon is ended and started again, by TERM and by KILL in turns")

// fewPorts come again all the time between the same two hosts. They are fewer than the
// clients, so that the next session has a port at once that another one has given up.
const fewPorts = 4

// BenchmarkTruth holds the audit log against what the clients noted, where ports come
// again between two hosts: few passive ports, and one of each client's in active mode;
// and where a port is agreed on again whose pinhole nobody had used.
func BenchmarkTruth(b *testing.B) {
	for b.Loop() {
		l := lab.New(b)
		l.Firewall("accept-line")
		if *nat != "none" {
			l.Translate(lab.NAT{Kind: *nat})
		}
		startServer(b, l, fewPorts)
		d := l.StartDaemon()
		options := load.Options{Clients: 16, For: time.Duration(*seconds * float64(time.Second)), Session: 3, Size: 1024, Waste: 5}
		var notes []load.Note
		var both sync.WaitGroup
		var mu sync.Mutex
		for _, mode := range []string{"PASV", "PORT"} {
			both.Go(func() {
				o := options
				o.Server, o.Mode = netip.AddrPortFrom(lab.Address(lab.Server, 4), 21), mode
				r, err := clients(b, l, o)
				if err != nil {
					b.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				notes = append(notes, r.Notes...)
			})
		}
		var outages []load.Outage
		for i := range *restarts {
			time.Sleep(options.For / time.Duration(*restarts+1))
			o := load.Outage{Begin: time.Now()}
			if i%2 == 0 {
				d.Stop()
			} else {
				d.Kill()
			}
			d = d.Restart()
			o.End = time.Now()
			outages = append(outages, o)
		}
		both.Wait()
		d.Stop()
		truth := load.Judge(notes, recorded(b, d.AuditPath), outages)
		b.Log(&truth)
		if *out != "" {
			if err := os.WriteFile(*out, []byte(truth.String()+"\n"), 0o644); err != nil {
				b.Fatal(err)
			}
		}
		if !truth.Holds() {
			b.Error("the audit log does not tell the truth")
		}
	}
}

func recorded(b *testing.B, path string) (records []conntrack.Record) {
	b.Helper()
	for r, err := range audit.Backwards(path) {
		if err != nil {
			b.Fatal(err)
		}
		records = append(records, r)
	}
	return records
}
