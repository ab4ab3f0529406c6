package trail

import (
	"context"
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

// Each field of a record is kept: one that is added to it needs a column.
func TestEveryFieldIsKept(t *testing.T) {
	r := conntrack.Record{
		Time: begun, Client: netip.MustParseAddrPort("[2001:db8::1]:40000"), Server: netip.MustParseAddrPort("192.0.2.21:65535"),
		Pinhole: conntrack.Pinhole{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddrPort("[2001:db8::2]:50055"),
			Outside: netip.MustParseAddrPort("[2001:db8::3]:50056"), SeenAs: netip.MustParseAddr("192.0.2.9")},
	}
	n := 0
	setZeros(t, reflect.ValueOf(&r).Elem(), &n)
	got := find(t, written(t, r), Filter{})
	if diff := cmp.Diff([]conntrack.Record{r}, got, asTold...); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	var zero conntrack.Record
	zero.Time, zero.Action = begun, conntrack.Deny
	if diff := cmp.Diff([]conntrack.Record{zero}, find(t, written(t, zero), Filter{}), asTold...); diff != "" {
		t.Errorf("a bare refusal (-written +read):\n%s", diff)
	}
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
		if r.Action >= conntrack.Start {
			r.Pinhole = conntrack.Pinhole{}
		}
		out = append(out, r)
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

func indicesOf(t interface {
	Context() context.Context
	Fatal(...any)
}, r *Reader, f *Filter) []index {
	all, err := r.indices(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Whatever index a query goes by, it gives the newest that match, newest last.
func TestFind(t *testing.T) {
	all := crowd()
	r := reader(t, written(t, all...))
	slices.SortStableFunc(all, func(a, b conntrack.Record) int { return a.Time.Compare(b.Time) })
	rapid.Check(t, func(t *rapid.T) {
		f := filters().Draw(t, "filter")
		var want []conntrack.Record
		for i := range all {
			if matches(&f, &all[i]) {
				want = append(want, all[i])
			}
		}
		want = want[max(0, len(want)-f.Limit):]
		for _, by := range indicesOf(t, r, &f) {
			got, err := r.findBy(t.Context(), &f, by)
			if err != nil {
				t.Fatalf("%s: %v", by.name, err)
			}
			if diff := cmp.Diff(want, got, asTold...); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", by.name, diff)
			}
		}
		if got, err := r.Find(t.Context(), f); err != nil || cmp.Diff(want, got, asTold...) != "" {
			t.Fatalf("%d records, want %d (%v)", len(got), len(want), err)
		}
	})
}

// So many addresses that they are not looked up one by one.
func TestFindManyAddresses(t *testing.T) {
	all := crowd()
	r := reader(t, written(t, all...))
	f := Filter{Limit: len(all)}
	for i := range 600 {
		a := netip.AddrFrom4([4]byte{10, byte(i % 2), byte(i >> 1), 1})
		f.Clients = append(f.Clients, netip.PrefixFrom(a, 32))
	}
	want := 0
	for i := range all {
		if matches(&f, &all[i]) {
			want++
		}
	}
	for _, by := range indicesOf(t, r, &f) {
		if got, err := r.findBy(t.Context(), &f, by); err != nil || len(got) != want {
			t.Errorf("by %s %d records, want %d (%v)", by.name, len(got), want, err)
		}
	}
}

// What is found by a guess, which takes many records, is what going back in time
// finds: whether the newest match, or only the oldest, or some all along.
func TestGuess(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	fill(t, path, 2000) // 500 sessions of as many clients, 6667 records
	r := reader(t, path)
	r.weighed = 100
	guessed := 0
	for name, f := range map[string]Filter{
		"all":    {Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		"old":    {Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}},
		"period": {Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Since: begun.Add(100 * time.Millisecond), Until: begun.Add(1500 * time.Millisecond)},
		"both":   {Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Servers: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		"apart":  {Clients: []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.0.4/32")}},
		"reason": {Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Reasons: []conntrack.Reason{conntrack.Finished, conntrack.Lost}},
	} {
		for _, f.Limit = range []int{1, 60} {
			indices := indicesOf(t, r, &f)
			want, err := r.findBy(t.Context(), &f, indices[len(indices)-1])
			if err != nil || len(want) == 0 {
				t.Fatalf("%s: %d records, %v", name, len(want), err)
			}
			got, err := r.Find(t.Context(), f)
			if diff := cmp.Diff(want, got, asTold...); err != nil || diff != "" {
				t.Errorf("%s, limit %d: %v (-want +got):\n%s", name, f.Limit, err, diff)
			}
			newer, by, err := r.guess(t.Context(), f, indices)
			if err != nil || by.ordered {
				continue
			}
			guessed++
			got, err = r.findBy(t.Context(), &newer, by)
			if diff := cmp.Diff(want, got, asTold...); len(got) == f.Limit && diff != "" {
				t.Errorf("%s, limit %d by a guess: %v (-want +got):\n%s", name, f.Limit, err, diff)
			}
		}
	}
	if guessed == 0 {
		t.Error("nothing was guessed")
	}
}

// Issue 6: a test holds that the query plan uses an index.
func TestPlansUseAnIndex(t *testing.T) {
	r := reader(t, written(t, crowd()...))
	one := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	denied := []conntrack.Reason{"denied_port"}
	two := append(one, netip.MustParsePrefix("2001:db8::/32"))
	for name, f := range map[string]Filter{
		"none": {}, "client": {Clients: one}, "clients": {Clients: two}, "server": {Servers: one}, "user": {User: "bob"}, "port": {Port: 21},
		"action": {Action: conntrack.Deny}, "reason": {Reasons: denied}, "reasons": {Reasons: append(denied, conntrack.Lost)},
		"pairs": {Clients: one, Servers: one, User: "bob"}, "port of a user": {Port: 21, User: "bob", Clients: one, Servers: one}, "denied port": {Port: 21, Action: conntrack.Deny, Reasons: denied},
		"client and server": {Clients: one, Servers: []netip.Prefix{netip.MustParsePrefix("192.0.1.21/32")}}, "denied clients": {Clients: one, Servers: two, Action: conntrack.Deny},
		"all": {Clients: two, Servers: two, User: "bob", Port: 21, Action: conntrack.Deny, Reasons: denied, Until: begun.Add(time.Hour)},
	} {
		for _, f.Since = range []time.Time{{}, begun} {
			all := indicesOf(t, r, &f)
			sampling := f.sampling(all)
			if plan := planOf(t, r, sampling.sql, append(sampling.args, "[1]")); !strings.Contains(plan, "INTEGER PRIMARY KEY (rowid=?)") {
				t.Errorf("%s, a sample, since %v:\n%s", name, f.Since, plan)
			}
			for _, by := range all {
				q := f.matching(&by)
				if by.ordered {
					q = f.newest(&by)
				}
				plan := planOf(t, r, q.sql, q.args)
				for _, p := range by.parts {
					if !strings.Contains(plan, "USING INDEX "+p.of) && !strings.Contains(plan, "USING COVERING INDEX "+p.of) {
						t.Errorf("%s by %s, since %v:\n%s", name, by.name, f.Since, plan)
					}
				}
				// Rows are read for what is found alone, and in order.
				if by.covers(&f) && strings.Contains(plan, "USING INDEX") || by.name != "by_time" && strings.Contains(plan, "LAST TERM") {
					t.Errorf("%s by %s, since %v sorts or reads rows:\n%s", name, by.name, f.Since, plan)
				}
				// Without a time, all is read that was written, from the newest on.
				if strings.Contains(plan, "SCAN records") && (by.name != "by_time" || !f.Since.IsZero()) {
					t.Errorf("%s by %s, since %v reads all:\n%s", name, by.name, f.Since, plan)
				}
			}
		}
	}
	if plan := planOf(t, r, allKinds, nil); strings.Contains(plan, "SCAN r") || !strings.Contains(plan, "by_kind (action=? AND reason>?)") || !strings.Contains(plan, "by_kind (action>?)") {
		t.Errorf("kinds:\n%s", plan)
	}
	plan := planOf(t, r, "SELECT "+columns+" FROM records WHERE id = ? AND id <> ''", []any{"7b-1"}) +
		planOf(t, r, "SELECT "+columns+" FROM records WHERE flow = ? AND action >= 5", []any{1})
	if strings.Contains(plan, "SCAN") {
		t.Errorf("a story:\n%s", plan)
	}
	for query, index := range map[string]string{
		unclosedRecords: "once_pinhole (id=? AND action=?)", unclosedPruned: "once_pinhole (id=?)",
		these: "INTEGER PRIMARY KEY (rowid=?)", oldestOfAll: "by_time (time<?)", oldestOthers: "INTEGER PRIMARY KEY (rowid>?)", oldestRefusals: "USING INDEX refused",
	} {
		if plan := planOf(t, r, query, []any{0, 0}[:strings.Count(query, "?")]); !strings.Contains(plan, index) {
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
