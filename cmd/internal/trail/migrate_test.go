package trail

import (
	"database/sql"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/patience"
	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
)

// addedColumns are those that later versions of the old table have.
const addedColumns = ", outside, outside_port, seen_as, backend"

// oldValues are the columns of a record in the old table.
func oldValues(seq int64, r *conntrack.Record) []any {
	p := &r.Pinhole
	var flags int64
	for i, set := range []bool{r.Observed, r.Counted, r.Encrypted, r.Reconstructed} {
		if set {
			flags |= 1 << i
		}
	}
	return []any{
		seq, r.Time.UnixMicro(), int64(r.Action), string(r.Reason), int64(r.FlowID),
		addrKey(r.Client.Addr()), int64(r.Client.Port()), addrKey(r.Server.Addr()), int64(r.Server.Port()), []byte(r.User),
		int64(r.Mode), r.Command, r.Transfer, []byte(r.Path),
		p.ID, addrKey(p.Src), int64(p.SrcPort), int64(p.FromPort), addrKey(p.Dst.Addr()), int64(p.Dst.Port()), p.Timeout.Microseconds(), int64(r.Count),
		int64(r.BytesToServer), int64(r.BytesToClient), r.Duration.Microseconds(), int64(r.Pinholes), int64(r.Denied), int64(r.Conflicts), flags,
		addrKey(p.Outside.Addr()), int64(p.Outside.Port()), addrKey(p.SeenAs), p.Backend,
	}
}

// oldDatabase makes a database as a version of the program left it that had a row
// for each record.
func oldDatabase(t *testing.T, path string, version int, records []conntrack.Record) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	exec := func(query string, args ...any) {
		if _, err := tx.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range migrations[:version] {
		exec(step)
	}
	columns := oldColumns
	if version == 1 {
		columns = strings.TrimSuffix(columns, addedColumns)
	}
	n := strings.Count(columns, ",") + 1
	for i := range records {
		exec("INSERT INTO records (seq, "+columns+") VALUES (?"+strings.Repeat(", ?", n)+")", oldValues(int64(i+1), &records[i])[:n+1]...)
	}
	exec(fmt.Sprintf("PRAGMA user_version = %d", version))
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// inOrder sorts records as they are found.
func inOrder(records []conntrack.Record) []conntrack.Record {
	slices.SortStableFunc(records, func(a, b conntrack.Record) int {
		if c := a.Time.Compare(b.Time); c != 0 {
			return c
		}
		return order[a.Action] - order[b.Action]
	})
	return records
}

// A trail that an older version wrote is converted, and nothing of it is lost.
func TestMigration(t *testing.T) {
	for _, version := range []int{1, 5} {
		path := filepath.Join(t.TempDir(), FileName)
		records := crowd()
		for i := range records {
			if version == 1 {
				records[i].Pinhole.Outside, records[i].Pinhole.SeenAs, records[i].Pinhole.Backend = netip.AddrPort{}, netip.Addr{}, ""
			}
		}
		oldDatabase(t, path, version, records)
		if _, err := OpenReader(path); err == nil || !strings.Contains(err.Error(), "restart the daemon") {
			t.Errorf("before it is converted: %v", err)
		}
		log, text := logged()
		tr, err := Open(path, roomy, log)
		if err != nil {
			t.Fatal(err)
		}
		if lost, err := tr.LostPinholes(); err != nil || len(lost) == 0 {
			t.Errorf("%d pinholes are open (%v)", len(lost), err)
		}
		now := pinhole(200000, conntrack.Open)
		now.Pinhole.Backend = "expect"
		tr.Write(now)
		shut(t, tr)
		if diff := cmp.Diff(inOrder(append(records, now)), find(t, path, Filter{Limit: 1 << 20}), asTold...); diff != "" {
			t.Errorf("version %d (-written +read):\n%s", version, diff)
		}
		if said := text.String(); strings.Count(said, "converted") != 2 || strings.Contains(said, "ERROR") {
			t.Errorf("it is said: %s", said)
		}
		s, err := openStore(path, quiet)
		if err != nil {
			t.Fatal(err)
		}
		checkTotals(t, s)
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A conversion that is killed goes on at the next start.
func TestMigrationIsKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	var records []conntrack.Record
	for i := range patience.Amount(20000, 10000) {
		for _, action := range []conntrack.Action{conntrack.Open, conntrack.Use, conntrack.Close} {
			r := pinhole(i, action)
			r.Time = r.Time.Add(time.Duration(action) * time.Microsecond)
			records = append(records, of(r))
		}
	}
	// Some close long after, in another batch.
	for i := 2; i < len(records); i += 300 {
		records[i].Time = records[i].Time.Add(time.Hour)
	}
	inOrder(records)
	oldDatabase(t, path, 5, records)
	kills := 0
	for left := int64(len(records)); left > 0; {
		cmd := command("convert " + path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		before := left
		patience.Until(t, "it goes on", func() bool { left = oldLeft(t, path); return left < before })
		_ = cmd.Process.Kill()
		if <-ended != nil {
			kills++
		}
	}
	if kills == 0 {
		t.Error("it was never killed")
	}
	shut(t, open(t, path, roomy))
	if diff := cmp.Diff(records, find(t, path, Filter{Limit: 1 << 20}), asTold...); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	if aside, _ := filepath.Glob(path + ".broken-*"); len(aside) != 0 {
		t.Errorf("the database was broken: %v", aside)
	}
	t.Logf("killed %d times", kills)
}

// oldLeft is how many records are not converted.
func oldLeft(t *testing.T, path string) (n int64) {
	db, err := sql.Open("sqlite", dsn(path, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("SELECT count(*) FROM records").Scan(&n); err != nil && strings.Contains(err.Error(), "no such table") {
		return 0
	}
	return n
}
