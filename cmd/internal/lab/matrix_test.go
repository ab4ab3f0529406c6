package lab_test

import (
	"sync"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
)

// Must hold: three servers × two families × active and passive, plain and
// extended, in both directions of transfer, and each client: all pass with
// the daemon. With them go pyftpdlib, which connects before it answers PORT,
// and GNU inetutils' server.
func TestTransfersWithDaemon(t *testing.T) {
	for _, server := range lab.Servers() {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			l.Firewall("accept-line")
			l.StartServer(server, lab.Server)
			d := l.StartDaemon()
			total, seen := 0, 0
			for _, v := range lab.Variants() {
				total += everyTransfer(t, l, v)
				records := d.WaitClosed(t, total)
				checkRecords(t, v, records[seen:])
				seen = len(records)
			}
		})
	}
}

// everyTransfer runs what each client can do in a variant, some at a time (a
// ProFTPD sleeps 0.4 s after each session), and returns how many they were.
func everyTransfer(t *testing.T, l *lab.Lab, v lab.Variant) int {
	t.Helper()
	host := lab.Address(lab.Server, v.Family)
	transfers := 0
	var all sync.WaitGroup
	turn := make(chan struct{}, 6)
	for _, program := range lab.Programs() {
		for _, op := range lab.Ops() {
			if !program.Can(v, op) {
				continue
			}
			transfers++
			all.Go(func() {
				turn <- struct{}{}
				defer func() { <-turn }()
				if err := program.Run(l, v, op, host, transferLimit); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	return transfers
}

// checkRecords wants that each transfer's pinhole was opened by the variant's
// own command, used once, and closed because the transfer was finished.
func checkRecords(t *testing.T, v lab.Variant, records []lab.Record) {
	t.Helper()
	uses := make(map[string]int)
	for _, record := range lab.Pinholes(records, "use") {
		uses[record.Pinhole.ID]++
	}
	for _, record := range lab.Pinholes(records, "open") {
		if record.FTP.Command != v.Command() {
			t.Errorf("%v: opened by %s: %s", v, record.FTP.Command, record.Raw)
		}
	}
	for _, record := range lab.Pinholes(records, "close") {
		if record.Pinhole.Reason != "finished" {
			t.Errorf("%v: not closed because it was finished: %s", v, record.Raw)
		}
		if uses[record.Pinhole.ID] != 1 {
			t.Errorf("%v: %d use records, want 1: %s", v, uses[record.Pinhole.ID], record.Raw)
		}
	}
	for _, record := range lab.Pinholes(records, "deny") {
		t.Errorf("%v: denied: %s", v, record.Raw)
	}
}

// Must hold: … none without it. All wait at the same time.
func TestNoTransferWithoutDaemon(t *testing.T) {
	t.Parallel()
	for _, server := range lab.Servers() {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			l.Firewall("accept-line")
			l.StartServer(server, lab.Server)
			var all sync.WaitGroup
			turn := make(chan struct{}, 32)
			for _, v := range lab.Variants() {
				for _, program := range lab.Programs() {
					for _, op := range lab.Ops() {
						// One server is enough to see what each client does.
						if !program.Can(v, op) || server != "vsftpd" && program.Name != "curl" {
							continue
						}
						all.Go(func() {
							turn <- struct{}{}
							defer func() { <-turn }()
							if program.Run(l, v, op, lab.Address(lab.Server, v.Family), 2*time.Second) == nil {
								t.Errorf("%s %v %s passed", program.Name, v, op)
							}
						})
					}
				}
			}
			all.Wait()
			if dropped, err := l.Dropped(); err != nil || dropped == 0 {
				t.Errorf("the firewall dropped %d packets (%v): the transfers failed for another reason", dropped, err)
			}
		})
	}
}

// The same transfers through the kernel's own helper: what fails here is the
// lab's fault and not the daemon's.
func TestTransfersWithKernelHelper(t *testing.T) {
	for _, server := range lab.Servers() {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			l.Firewall("kernel-helper")
			l.StartServer(server, lab.Server)
			for _, v := range lab.Variants() {
				everyTransfer(t, l, v)
			}
		})
	}
}
