package dialogue_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/lab/dialogue"
	"ftpinhole/cmd/internal/patience"
)

// Must hold: each dialogue is delivered in full, legal or not; what both sides
// agreed on is open and nothing else; and the audit trail says so.
func TestLive(t *testing.T) {
	t.Parallel()
	list := dialogue.All()
	worlds := worldsOf(list)
	l := lab.New(t)
	l.Firewall("accept-line")
	prepare(t, l, worlds)
	d := l.StartDaemon("--ports", "21,2121")
	start := time.Now()
	results := player{l, patience.Limit}.playAll(worlds, list)
	t.Logf("%d dialogues in %v", len(list), time.Since(start).Round(time.Millisecond))
	records := d.WaitClosed(t, 1)
	patience.Until(t, "every session has its end record, which is its last", func() bool {
		records = d.AuditRecords()
		return ended(records) >= len(list)
	})
	trails := trailsOf(records)
	for i, one := range list {
		t.Run(one.Name, func(t *testing.T) {
			told := trails[worlds[i].Client.String()]
			if slices.Contains(told.trail, "deny kernel_error") {
				silent(t, d, results[i], told)
				return
			}
			if err := results[i].err(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(sorted(one.Trail), sorted(told.trail)); diff != "" {
				t.Errorf("trail (-want +got):\n%s", diff)
			}
			if want := through(one); told.uses != want {
				t.Errorf("%d use records, want %d", told.uses, want)
			}
			if told.starts != 1 || told.ends != 1 {
				t.Errorf("the session has %d start and %d end records, want one of each", told.starts, told.ends)
			}
			if t.Failed() {
				for _, line := range told.raw {
					t.Log(strings.TrimSpace(line))
				}
			}
		})
	}
}

// silent judges a dialogue in which the kernel did not answer for two seconds: law 1
// excepts its ports, as long as that is recorded, and nothing else.
func silent(t *testing.T, d *lab.Daemon, res result, told told) {
	t.Helper()
	if !strings.Contains(d.Stderr(), "the kernel did not answer in time") {
		t.Errorf("the kernel failed: %q", told.raw)
	}
	res.shut = nil
	if err := res.err(); err != nil {
		t.Error(err)
	}
	t.Log("this machine is starved: its kernel did not answer for two seconds, and a port stayed shut")
}

// ended counts the sessions whose end is recorded.
func ended(records []lab.Record) int {
	n := 0
	for _, r := range records {
		if r.Session.Action == "end" {
			n++
		}
	}
	return n
}

// told is what the audit log has of one client.
type told struct {
	trail              []string
	uses, starts, ends int
	raw                []string
}

func trailsOf(records []lab.Record) map[string]told {
	trails := make(map[string]told)
	for _, r := range records {
		one := trails[r.SrcIP]
		one.raw = append(one.raw, r.Raw)
		port := strconv.Itoa(int(r.Pinhole.DestPort))
		switch r.Pinhole.Action {
		case "open":
			one.trail = append(one.trail, "open "+r.FTP.Command+" "+port)
		case "close":
			one.trail = append(one.trail, "close "+r.Pinhole.Reason+" "+port)
		case "deny":
			one.trail = append(one.trail, "deny "+r.Pinhole.Reason)
		case "use":
			one.uses++
		}
		switch r.Session.Action {
		case "start":
			one.starts++
		case "end":
			one.ends++
		}
		trails[r.SrcIP] = one
	}
	return trails
}
