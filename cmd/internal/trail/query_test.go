package trail

import (
	compare "cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var asTold = []cmp.Option{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}

// written is a database with these records, in a new directory.
func written(t testing.TB, records ...conntrack.Record) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), FileName)
	tr := open(t, path, roomy)
	for _, r := range records {
		tr.Write(r)
	}
	shut(t, tr)
	return path
}

// Each field of a record is kept that a record of its action may have: one that is
// added to it needs a column.
func TestEveryFieldIsKept(t *testing.T) {
	for action := conntrack.Open; action <= conntrack.End; action++ {
		r := conntrack.Record{
			Time: begun, Action: action, Client: netip.MustParseAddrPort("[2001:db8::1]:40000"), Server: netip.MustParseAddrPort("192.0.2.21:65535"),
			Pinhole: conntrack.Pinhole{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddrPort("[2001:db8::2]:50055"),
				Outside: netip.MustParseAddrPort("[2001:db8::3]:50056"), SeenAs: netip.MustParseAddr("192.0.2.9")},
		}
		n := 0
		setZeros(t, reflect.ValueOf(&r).Elem(), &n)
		r = of(r)
		got := find(t, written(t, r), Filter{})
		if diff := cmp.Diff([]conntrack.Record{r}, got, asTold...); diff != "" {
			t.Errorf("action %d (-written +read):\n%s", action, diff)
		}
	}
	var zero conntrack.Record
	zero.Time, zero.Action = begun, conntrack.Deny
	if diff := cmp.Diff([]conntrack.Record{zero}, find(t, written(t, zero), Filter{}), asTold...); diff != "" {
		t.Errorf("a bare refusal (-written +read):\n%s", diff)
	}
}

// of is a record without what those of its action never have.
func of(r conntrack.Record) conntrack.Record {
	ends := r.Action == conntrack.Close || r.Action == conntrack.End
	if !ends {
		r.Counted, r.BytesToServer, r.BytesToClient, r.Duration = false, 0, 0, 0
	}
	if !ends && r.Action != conntrack.Deny {
		r.Reason = ""
	}
	if r.Action != conntrack.Deny {
		r.Count = 0
	}
	if r.Action != conntrack.End {
		r.Pinholes, r.Denied, r.Conflicts, r.Encrypted = 0, 0, 0, false
	}
	if r.Action == conntrack.Open {
		r.Pinhole.SrcPort = 0
	}
	if r.Action >= conntrack.Start {
		r.Pinhole, r.Mode, r.Command, r.Transfer, r.Path = conntrack.Pinhole{}, 0, "", "", ""
	}
	return r
}

// What may be told of a pinhole and of a session at one time and not at another, is
// kept of each time.
func TestEachEventIsKept(t *testing.T) {
	var records []conntrack.Record
	add := func(at int, r conntrack.Record, transfer, path string) {
		r.Time, r.Transfer, r.Path = begun.Add(time.Duration(at)*time.Second), transfer, path
		records = append(records, r)
	}
	add(1, pinhole(0, conntrack.Open), "", "") // PASV, then RETR
	add(2, pinhole(0, conntrack.Use), "RETR", "/a")
	add(3, pinhole(0, conntrack.Close), "RETR", "/a")
	add(4, pinhole(1, conntrack.Open), "RETR", "/a") // the server refuses RETR, and takes STOR
	add(5, pinhole(1, conntrack.Use), "", "")
	add(6, pinhole(1, conntrack.Close), "STOR", "")
	add(7, pinhole(2, conntrack.Open), "LIST", "") // the same command for another path
	add(8, pinhole(2, conntrack.Close), "LIST", "/b")
	add(9, pinhole(3, conntrack.Use), "LIST", "") // its open record is lost
	start, end := of(pinhole(0, conntrack.Start)), of(pinhole(0, conntrack.End))
	start.User, start.Reconstructed = "", true
	add(10, start, "", "")
	add(11, end, "", "")
	for i := range records {
		records[i].Reconstructed = i%3 == 1
	}
	check := func(path string) {
		t.Helper()
		if diff := cmp.Diff(records, find(t, path, Filter{}), asTold...); diff != "" {
			t.Errorf("(-written +read):\n%s", diff)
		}
	}
	check(written(t, records...))

	// Also where each comes in a batch of its own, and again.
	path := filepath.Join(t.TempDir(), FileName)
	s, err := openStore(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for i := range records {
			if err := s.write([]numbered{{int64(i + 1), &records[i]}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	checkTotals(t, s)
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	check(path)
}

// setZeros gives every field that has none a value of its own.
func setZeros(t *testing.T, v reflect.Value, n *int) {
	for i := range v.NumField() {
		f := v.Field(i)
		*n++
		switch {
		case f.Type() == reflect.TypeFor[conntrack.Pinhole]():
			setZeros(t, f, n)
		case !f.IsZero():
		case f.Type() == reflect.TypeFor[time.Duration]():
			f.SetInt(int64(*n) * int64(time.Microsecond))
		case f.Type() == reflect.TypeFor[conntrack.Action]():
			f.SetUint(uint64(conntrack.Close))
		case f.CanInt():
			f.SetInt(int64(*n))
		case f.CanUint():
			f.SetUint(uint64(*n))
		case f.Kind() == reflect.String:
			f.SetString(fmt.Sprintf("text %d", *n))
		case f.Kind() == reflect.Bool:
			f.SetBool(true)
		default:
			t.Fatalf("what is a %v?", f.Type())
		}
	}
}

// Issue 6: what the wire sends breaks no query, and comes back as it was.
func TestWireText(t *testing.T) {
	var records []conntrack.Record
	for i, s := range []string{"\x00", "a\x00b", "\xff\xfe", "'; DROP TABLE records; --", `"`, "\x1b]0;evil\x07", "a\r\nb", strings.Repeat("x", 4000), strings.Repeat("\xf0", 4000), "%", "?1"} {
		r := pinhole(i, conntrack.Open)
		r.User, r.Path = s, s+"/path"
		records = append(records, r)
	}
	path := written(t, records...)
	for _, r := range records {
		if diff := cmp.Diff([]conntrack.Record{r}, find(t, path, Filter{User: r.User}), asTold...); diff != "" {
			t.Errorf("%q (-written +read):\n%s", r.User, diff)
		}
		if _, err := reader(t, path).Story(t.Context(), r.User); err == nil {
			t.Errorf("%q is the id of a pinhole", r.User)
		}
	}
	lines, err := reader(t, path).Summary(t.Context(), Filter{}, ByUser)
	if err != nil || len(lines) != len(records) {
		t.Errorf("%d lines, %v", len(lines), err)
	}
}

// crowd are records of a few clients, servers, users and so on, in no order.
func crowd() []conntrack.Record {
	var out []conntrack.Record
	for i := range 400 {
		r := pinhole(i, conntrack.Action(i%6+1))
		r.Time = begun.Add(time.Duration(i*7919%400) * time.Second / 4 * 4)
		r.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i % 3), byte(i % 5), 1}), 40000)
		if i%11 == 0 {
			r.Client = netip.MustParseAddrPort("[2001:db8::1]:40000")
		}
		r.Server = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i % 4), 21}), 21)
		r.User, r.FlowID = []string{"", "anonymous", "bob"}[i%3], uint64(i+1)
		r.Pinhole.Dst = netip.AddrPortFrom(r.Server.Addr(), uint16(i%7))
		if i%4 > 0 { // also where both ports are the same
			r.Pinhole.Outside = netip.AddrPortFrom(netip.MustParseAddr("198.51.100.7"), uint16(i%5))
		}
		r.Reason = []conntrack.Reason{"", "", conntrack.Finished, "denied_port", "", conntrack.Finish}[i%6]
		if i%4 == 1 && (r.Action == conntrack.Close || r.Action == conntrack.End) { // a reason of a close and of an end
			r.Reason = conntrack.SessionEnd
		}
		out = append(out, of(r))
	}
	for i := range 60 {
		out = append(out, crowdsLife(i)...)
	}
	return out
}

// crowdsLife is a pinhole of which all is recorded, over a longer or shorter time, and
// its session, in which nobody had logged in at first.
func crowdsLife(i int) (out []conntrack.Record) {
	for _, action := range []conntrack.Action{conntrack.Start, conntrack.Open, conntrack.Use, conntrack.Close, conntrack.End} {
		r := pinhole(5000+4*i, action)
		r.Time = begun.Add(time.Duration(i*37%400)*time.Second + time.Duration(i*int(action)*31%97)*time.Millisecond)
		if i%3 == 0 && action == conntrack.Close { // long after
			r.Time = r.Time.Add(time.Duration(i) * time.Minute)
		}
		if i%7 == 0 { // the clock was set back
			r.Time = begun.Add(time.Duration(i*3+40-int(action)) * time.Second).Add(time.Duration(i) * time.Microsecond)
		}
		r.User = []string{"bob", "anonymous"}[i%2]
		if action == conntrack.Start {
			r.User = []string{"", "bob"}[i/2%2]
		}
		r.Server = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i % 4), 21}), 21)
		r.Pinhole.Dst = netip.AddrPortFrom(r.Server.Addr(), uint16(i%7))
		if action == conntrack.Open {
			r.Transfer, r.Path = "", ""
		}
		out = append(out, of(r))
	}
	return out
}

// matches is a second reading of what a filter asks for.
func matches(f *Filter, r *conntrack.Record) bool {
	in := func(ps []netip.Prefix, a netip.Addr) bool {
		return len(ps) == 0 || slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return (f.Since.IsZero() || !r.Time.Before(f.Since)) && (f.Until.IsZero() || r.Time.Before(f.Until)) &&
		in(f.Clients, r.Client.Addr()) && in(f.Servers, r.Server.Addr()) &&
		(f.User == "" || f.User == r.User) && (f.Port == 0 || f.Port == r.Pinhole.Dst.Port() || f.Port == r.Pinhole.Outside.Port()) &&
		(f.Action == 0 || f.Action == r.Action) && (len(f.Reasons) == 0 || slices.Contains(f.Reasons, r.Reason))
}

func filters() *rapid.Generator[Filter] {
	return rapid.Custom(func(t *rapid.T) Filter {
		times := []time.Time{{}, begun, begun.Add(time.Minute), begun.Add(200 * time.Second), begun.Add(time.Hour)}
		prefix := func(texts ...string) []netip.Prefix {
			var out []netip.Prefix
			for _, s := range rapid.SliceOfN(rapid.SampledFrom(texts), 0, 3).Draw(t, "prefixes") {
				out = append(out, netip.MustParsePrefix(s))
			}
			return out
		}
		return Filter{
			Since: rapid.SampledFrom(times).Draw(t, "since"), Until: rapid.SampledFrom(times).Draw(t, "until"),
			Clients: prefix("10.0.0.0/8", "10.1.0.0/16", "10.2.4.1/32", "2001:db8::/32", "172.16.0.0/12", "::/0", "::/80"),
			Servers: prefix("192.0.0.0/16", "192.0.3.0/24", "192.0.1.21/32"),
			User:    rapid.SampledFrom([]string{"", "", "anonymous", "nobody"}).Draw(t, "user"),
			Port:    rapid.SampledFrom([]uint16{0, 0, 3, 99}).Draw(t, "port"),
			Action:  rapid.SampledFrom([]conntrack.Action{0, 0, conntrack.Close, conntrack.Deny, conntrack.End}).Draw(t, "action"),
			Reasons: rapid.SliceOfN(rapid.SampledFrom([]conntrack.Reason{conntrack.Finished, "denied_port", conntrack.Finish, conntrack.SessionEnd, conntrack.Lost}), 0, 3).Draw(t, "reasons"),
			Limit:   rapid.SampledFrom([]int{1, 7, 1000}).Draw(t, "limit"),
		}
	})
}

// However a query goes, it gives the newest that match, newest last.
func TestFind(t *testing.T) {
	all := crowd()
	path := written(t, all...)
	slices.SortStableFunc(all, func(a, b conntrack.Record) int {
		return compare.Or(a.Time.Compare(b.Time), compare.Compare(order[a.Action], order[b.Action]))
	})
	byClient, byTime := reader(t, path), reader(t, path)
	byTime.few = 0
	rapid.Check(t, func(t *rapid.T) {
		f := filters().Draw(t, "filter")
		var want []conntrack.Record
		for i := range all {
			if matches(&f, &all[i]) {
				want = append(want, all[i])
			}
		}
		want = want[max(0, len(want)-f.Limit):]
		for _, r := range []*Reader{byClient, byTime} {
			got, err := r.Find(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, asTold...); diff != "" {
				t.Fatalf("few are %d (-want +got):\n%s", r.few, diff)
			}
		}
	})
}

// So many addresses that they are not looked up one by one.
func TestFindManyAddresses(t *testing.T) {
	all := crowd()
	r := reader(t, written(t, all...))
	f := Filter{Limit: len(all)}
	for i := range 3000 { // more conditions than SQLite takes, if they were in a row
		a := netip.AddrFrom4([4]byte{10, byte(i % 2), byte(i >> 1), 1})
		f.Clients = append(f.Clients, netip.PrefixFrom(a, 32))
	}
	want := 0
	for i := range all {
		if matches(&f, &all[i]) {
			want++
		}
	}
	for range 2 {
		if got, err := r.Find(t.Context(), f); err != nil || len(got) != want {
			t.Errorf("few are %d: %d records, want %d (%v)", r.few, len(got), want, err)
		}
		r.few = 0
	}
}

// No query reads whole tables to find a few records.
func TestPlansUseAnIndex(t *testing.T) {
	r := reader(t, written(t, crowd()...))
	some := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	denied := []conntrack.Reason{"denied_port", conntrack.Finished}
	for name, f := range map[string]Filter{
		"none": {}, "client": {Clients: some}, "server": {Servers: some}, "user": {User: "bob"}, "port": {Port: 21},
		"action": {Action: conntrack.Deny}, "reasons": {Reasons: denied}, "until": {Until: begun},
		"all": {Clients: some, Servers: some, User: "bob", Port: 21, Action: conntrack.Deny, Reasons: denied, Until: begun.Add(time.Hour)},
	} {
		for _, f.Since = range []time.Time{{}, begun} {
			for _, table := range tables {
				columns := f.times(table)
				if columns == nil {
					continue
				}
				// The index has all that is looked at, and its order.
				q := byTime(&f, table, columns)
				if plan := planOf(t, r, q.sql, q.args); !strings.Contains(plan, "USING COVERING INDEX "+table.byTime()) || strings.Contains(plan, "TEMP B-TREE") {
					t.Errorf("%s, since %v, of %s:\n%s", name, f.Since, table.name, plan)
				} else if !f.Since.IsZero() && !strings.Contains(plan, table.byTime()+" (time>?") {
					t.Errorf("%s, since %v, of %s reads all:\n%s", name, f.Since, table.name, plan)
				}
				q = byClient(&f, table, columns, rangesOf(some)[0])
				if plan := planOf(t, r, q.sql, q.args); !strings.Contains(plan, table.byClient()+" (client>? AND client<?)") {
					t.Errorf("%s, since %v, of %s by clients:\n%s", name, f.Since, table.name, plan)
				}
			}
		}
	}
	for query, want := range map[string]string{
		pinholes.named(): "pinholes_by_id (id=?)", refusals.selection(idIs): "refusals_by_id (id=?)", sessions.named(): "(flow=?)",
		pinholes.having(pinholeEvents[1]): "pinholes_by_id (id=?)", sessions.having(sessionEvents[1]): "(flow=?)",
		refusals.selection(listed): "INTEGER PRIMARY KEY (rowid=?)", hasRefusal: "COVERING INDEX refusals_by_time (time=?)",
		unclosed: "pinholes_open", oldest(&refusals): "refusals_by_time (time<?)",
		oldest(tables...): "MERGE (UNION ALL)\n", // in the order of time, with no more read than is deleted
	} {
		plan := planOf(t, r, query, []any{0, 0}[:min(2, strings.Count(query, "?"))])
		if !strings.Contains(plan, want) || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s:\n%s", query, plan)
		}
	}
}

func planOf(t *testing.T, r *Reader, query string, args []any) string {
	t.Helper()
	rows, err := r.db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		out.WriteString(detail + "\n")
	}
	return out.String()
}

// The sums of a summary are those of a second reading.
func TestSummary(t *testing.T) {
	all := crowd()
	r := reader(t, written(t, all...))
	rapid.Check(t, func(t *rapid.T) {
		f := filters().Draw(t, "filter")
		f.Limit = 1000
		by := rapid.SampledFrom([]By{ByClient, ByServer, ByUser, ByReason}).Draw(t, "by")
		want := make(map[string]Line)
		for i := range all {
			rec := &all[i]
			if !matches(&f, rec) || rec.Action != conntrack.Open && rec.Action != conntrack.Close && rec.Action != conntrack.Deny || by == ByReason && rec.Reason == "" {
				continue
			}
			l := want[keyOf(by, rec)]
			l.Key = keyOf(by, rec)
			switch rec.Action {
			case conntrack.Open:
				l.Pinholes++
			case conntrack.Close:
				l.BytesToServer += rec.BytesToServer
				l.BytesToClient += rec.BytesToClient
				l.Longest = max(l.Longest, rec.Duration)
				if by == ByReason {
					l.Pinholes++
				}
			case conntrack.Deny:
				l.Refusals++
			}
			want[l.Key] = l
		}
		lines, err := r.Summary(t.Context(), f, by)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]Line)
		for i, l := range lines {
			got[l.Key] = l
			if i > 0 && l.Pinholes > lines[i-1].Pinholes {
				t.Errorf("line %d is not in order", i)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func keyOf(by By, r *conntrack.Record) string {
	switch by {
	case ByClient:
		return r.Client.Addr().String()
	case ByServer:
		return r.Server.Addr().String()
	case ByUser:
		return r.User
	}
	return string(r.Reason)
}
