package lab_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// Law 7: in random traffic each open has one close and at most one use, and
// what the records say is open is what the kernel's sets hold at that moment.
func TestLaw7RecordsAreWhatTheKernelHolds(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon("--pinhole-timeout", "3s")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	client, server := lab.Address(lab.Client, 4), lab.Address(lab.Server, 4)

	type user struct {
		s    *lab.Session
		data netip.AddrPort
	}
	users := make([]user, 4)
	for step := range 80 {
		u := &users[random.IntN(len(users))]
		if u.s == nil {
			s, err := l.Login(lab.Client, client, server)
			if err != nil {
				t.Fatal(err)
			}
			*u = user{s: s}
		}
		switch random.IntN(6) {
		case 0, 1, 2:
			data, err := u.s.Passive([]string{"PASV", "EPSV"}[random.IntN(2)])
			if err != nil {
				t.Fatal(err)
			}
			u.data = data
		case 3:
			if err := u.s.Expect(lab.Announce("PORT", netip.AddrPortFrom(client, uint16(20000+step))), 200); err != nil {
				t.Fatal(err)
			}
		case 4:
			if u.data.IsValid() { // perhaps replaced or expired by now
				if c, err := l.Dial(lab.Client, client, u.data, 300*time.Millisecond); err == nil {
					c.Close()
				}
				u.data = netip.AddrPort{}
			}
		case 5:
			if err := u.s.Expect("QUIT", 221); err != nil {
				t.Fatal(err)
			}
			u.s = nil
		}
		var records, kernel []string
		deadline := patience.Deadline()
		for {
			records, kernel = waiting(t, d), held(t, l)
			if slices.Equal(records, kernel) || time.Now().After(deadline) {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if !slices.Equal(records, kernel) {
			t.Fatalf("step %d: open in the records %v, in the kernel %v", step, records, kernel)
		}
	}
	d.Stop()
	counts := map[string]map[string]int{}
	for _, r := range d.AuditRecords() {
		if r.EventType == "pinhole" && r.Pinhole.Action != "deny" {
			if counts[r.Pinhole.ID] == nil {
				counts[r.Pinhole.ID] = map[string]int{}
			}
			counts[r.Pinhole.ID][r.Pinhole.Action]++
		}
	}
	for id, c := range counts {
		if c["open"] != 1 || c["close"] != 1 || c["use"] > 1 {
			t.Errorf("pinhole %s: %v; want one open, one close and at most one use", id, c)
		}
	}
	if len(counts) < 20 {
		t.Errorf("only %d pinholes: the traffic tests nothing", len(counts))
	}
}

// A transfer that the server refuses leaves the data connection to the next one:
// the record names that.
func TestLaw7TransferAfterARefusedOne(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"vsftpd", "pure-ftpd"} { // ProFTPD shuts the port
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			l.Firewall("accept-line")
			l.StartServer(server, lab.Server)
			d := l.StartDaemon()
			s, err := l.Login(lab.Client, lab.Address(lab.Client, 4), lab.Address(lab.Server, 4))
			if err != nil {
				t.Fatal(err)
			}
			data, err := s.Passive("PASV")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Expect("RETR none.txt", 550); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Retrieve(data, "small.bin"); err != nil {
				t.Fatal(err)
			}
			for _, record := range lab.Pinholes(d.WaitClosed(t, 1), "close") {
				if record.FTP.Transfer != "RETR" || record.FTP.Path != "small.bin" {
					t.Errorf("want RETR small.bin: %s", record.Raw)
				}
			}
		})
	}
}

// waiting are the pinholes that the records say wait for their connection.
func waiting(t *testing.T, d *lab.Daemon) []string {
	t.Helper()
	open := map[string]bool{}
	for _, r := range d.AuditRecords() {
		switch r.Pinhole.Action {
		case "open":
			open[r.Pinhole.ID] = true
		case "use", "close":
			delete(open, r.Pinhole.ID)
		}
	}
	return slices.Sorted(maps.Keys(open))
}

// held are the pinholes in the kernel's sets.
func held(t *testing.T, l *lab.Lab) []string {
	t.Helper()
	rules, err := l.Ruleset()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range regexp.MustCompile(`comment "([0-9a-f]+-[0-9]+)"`).FindAllStringSubmatch(rules, -1) {
		ids = append(ids, m[1])
	}
	slices.Sort(ids)
	return ids
}

// Law 7: no password is in any file or output.
func TestLaw7NoPasswordAnywhere(t *testing.T) {
	t.Parallel()
	const password = "S3cret-Passw0rd"
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon("--log-level", "debug")
	s, err := l.Connect(lab.Client, lab.Address(lab.Client, 4), lab.Address(lab.Server, 4))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		line string
		code int
	}{{"USER anonymous", 331}, {"PASS " + password, 230}, {"ACCT " + password, 502}, {"ADAT " + password, 500}} {
		if err := s.Expect(step.line, step.code); err != nil && step.code < 500 {
			t.Fatal(err)
		}
	}
	if err := open(l, s, "PASV"); err != nil {
		t.Fatal(err)
	}
	outputs := map[string][]byte{}
	patience.Until(t, "the open record in the trail", func() bool {
		out, _, _ := l.Program(lab.Gateway, nil, "audit", "--action", "open", "-o", "jsonl", "--state-dir", d.StateDir)
		return out != ""
	})
	for _, verb := range [][]string{
		{"status", "-o", "json", "--socket", d.Socket}, {"list", "-o", "json", "--socket", d.Socket}, {"list", "sessions", "-o", "json", "--socket", d.Socket},
		{"top", "--socket", d.Socket}, {"audit", "--state-dir", d.StateDir}, {"audit", "-o", "csv", "--state-dir", d.StateDir},
		{"audit", "summary", "--by", "user", "--state-dir", d.StateDir},
	} {
		out, stderr, code := l.Program(lab.Gateway, nil, verb...)
		if code != 0 {
			t.Errorf("%v: exit %d: %s", verb, code, stderr)
		}
		outputs[fmt.Sprint(verb)] = []byte(out + stderr)
	}
	d.Stop()
	outputs["the daemon's log"] = []byte(d.Stderr())
	files := append([]string{d.AuditPath}, glob(t, d.StateDir)...)
	if len(files) < 2 {
		t.Fatalf("no state files: %v", files)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		outputs[f] = b
	}
	for name, b := range outputs {
		if bytes.Contains(b, []byte(password)) {
			t.Errorf("the password is in %s", name)
		}
	}
	if !bytes.Contains(outputs[d.AuditPath], []byte("anonymous")) {
		t.Error("the audit log does not name the user: the search proves nothing")
	}
}

func glob(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}
