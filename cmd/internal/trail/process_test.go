package trail

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ftpinhole/cmd/internal/audit"
	"ftpinhole/cmd/internal/patience"
	"ftpinhole/conntrack"
)

// child makes the test binary another process: it does one of the tasks below
// instead of testing.
const child = "FTPINHOLE_TRAIL_TEST"

func runChild() {
	task, arg, _ := strings.Cut(os.Getenv(child), " ")
	switch task {
	case "":
		return
	case "write":
		childWrites(arg)
	case "count":
		childCounts(arg)
	case "convert":
		if _, err := openStore(arg, quiet); err != nil {
			panic(err)
		}
	}
	os.Exit(0)
}

// beside is of a trail beside an audit log.
func beside(dir string) Config {
	c := roomy
	c.Log = audit.Backwards(filepath.Join(dir, "audit.json"))
	return c
}

// childWrites writes to both logs until it is killed; it prints the number of
// the first pinhole.
func childWrites(dir string) {
	log, err := audit.Open(filepath.Join(dir, "audit.json"), quiet)
	if err != nil {
		panic(err)
	}
	with := beside(dir)
	with.Logged = func() { log.Sync(time.Minute) }
	tr, err := Open(filepath.Join(dir, FileName), with, quiet)
	if err != nil {
		panic(err)
	}
	both := func(r conntrack.Record) {
		log.Write(r)
		tr.Write(r)
	}
	lost, err := tr.LostPinholes()
	if err != nil {
		panic(err)
	}
	for _, r := range lost {
		both(r)
	}
	first, _ := strconv.Atoi(os.Getenv("FIRST"))
	if begun, err = time.Parse(time.RFC3339Nano, os.Getenv("BEGUN")); err != nil {
		panic(err)
	}
	fmt.Println("writing")
	for i := first; ; i++ {
		for _, action := range []conntrack.Action{conntrack.Open, conntrack.Use, conntrack.Deny, conntrack.Close} {
			r := pinhole(i, action)
			r.Pinhole.ID = fmt.Sprintf("%x-%d", i+1, 1)
			if action == conntrack.Deny {
				r.Pinhole.ID, r.FlowID = "", uint64(i+1)
			}
			both(r)
		}
		if i%10 == 0 { // 10,000 records a second at the most, and no more than the race detector can
			time.Sleep(4 * time.Millisecond)
			for tr.Buffered() > 1000 {
				time.Sleep(time.Millisecond)
			}
		}
	}
}

func childCounts(path string) {
	r, err := OpenReader(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	out, err := r.Find(context.Background(), Filter{Limit: 1 << 20})
	fmt.Println(len(out), err)
}

func command(task string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), child+"="+task), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// Law 7: kill -9 while records are written: after the next start the file has only
// whole lines; the database opens; nothing is recorded twice; and each pinhole has one
// open and one close in the log, and one row.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	for round := range 5 {
		cmd := command("write "+dir, fmt.Sprintf("FIRST=%d", round*1000000), "BEGUN="+begun.Format(time.RFC3339Nano))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "writing\n" {
			t.Errorf("round %d: %q, %v", round, line, err)
		}
		// Pinholes of this round have times after those of all before. Each round is
		// killed in another place.
		from := pinhole(round*1000000, conntrack.Open).Time
		written := 1 + 100*round
		patience.Until(t, "it writes", func() bool {
			return len(find(t, path, Filter{Since: from, Limit: written, Action: conntrack.Open})) == written
		})
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
	}
	tr := open(t, path, beside(dir))
	lost, err := tr.LostPinholes()
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(filepath.Join(dir, "audit.json"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	checkLines(t, filepath.Join(dir, "audit.json"))
	for _, r := range lost {
		log.Write(r)
		tr.Write(r)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	shut(t, tr)
	if aside, _ := filepath.Glob(path + ".broken-*"); len(aside) != 0 {
		t.Errorf("the database was broken: %v", aside)
	}
	all := find(t, path, Filter{Limit: 1 << 20})
	checkOnce(t, all)
	checkLines(t, filepath.Join(dir, "audit.json"))

	// Both have the same records, and each pinhole has one row, from open to close.
	var lines []conntrack.Record
	has := make(map[string]bool)
	for r, err := range audit.Backwards(filepath.Join(dir, "audit.json")) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, r)
		has[told(&r)] = true
	}
	checkOnce(t, lines)
	for i := range all {
		if !has[told(&all[i])] {
			t.Errorf("the log has not %s", told(&all[i]))
		}
	}
	if len(lines) != len(all) {
		t.Errorf("the log has %d records, the trail %d", len(lines), len(all))
	}
	var rows, whole int
	if err := reader(t, path).db.QueryRow("SELECT count(*), sum(opened IS NOT NULL AND closed IS NOT NULL) FROM pinholes").Scan(&rows, &whole); err != nil || rows != whole {
		t.Errorf("of %d rows %d tell of the open and the close (%v)", rows, whole, err)
	}
}

// told names what a record tells.
func told(r *conntrack.Record) string {
	id := r.Pinhole.ID
	if r.Action == conntrack.Deny {
		id = fmt.Sprint(r.FlowID)
	}
	return fmt.Sprint(id, " ", r.Action)
}

// checkOnce: no event twice, each open has its close, and each close its open.
func checkOnce(t *testing.T, records []conntrack.Record) {
	t.Helper()
	seen := make(map[string]int)
	for i := range records {
		seen[told(&records[i])]++
	}
	for key, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", key, n)
		}
		if id, ok := strings.CutSuffix(key, fmt.Sprint(" ", conntrack.Open)); ok && seen[fmt.Sprint(id, " ", conntrack.Close)] != 1 {
			t.Errorf("%s has no close", id)
		}
		if id, ok := strings.CutSuffix(key, fmt.Sprint(" ", conntrack.Close)); ok && seen[fmt.Sprint(id, " ", conntrack.Open)] != 1 {
			t.Errorf("%s has no open", id)
		}
	}
	if len(records) < 100 {
		t.Errorf("only %d records", len(records))
	}
	t.Logf("%d records", len(records))
}

// checkLines: each line is a whole record, and none tells what another tells.
func checkLines(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "}\n") {
			t.Errorf("not a whole line: %q", line)
		}
		r, err := audit.Parse([]byte(line))
		if err != nil {
			t.Error(err)
		}
		if seen[told(&r)]++; seen[told(&r)] == 2 {
			t.Errorf("twice: %q", line)
		}
	}
	if len(seen) < 100 {
		t.Errorf("only %d lines", len(seen))
	}
	t.Logf("%d lines", len(seen))
}

// Who may read the files but not write them can ask, while the daemon writes,
// after it has ended, and after it was killed.
func TestReadByTheGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	const group = 65500
	dir, err := os.MkdirTemp("", "trail-group-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, FileName)
	count := func(gid uint32) string {
		// The test binary may lie where only root can go.
		cmd := command("count " + path)
		cmd.Path = "/proc/self/exe"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65501, Gid: gid, NoSetGroups: false}}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	tr := open(t, path, roomy)
	for _, name := range []string{dir, path, path + "-wal", path + "-shm"} {
		mode := os.FileMode(0o640)
		if name == dir {
			mode = 0o750
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(name, 0, group); err != nil {
			t.Fatal(err)
		}
	}
	tr.Write(pinhole(0, conntrack.Open))
	patience.Until(t, "it is written", func() bool { return len(find(t, path, Filter{})) == 1 })
	if got := count(group); got != "1 <nil>" {
		t.Errorf("while the daemon runs: %s", got)
	}
	tr.Write(pinhole(1, conntrack.Open))
	shut(t, tr)
	if got := count(group); got != "2 <nil>" {
		t.Errorf("after its end: %s", got)
	}
	if got := count(65502); !strings.Contains(got, "permission denied; use sudo, or join the group") {
		t.Errorf("who is not in the group: %s", got)
	}
}

// Reading while records are written sees whole batches, and holds nothing up.
func TestReadWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	tr := open(t, path, roomy)
	r := reader(t, path)
	last := 0
	for i := range 2000 {
		tr.Write(pinhole(i, conntrack.Open))
		if i%100 == 0 {
			got, err := r.Find(t.Context(), Filter{Limit: 1 << 20})
			if err != nil || len(got) < last {
				t.Fatalf("%d records, before %d (%v)", len(got), last, err)
			}
			last = len(got)
			time.Sleep(10 * time.Millisecond)
		}
	}
	shut(t, tr)
	if got, err := r.Find(t.Context(), Filter{Limit: 1 << 20}); err != nil || len(got) != 2000 {
		t.Errorf("%d records (%v)", len(got), err)
	}
}
