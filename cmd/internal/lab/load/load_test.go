package load

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"ftpinhole/conntrack"
)

// Clients and server understand each other in each mode, and the notes name the
// connections that there were.
func TestRun(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go (&Server{Ports: 3}).Serve(l)
		for _, mode := range []string{"PASV", "EPSV", "PORT", "EPRT"} {
			at := endpoint(l.Addr())
			if at.Addr().Is6() && (mode == "PASV" || mode == "PORT") {
				continue
			}
			r := Run(t.Context(), Options{Server: at, Mode: mode, Clients: 3, For: 50 * time.Millisecond, Session: 2, Size: 100000, Waste: 3})
			if r.Failures > 0 || r.Transfers == 0 || len(r.NOOP) < r.Transfers || len(r.Data) != r.Transfers || len(r.Notes) != r.Transfers {
				t.Errorf("%s %s: %d transfers, %d noted, %d failures: %s", at, mode, r.Transfers, len(r.Notes), r.Failures, r.Failure)
			}
			for _, n := range r.Notes {
				if !n.Src.IsValid() || !n.Dst.IsValid() || !n.Client.IsValid() || n.End.Before(n.Begin) {
					t.Errorf("%s: %+v", mode, n)
				}
			}
		}
	}
}

// What the gateway does not let through is a failure that is noted.
func TestRunFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := endpoint(l.Addr())
	l.Close()
	if r := Run(t.Context(), Options{Server: at, Mode: "PASV", Clients: 1, For: time.Millisecond, Session: 1}); r.Failures == 0 || r.Failure == "" {
		t.Errorf("%+v", r)
	}
}

func TestJudge(t *testing.T) {
	at := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	note := Note{Client: netip.MustParseAddrPort("10.0.1.2:40000"), Src: netip.MustParseAddrPort("10.0.1.2:50000"), Dst: netip.MustParseAddrPort("10.0.2.2:60000"), Begin: at, End: at.Add(time.Second)}
	use := conntrack.Record{Time: at, Action: conntrack.Use, Client: note.Client, Pinhole: conntrack.Pinhole{ID: "1-1", Src: note.Src.Addr(), SrcPort: note.Src.Port(), Dst: note.Dst}}
	other, late, doubtful, failed, killed, blocked := use, use, use, note, note, use
	killed.Failure = "reset"
	failed.Src = netip.AddrPort{}
	other.Client = netip.MustParseAddrPort("10.0.1.2:40001")
	late.Time = at.Add(time.Minute)
	doubtful.Client, doubtful.Reconstructed = other.Client, true
	failed.Failure = "reset"
	blocked.Action, blocked.Reason = conntrack.Close, conntrack.Blocked
	for _, c := range []struct {
		name    string
		notes   []Note
		records []conntrack.Record
		outages []Outage
		want    Truth
		holds   bool
	}{
		{"right", []Note{note}, []conntrack.Record{use}, nil, Truth{Transfers: 1, Right: 1}, true},
		{"reconstructed", []Note{note}, []conntrack.Record{doubtful}, nil, Truth{Transfers: 1, Doubtful: 1}, true},
		{"another's", []Note{note}, []conntrack.Record{other}, nil, Truth{Transfers: 1, Others: 1}, false},
		{"two at one time", []Note{note}, []conntrack.Record{other, use}, nil, Truth{Transfers: 1, Right: 1}, true},
		{"none", []Note{note}, nil, nil, Truth{Transfers: 1, Missing: 1}, false},
		{"of another time", []Note{note}, []conntrack.Record{late}, nil, Truth{Transfers: 1, Missing: 1}, false},
		{"failed", []Note{failed, note}, []conntrack.Record{use}, nil, Truth{Transfers: 1, Right: 1, Failed: 1}, false},
		{"false", []Note{note}, []conntrack.Record{use, blocked}, nil, Truth{Transfers: 1, Right: 1}, false},
		{"failed while it was away", []Note{failed, note}, []conntrack.Record{use}, []Outage{{at, at}}, Truth{Transfers: 1, Right: 1, Apart: 1}, true},
		{"killed while it was away", []Note{killed}, []conntrack.Record{use}, []Outage{{at, at}}, Truth{Failed: 1}, false},
		{"another's while it was away", []Note{note}, []conntrack.Record{other}, []Outage{{at, at}}, Truth{Transfers: 1, Others: 1}, false},
		{"unrecorded while it was away", []Note{note, note}, nil, []Outage{{at, at}}, Truth{Apart: 2}, false},
		{"nothing", nil, nil, nil, Truth{}, false},
	} {
		got := Judge(c.notes, c.records, c.outages)
		if got.Holds() != c.holds {
			t.Errorf("%s: holds: %v; %s", c.name, got.Holds(), &got)
		}
		got.First, got.False = "", nil
		if got.String() != c.want.String() {
			t.Errorf("%s: %s, want %s", c.name, &got, &c.want)
		}
	}
}
