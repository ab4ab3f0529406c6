package lab_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ftpinhole/cmd/internal/control"
	"ftpinhole/cmd/internal/lab"
)

// Must hold: 1,000 reloads under load: no session or pinhole lost, memory flat.
// Not in parallel: its memory is compared.
func TestThousandReloads(t *testing.T) {
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	path := filepath.Join(t.TempDir(), "f.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("pinhole_timeout = '300s'\n")
	d := l.StartDaemon("--config", path)
	client, server := lab.Address(lab.Client, 4), lab.Address(lab.Server, 4)

	// Pinholes that wait all the while, and sessions that transfer.
	const waitingSessions, busy, reloads = 20, 4, 1000
	type user struct {
		s    *lab.Session
		data netip.AddrPort
	}
	var users []user
	for range waitingSessions {
		s, data := pinhole(t, l)
		users = append(users, user{s, data})
	}
	before := held(t, l)
	if len(before) != waitingSessions {
		t.Fatalf("%d pinholes are open, want %d", len(before), waitingSessions)
	}
	stop := make(chan struct{})
	var load sync.WaitGroup
	transfers := make([]int, busy)
	for i := range busy {
		s, err := l.Login(lab.Client, client, server)
		if err != nil {
			t.Fatal(err)
		}
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := transfer(s, transfers[i]); err != nil {
					t.Errorf("session %d, transfer %d: %v", i, transfers[i], err)
					return
				}
				transfers[i]++
			}
		})
	}

	op, err := control.Dial(d.Socket)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	reload := func() {
		t.Helper()
		i := count
		count++
		write(fmt.Sprintf("pinhole_timeout = '%ds'\nports = [21, %d]\nhooks = [%s]\n[limits]\nsessions = %d\n[policy]\nlowest_port = %d\n",
			30+i%2, 2000+i%3, []string{"'forward'", "'forward', 'input'"}[i/50%2], 1000+i, 1024+i%5))
		if i%10 == 9 {
			err = d.Hangup()
		} else {
			err = op.Reload(t.Context())
		}
		if err != nil {
			t.Fatalf("reload %d: %v", i, err)
		}
	}
	begun := time.Now()
	for range reloads {
		reload()
	}
	took := time.Since(begun)
	close(stop)
	load.Wait()
	total := 0
	for _, n := range transfers {
		total += n
	}
	t.Logf("%d reloads in %v, %d transfers beside them", reloads, took.Round(time.Millisecond), total)
	if total < 100 {
		t.Errorf("only %d transfers: no load", total)
	}

	// Under load the trail's cache fills, up to 16 MiB. So the memory is compared
	// without.
	var resident []int
	for i := range 300 {
		if i%50 == 0 {
			resident = append(resident, d.Resident())
		}
		reload()
	}
	resident = append(resident, d.Resident())
	t.Logf("resident memory, each 50 reloads, in kB: %d", resident)
	if first, last := resident[0], resident[len(resident)-1]; last > first+first/20 {
		t.Errorf("it grew from %d kB to %d kB", first, last)
	}

	after := held(t, l)
	for _, id := range before {
		if !slices.Contains(after, id) {
			t.Errorf("pinhole %s was lost", id)
		}
	}
	for i, u := range users {
		data, err := u.data, error(nil)
		if i%2 == 1 { // another of the session from before
			data, err = u.s.Passive("EPSV")
		}
		if err == nil {
			_, err = u.s.Retrieve(data, "hello.txt")
		}
		if err != nil {
			t.Errorf("session %d from before: %v", i, err)
		}
	}
	for _, trouble := range []string{"taken away", "not reloaded", "did not open", "level=ERROR"} {
		if strings.Contains(d.Stderr(), trouble) {
			t.Errorf("the daemon said %q", trouble)
		}
	}
	d.Stop()
}

// transfer fetches a file, each time in another way.
func transfer(s *lab.Session, n int) error {
	if n%2 == 0 {
		_, err := s.RetrieveActive([]string{"PORT", "EPRT"}[n/2%2], "hello.txt")
		return err
	}
	data, err := s.Passive([]string{"PASV", "EPSV"}[n/2%2])
	if err != nil {
		return err
	}
	_, err = s.Retrieve(data, "hello.txt")
	return err
}
