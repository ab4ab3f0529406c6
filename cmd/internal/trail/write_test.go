package trail

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/patience"
	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
)

func TestOpenMakesFilesAndDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new dir?mode=ro&%41#", FileName) // options in a URI
	tr := open(t, path, roomy)
	tr.Write(pinhole(0, conntrack.Open))
	shut(t, tr)
	for name, want := range map[string]os.FileMode{path: 0o640, path + "-wal": 0o640, path + "-shm": 0o640, filepath.Dir(path): 0o750} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := find(t, path, Filter{}); len(got) != 1 {
		t.Errorf("%d records", len(got))
	}
	tr.Write(pinhole(1, conntrack.Open))
	if tr.Lost() != 1 || !errors.Is(tr.Ready(), ErrClosed) {
		t.Errorf("after Close %d are lost, and it is ready: %v", tr.Lost(), tr.Ready())
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(filepath.Join(dir, "file", FileName), roomy, quiet)
	if err == nil || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("below a file: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, FileName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err = Open(filepath.Join(dir, FileName), roomy, quiet); err == nil || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("a directory: %v", err)
	}
	path := filepath.Join(dir, "a", FileName)
	tr := open(t, path, roomy)
	if _, err := Open(path, roomy, quiet); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("a second daemon: %v", err)
	}
	shut(t, tr)
	shut(t, open(t, path, roomy)) // the lock is gone
}

func TestReaderErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenReader(filepath.Join(dir, FileName)); !errors.Is(err, ErrNone) {
		t.Errorf("none: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, FileName)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("reading made a file")
	}
	path := filepath.Join(dir, "later.db")
	shut(t, open(t, path, roomy))
	execute(t, path, "PRAGMA user_version = 99")
	if _, err := OpenReader(path); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("a later version: %v", err)
	}
}

// execute runs SQL on the database as another process could.
func execute(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
}

// Issue 6: nothing is recorded twice, whatever of a batch was in the database
// already.
func TestSecondAttempt(t *testing.T) {
	s, err := openStore(filepath.Join(t.TempDir(), FileName), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var batch []numbered
	for i := range 60 {
		r := pinhole(i, conntrack.Action(i%6+1))
		r.FlowID = uint64(i + 1)
		r = of(r)
		batch = append(batch, numbered{int64(i + 1), &r})
	}
	for _, n := range []int{20, 60, 60} {
		if err := s.write(batch[:n]); err != nil {
			t.Fatal(err)
		}
	}
	// A record of the same event that was given another number.
	again := []numbered{{1000, batch[0].record}, {1001, batch[4].record}, {1002, batch[5].record}}
	if err := s.write(again); err != nil {
		t.Fatal(err)
	}
	if n := checkTotals(t, s); n != len(batch) {
		t.Errorf("%d rows, want %d", n, len(batch))
	}
}

// checkTotals: as many bytes are noted as there are. It returns how many rows there
// are.
func checkTotals(t *testing.T, s *store) (rows int) {
	t.Helper()
	var bytes [kinds]int64
	for _, table := range tables {
		var n int
		var sum int64
		if err := s.db.QueryRow("SELECT count(*), coalesce(sum("+table.size+"), 0) FROM "+table.name).Scan(&n, &sum); err != nil {
			t.Fatal(err)
		}
		rows += n
		bytes[table.kind] += sum
	}
	if bytes != s.kept {
		t.Errorf("there are %v bytes, noted %v", bytes, s.kept)
	}
	return rows
}

func TestLostPinholes(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	tr := open(t, path, roomy)
	if got, err := tr.LostPinholes(); err != nil || len(got) != 0 {
		t.Errorf("of a new trail: %v, %v", got, err)
	}
	for _, r := range []conntrack.Record{
		pinhole(0, conntrack.Open), pinhole(1, conntrack.Open), pinhole(1, conntrack.Use), pinhole(2, conntrack.Open),
		pinhole(3, conntrack.Open), pinhole(3, conntrack.Use), pinhole(3, conntrack.Close), pinhole(9, conntrack.Deny),
	} {
		tr.Write(r)
	}
	closed := pinhole(2, conntrack.Close)
	tr.Write(closed)
	shut(t, tr)

	tr = open(t, path, roomy)
	got, err := tr.LostPinholes()
	if err != nil {
		t.Fatal(err)
	}
	var want []conntrack.Record
	for _, r := range []conntrack.Record{pinhole(0, conntrack.Open), pinhole(1, conntrack.Use)} {
		r.Action, r.Reason = conntrack.Close, conntrack.Lost
		want = append(want, r)
	}
	for i := range got {
		if age := time.Since(got[i].Time); age < 0 || age > time.Minute {
			t.Errorf("closed %v ago", age)
		}
		got[i].Time = want[i%2].Time
	}
	if diff := cmp.Diff(want, got, asTold...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	shut(t, tr)
	// Until they are written they are found again, and then no more.
	tr = open(t, path, roomy)
	if got, _ := tr.LostPinholes(); len(got) != 2 {
		t.Errorf("%d lost pinholes, want 2", len(got))
	} else {
		tr.Write(got[0])
		tr.Write(got[1])
	}
	shut(t, tr)
	tr = open(t, path, roomy)
	if got, _ := tr.LostPinholes(); len(got) != 0 {
		t.Errorf("%d lost pinholes, want none", len(got))
	}
	shut(t, tr)
}

func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

// A file that cannot be used is renamed, the log says so, and a new one begun.
func TestUnusableFile(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"no database": func(t *testing.T, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("no database"), 1000), 0o640); err != nil {
				t.Fatal(err)
			}
		},
		"torn": func(t *testing.T, path string) {
			fill(t, path, 200)
			if err := os.Truncate(path, 40000); err != nil {
				t.Fatal(err)
			}
		},
		"header": func(t *testing.T, path string) {
			fill(t, path, 200)
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt(bytes.Repeat([]byte{0xff}, 3000), 100); err != nil {
				t.Fatal(err)
			}
		},
		"later version": func(t *testing.T, path string) {
			fill(t, path, 1)
			execute(t, path, "PRAGMA user_version = 99")
		},
		"other tables": func(t *testing.T, path string) {
			execute(t, path, "CREATE TABLE records (x); PRAGMA user_version = 1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), FileName)
			spoil(t, path)
			log, text := logged()
			tr, err := Open(path, roomy, log)
			if err != nil {
				t.Fatal(err)
			}
			tr.Write(pinhole(7, conntrack.Open))
			shut(t, tr)
			aside, _ := filepath.Glob(path + ".broken-*Z")
			if len(aside) != 1 || !strings.Contains(text.String(), "renamed="+aside[0]) {
				t.Errorf("set aside: %v; the log: %s", aside, text)
			}
			if got := find(t, path, Filter{}); len(got) != 1 || got[0].Pinhole.ID != pinhole(7, conntrack.Open).Pinhole.ID {
				t.Errorf("the new trail has %d records", len(got))
			}
		})
	}
}

// Damage that shows only in use is mended too, and no record is lost.
func TestDamagedInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	fill(t, path, 2000)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xee}, int(st.Size())-8*4096), 8*4096); err != nil {
		t.Fatal(err)
	}
	f.Close()
	tr := open(t, path, roomy)
	for i := range 100 {
		tr.Write(pinhole(5000+i, conntrack.Open))
	}
	shut(t, tr)
	if got := find(t, path, Filter{}); len(got) != 100 {
		t.Errorf("%d records, want 100", len(got))
	}
}

// A trail that somebody removed while the daemon runs begins anew.
func TestRemovedInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	tr := open(t, path, roomy)
	tr.Write(pinhole(0, conntrack.Open))
	patience.Until(t, "it is written", func() bool { return tr.since.Load() == 0 && len(find(t, path, Filter{})) == 1 })
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	tr.Write(pinhole(1, conntrack.Open))
	shut(t, tr)
	if got := find(t, path, Filter{}); len(got) != 1 || got[0].Pinhole.ID != pinhole(1, conntrack.Open).Pinhole.ID {
		t.Errorf("%d records", len(got))
	}
}

// started is a trail whose database is changed first.
func started(t *testing.T, path, pragma string, log *slog.Logger) (*Trail, *store) {
	t.Helper()
	w := newWriter(path, roomy, log)
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.db.Exec(pragma); err != nil {
		t.Fatal(err)
	}
	s := w.store
	return start(w, nil), s
}

// Issue 6: while the disk is full packets go on, records wait, status knows;
// when there is room again, all are written.
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	tr, s := started(t, path, "PRAGMA max_page_count = 40", quiet)
	const n = 3000
	for i := range n {
		tr.Write(pinhole(i, conntrack.Open))
	}
	patience.Until(t, "an error", func() bool { return tr.Err() != nil })
	if err := tr.Ready(); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("ready: %v", err)
	}
	if tr.Written()+uint64(tr.Buffered()) != n || tr.Buffered() == 0 {
		t.Errorf("%d written and %d buffered, want %d in all", tr.Written(), tr.Buffered(), n)
	}
	if _, err := s.db.Exec("PRAGMA max_page_count = 100000"); err != nil {
		t.Fatal(err)
	}
	patience.Until(t, "it is ready again", func() bool { return tr.Ready() == nil })
	shut(t, tr)
	if got := find(t, path, Filter{Limit: n + 1}); len(got) != n || tr.Written() != n || tr.Buffered() != 0 {
		t.Errorf("%d records, %d written, %d buffered, want %d", len(got), tr.Written(), tr.Buffered(), n)
	}
}

// What a full disk does not take at the end is lost, counted, and Close says so.
func TestDiskFullForGood(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	tr, _ := started(t, path, "PRAGMA max_page_count = 40", quiet)
	for i := range 3000 {
		tr.Write(pinhole(i, conntrack.Open))
	}
	if err := tr.Close(); err == nil || !strings.Contains(err.Error(), "3000 records lost") {
		t.Errorf("%v; %d lost", err, tr.Lost())
	}
}

// Another program that locks the database holds records up, and loses none.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	tr := open(t, path, roomy)
	db, err := sql.Open("sqlite", dsn(path, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	tr.Write(pinhole(0, conntrack.Open))
	patience.Until(t, "an error", func() bool { return tr.Err() != nil })
	tr.Write(pinhole(1, conntrack.Open))
	if _, err := db.Exec("COMMIT"); err != nil {
		t.Fatal(err)
	}
	patience.Until(t, "it is ready again", func() bool { return tr.Ready() == nil })
	shut(t, tr)
	if got := find(t, path, Filter{}); len(got) != 2 {
		t.Errorf("%d records, want 2", len(got))
	}
}

// Write never blocks; what does not fit is counted and logged once a second. A
// flood of refusals loses refusals alone.
func TestQueuesAreBounded(t *testing.T) {
	log, text := logged()
	w := newWriter(filepath.Join(t.TempDir(), FileName), roomy, log) // whose goroutine stands still
	tr := w.trail
	begin := time.Now()
	for i := range queuedRefusals + 500 {
		tr.Write(pinhole(i, conntrack.Deny))
	}
	if tr.Lost() != 500 || tr.Ready() != nil {
		t.Errorf("%d lost, ready: %v", tr.Lost(), tr.Ready())
	}
	for i := range queuedOthers {
		tr.Write(pinhole(i, conntrack.Open))
	}
	if tr.Lost() != 500 || !errors.Is(tr.Ready(), ErrBehind) {
		t.Errorf("%d lost, ready: %v", tr.Lost(), tr.Ready())
	}
	tr.Write(pinhole(0, conntrack.Close))
	if tr.Lost() != 501 {
		t.Errorf("%d lost", tr.Lost())
	}
	if n, seconds := strings.Count(text.String(), "are lost"), int(time.Since(begin).Seconds())+2; n < 1 || n > seconds {
		t.Errorf("logged %d times", n)
	}
}

// A batch that the disk does not take in time is known before it fails.
func TestReadyKnowsASlowDisk(t *testing.T) {
	w := newWriter(filepath.Join(t.TempDir(), FileName), roomy, quiet)
	r := pinhole(0, conntrack.Open)
	w.take(&r)
	if err := w.trail.Ready(); err != nil {
		t.Error(err)
	}
	w.trail.since.Store(time.Now().Add(-behindAfter - time.Second).UnixNano())
	if err := w.trail.Ready(); !errors.Is(err, ErrBehind) {
		t.Errorf("ready: %v", err)
	}
}

func TestTooOld(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	tr := open(t, path, roomy)
	for i := range 100 {
		r := pinhole(i, conntrack.Open)
		if i < 40 {
			r.Time = r.Time.Add(-roomy.Keep)
		}
		tr.Write(r)
	}
	shut(t, tr)
	tr = open(t, path, roomy)
	tr.Write(pinhole(100, conntrack.Open))
	patience.Until(t, "the old ones are gone", func() bool { return len(find(t, path, Filter{})) == 61 })
	shut(t, tr)
	// What is pruned is not lost at the next start.
	tr = open(t, path, roomy)
	if got, err := tr.LostPinholes(); err != nil || len(got) != 61 {
		t.Errorf("%d lost pinholes (%v)", len(got), err)
	}
	shut(t, tr)
}

// Issue 6: the size is bounded, and a flood of refusals pushes out no other
// record.
func TestSizeIsBounded(t *testing.T) {
	const size = 8 << 20
	path := filepath.Join(t.TempDir(), FileName)
	tr := open(t, path, Config{Keep: roomy.Keep, MaxBytes: size})
	put := func(r conntrack.Record) {
		for len(tr.others) > 1000 || len(tr.refusals) > 1000 {
			time.Sleep(time.Millisecond)
		}
		tr.Write(r)
	}
	for i := range 5000 {
		put(pinhole(i, conntrack.Open))
	}
	for i := range 6000 {
		r := pinhole(i, conntrack.Deny)
		r.Path = strings.Repeat("x", 500)
		r.User = fmt.Sprintf("%0200d", i)
		put(r)
	}
	shut(t, tr)
	opens, denials := find(t, path, Filter{Action: conntrack.Open, Limit: 1 << 20}), find(t, path, Filter{Action: conntrack.Deny, Limit: 1 << 20})
	if len(opens) != 5000 || len(denials) < 500 || len(denials) > 3000 {
		t.Errorf("%d opens, %d refusals", len(opens), len(denials))
	}
	if last := denials[len(denials)-1]; last.User != fmt.Sprintf("%0200d", 5999) {
		t.Errorf("the newest refusal is not there, but %s", last.User)
	}
	st, err := os.Stat(path)
	if err != nil || st.Size() > size {
		t.Errorf("%d bytes, more than %d (%v)", st.Size(), size, err)
	}

	tr = open(t, path, Config{Keep: roomy.Keep, MaxBytes: size})
	for i := range 15000 {
		put(pinhole(10000+i, conntrack.Open))
	}
	shut(t, tr)
	opens = find(t, path, Filter{Action: conntrack.Open, Limit: 1 << 20})
	if n := len(opens); n < 5000 || n > 14000 || opens[n-1].Pinhole.ID != pinhole(24999, conntrack.Open).Pinhole.ID {
		t.Errorf("%d opens", n)
	}
	if st, err := os.Stat(path); err != nil || st.Size() > size {
		t.Errorf("%d bytes, more than %d (%v)", st.Size(), size, err)
	}
	if again := find(t, path, Filter{Action: conntrack.Deny, Limit: 1 << 20}); len(again) != len(denials) {
		t.Errorf("%d refusals, before %d", len(again), len(denials))
	}
}
