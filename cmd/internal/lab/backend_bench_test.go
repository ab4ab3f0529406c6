package lab_test

import (
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
)

// Transfers a second through expectations and through sets, in turns on one
// machine, and their ratio. Each goes over a session that stays open.
func BenchmarkBackends(b *testing.B) {
	type side struct {
		*lab.Session
		took time.Duration
	}
	sides := make(map[string]*side)
	for _, backend := range []string{"nft", "expect"} {
		l := lab.New(b)
		if !expects(b, l) {
			b.Skip("this kernel has no user-space helpers (nfnetlink_cthelper): scripts/test-kernels --bench")
		}
		l.Firewall("accept-line")
		l.StartServer("vsftpd", lab.Server)
		l.StartDaemon("--backend", backend)
		s, err := l.Login(lab.Client, lab.Address(lab.Client, 4), lab.Address(lab.Server, 4))
		if err != nil {
			b.Fatal(err)
		}
		sides[backend] = &side{Session: s}
	}
	for b.Loop() {
		for backend, s := range sides { // in a random order
			begun := time.Now()
			data, err := s.Passive("EPSV")
			if err == nil {
				_, err = s.Retrieve(data, "hello.txt")
			}
			if err != nil {
				b.Fatalf("%s: %v", backend, err)
			}
			s.took += time.Since(begun)
		}
	}
	for backend, s := range sides {
		b.ReportMetric(float64(b.N)/s.took.Seconds(), backend+"-transfers/s")
	}
	b.ReportMetric(sides["nft"].took.Seconds()/sides["expect"].took.Seconds(), "expect/nft")
}
