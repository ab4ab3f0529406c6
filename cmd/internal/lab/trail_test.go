package lab_test

import (
	"encoding/json"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// A pinhole that a crash left open is closed as lost by the next daemon, once;
// and the trail, which gets it from the log, tells its story.
func TestLaw7PinholeOfACrashIsClosedAsLost(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon()
	_, data := pinhole(t, l)
	id := d.WaitOpen(t, data.Port()).Pinhole.ID
	audit := func(args ...string) (string, int) {
		t.Helper()
		out, stderr, code := l.Program(lab.Gateway, nil, append([]string{"audit", "--state-dir", d.StateDir}, args...)...)
		return out + stderr, code
	}
	d.Kill()      // before the trail has it, which writes a fifth of a second later
	for range 2 { // the second start finds nothing to close
		d = d.Restart()
		d.Stop()
	}
	var lost []lab.Record
	for _, r := range d.AuditRecords() {
		if r.Pinhole.Reason == "lost" {
			lost = append(lost, r)
		}
	}
	if len(lost) != 1 || lost[0].Pinhole.ID != id || lost[0].Pinhole.DestPort != data.Port() {
		t.Fatalf("%d records say lost: %+v; want one, of pinhole %s", len(lost), lost, id)
	}
	out, code := audit("--action", "close", "--reason", "lost", "-o", "jsonl")
	var r lab.Record
	if err := json.Unmarshal([]byte(strings.TrimSpace(out)), &r); err != nil || code != 0 || r.Pinhole.ID != id {
		t.Errorf("the trail says (exit %d, %v): %s", code, err, out)
	}
	if story, code := audit("show", id); code != 0 || !strings.Contains(story, "lost") || !strings.Contains(story, "anonymous") {
		t.Errorf("its story (exit %d): %s", code, story)
	}
	if out, code := audit("summary"); code != 0 || !strings.Contains(out, "10.0.1.2") {
		t.Errorf("the summary (exit %d): %s", code, out)
	}
}
