package lab_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// Must hold: a second connection to a used data port is dropped. Law 4.
func TestSecondConnectionIsDropped(t *testing.T) {
	t.Parallel()
	for _, family := range []int{4, 6} {
		l := lab.New(t)
		l.Firewall("accept-line")
		listenForever(t, l)
		d := l.StartDaemon()
		_, data := pinholeBy(t, l, family, "EPSV")
		first, err := l.Dial(lab.Client, netip.Addr{}, data, transferLimit)
		if err != nil {
			t.Fatalf("IPv%d: the agreed connection: %v", family, err)
		}
		defer first.Close()
		before := dropped(t, l)
		second, err := l.Dial(lab.Client, netip.Addr{}, data, 500*time.Millisecond)
		if err == nil {
			second.Close()
			t.Errorf("IPv%d: a second connection to %v passed", family, data)
		}
		patience.Until(t, fmt.Sprintf("IPv%d: it was the firewall that dropped the second connection", family),
			func() bool { return dropped(t, l) > before })
		patience.Until(t, "one use record", func() bool {
			return len(lab.Pinholes(d.AuditRecords(), "use")) == 1
		})
	}
}

// Must hold: four connections at once to one pinhole: exactly one gets
// through, in 100 trials. Law 4. Ten sessions have ten trials each.
func TestOneOfFourGetsThrough(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	listenForever(t, l)
	l.StartDaemon()
	before := dropped(t, l)
	var sessions sync.WaitGroup
	for range 10 {
		s, err := l.Login(lab.Client, lab.Address(lab.Client, 4), lab.Address(lab.Server, 4))
		if err != nil {
			t.Fatal(err)
		}
		sessions.Go(func() {
			for trial := range 10 {
				data, err := s.Passive("PASV")
				if err != nil {
					t.Error(err)
					return
				}
				if passed := dialAtOnce(l, data, 4, patience.Limit); passed != 1 {
					t.Errorf("trial %d at %v: %d of 4 connections passed, want 1", trial, data, passed)
				}
			}
		})
	}
	sessions.Wait()
	if lost := dropped(t, l) - before; lost < 300 {
		t.Errorf("the firewall dropped %d packets, want the 300 SYNs that lost", lost)
	}
}

// dialAtOnce tries so many connections at the same moment and says how many came
// through: none, if the first has not within limit. After a second they send their
// SYNs again, which those that lost have done when they give up.
func dialAtOnce(l *lab.Lab, to netip.AddrPort, count int, limit time.Duration) int {
	const again = 1500 * time.Millisecond
	ctx, giveUp := context.WithTimeout(context.Background(), limit)
	defer giveUp()
	passed := make(chan net.Conn, count)
	start := make(chan struct{})
	var all sync.WaitGroup
	for range count {
		all.Go(func() {
			<-start
			conn, err := l.DialContext(ctx, lab.Client, netip.Addr{}, to)
			if err == nil {
				passed <- conn
				time.AfterFunc(again, giveUp)
			}
		})
	}
	close(start)
	all.Wait()
	close(passed)
	total := len(passed)
	for conn := range passed {
		conn.Close()
	}
	return total
}

func dropped(t *testing.T, l *lab.Lab) int {
	t.Helper()
	n, err := l.Dropped()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// listenForever starts a server whose data ports take any number of
// connections, so that only the firewall can be what stops one.
func listenForever(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, family := range []int{4, 6} {
		control, err := l.Listen(lab.Server, netip.AddrPortFrom(lab.Address(lab.Server, family), 21))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { control.Close() })
		go func() {
			for {
				conn, err := control.Accept()
				if err != nil {
					return // closed
				}
				go speak(t, l, conn)
			}
		}()
	}
}
