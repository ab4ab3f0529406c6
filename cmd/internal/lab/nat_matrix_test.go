package lab_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
)

// natClients are the clients that transfers under NAT are tried with.
func natClients() []lab.Program {
	return slices.DeleteFunc(lab.Programs(), func(p lab.Program) bool {
		return p.Name != "curl" && p.Name != "lftp" && p.Name != "ftplib"
	})
}

// natTransfers does these operations in all variants with each of these
// clients, some at a time, and returns how many were tried and how many passed.
func natTransfers(t *testing.T, l *lab.Lab, n lab.NAT, variants []lab.Variant, programs []lab.Program, ops ...lab.Op) (passed, tried int) {
	t.Helper()
	var good atomic.Int32
	var all sync.WaitGroup
	turn := make(chan struct{}, 6)
	for _, v := range variants {
		for _, program := range programs {
			for _, op := range ops {
				if !program.Can(v, op) {
					continue
				}
				tried++
				all.Go(func() {
					turn <- struct{}{}
					defer func() { <-turn }()
					if err := program.Run(l, v, op, n.Ends(v.Family).Published, transferLimit); err != nil {
						t.Errorf("%v: %v", n, err)
						return
					}
					good.Add(1)
				})
			}
		}
	}
	all.Wait()
	return int(good.Load()), tried
}

// noneInvalid wants that conntrack took every packet for one of its connection.
func noneInvalid(t *testing.T, l *lab.Lab) {
	t.Helper()
	if n, err := l.Invalid(); err != nil || n != 0 {
		t.Errorf("the firewall counts %d invalid packets (%v), want none", n, err)
	}
}

// Must hold: real servers and clients, masquerade and DNAT and both, PORT, EPRT,
// PASV and EPSV, in both families, in both directions of transfer: all pass. In
// the last, curl is enough.
func TestNATTransfers(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"vsftpd", "proftpd", "pure-ftpd", "pyftpdlib"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			l, d := translated(t, lab.NAT{Kind: "none"})
			l.StartServer(server, lab.Server)
			total := 0
			for _, n := range []lab.NAT{{"masquerade", "longer"}, {"dnat", "longer"}, {"both", "shorter"}} {
				clients := natClients()
				if n.Kind == "both" {
					clients = clients[:1]
				}
				l.Translate(n)
				_, tried := natTransfers(t, l, n, lab.Variants(), clients, lab.Ops()...)
				total += tried
			}
			noneInvalid(t, l)
			records := d.WaitClosed(t, total)
			for _, record := range lab.Pinholes(records, "close") {
				if record.Pinhole.Reason != "finished" {
					t.Errorf("not closed because it was finished: %s", record.Raw)
				}
			}
			for _, record := range lab.Pinholes(records, "deny") {
				t.Errorf("denied: %s", record.Raw)
			}
			t.Logf("%d transfers", total)
		})
	}
}

// What our daemon is measured by: each of three servers, masquerade and DNAT,
// PORT, EPRT, PASV and EPSV. Linux 6.18's own helper gets 24 of 24, and all of
// what our lab has besides; what fails here is the lab's fault.
func TestNATWithKernelHelper(t *testing.T) {
	t.Parallel()
	var passed, tried atomic.Int32
	t.Run("servers", func(t *testing.T) {
		for _, server := range []string{"vsftpd", "proftpd", "pure-ftpd"} {
			t.Run(server, func(t *testing.T) {
				t.Parallel()
				l := lab.New(t)
				l.Firewall("kernel-helper")
				l.StartServer(server, lab.Server)
				for _, n := range []lab.NAT{{"masquerade", "longer"}, {"dnat", "longer"}} {
					l.Translate(n)
					good, all := natTransfers(t, l, n, lab.Variants()[:4], lab.Programs()[:1], lab.Download)
					passed.Add(int32(good))
					tried.Add(int32(all))
				}
				n := lab.NAT{"both", "shorter"}
				l.Translate(n)
				natTransfers(t, l, n, lab.Variants(), lab.Programs()[:1], lab.Ops()...)
				noneInvalid(t, l)
			})
		}
	})
	score := fmt.Sprintf("%d of %d", passed.Load(), tried.Load())
	if score != "24 of 24" {
		t.Errorf("the kernel's helper gets %s, want 24 of 24", score)
	}
}

// Without daemon and helper nothing passes by luck, also where the firewall
// drops nothing: no side knows the way to an address that was not translated.
func TestNATWithoutDaemon(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("open")
	l.StartServer("vsftpd", lab.Server)
	for _, kind := range []string{"both", "hairpin"} {
		n := lab.NAT{Kind: kind}
		l.Translate(n)
		for _, family := range []int{4, 6} {
			s, err := l.Login(lab.Client, n.Ends(family).Client, n.Ends(family).Published)
			if err != nil {
				t.Fatalf("%v: the control connection: %v", n, err)
			}
			s.Conn.Close()
		}
		var all sync.WaitGroup
		for _, v := range lab.Variants() {
			for _, program := range natClients() {
				if !program.Can(v, lab.Download) {
					continue
				}
				all.Go(func() {
					if program.Run(l, v, lab.Download, n.Ends(v.Family).Published, 2*time.Second) == nil {
						t.Errorf("%v: %s %v passed", n, program.Name, v)
					}
				})
			}
		}
		all.Wait()
	}
}
