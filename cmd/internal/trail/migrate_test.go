package trail

import (
	"database/sql"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ftpinhole/conntrack"
)

// A trail that an older version wrote is read and goes on.
func TestMigration(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	old := pinhole(1, conntrack.Open)
	all := values(1, &old)
	const added = 4 // columns since the first version
	first := insertion[:len(insertion)-len(", ?")*added-1] + ")"
	first = strings.Replace(first, ", outside, outside_port, seen_as, backend", "", 1)
	for _, step := range []func() error{
		func() error { _, err := db.Exec(created); return err },
		func() error { _, err := db.Exec("PRAGMA user_version = 1"); return err },
		func() error { _, err := db.Exec(first, all[:len(all)-added]...); return err },
		db.Close,
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	log, text := logged()
	tr, err := Open(path, roomy, log)
	if err != nil {
		t.Fatal(err)
	}
	now := pinhole(2, conntrack.Open)
	now.Pinhole.Backend = "expect"
	now.Pinhole.Outside, now.Pinhole.SeenAs = netip.MustParseAddrPort("192.0.2.1:50000"), netip.MustParseAddr("192.0.2.2")
	tr.Write(now)
	shut(t, tr)
	var bytes int64
	if err := reader(t, path).db.QueryRow("SELECT bytes FROM totals WHERE refusals = 0").Scan(&bytes); err != nil || bytes != rowBytes(&old)+rowBytes(&now) {
		t.Errorf("the records are said to have %d bytes (%v)", bytes, err)
	}
	if diff := cmp.Diff([]conntrack.Record{old, now}, find(t, path, Filter{}), asTold...); diff != "" {
		t.Errorf("(-written +read):\n%s\n%s", diff, text)
	}
}
