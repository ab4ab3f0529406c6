package audit

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// opened is the record of DESIGN.md's example.
func opened() conntrack.Record {
	return conntrack.Record{
		Time:     time.Date(2026, 11, 20, 11, 0, 0, 123456789, time.FixedZone("CET", 3600)),
		Action:   conntrack.Open,
		FlowID:   123,
		Client:   netip.MustParseAddrPort("10.0.1.2:40000"),
		Server:   netip.MustParseAddrPort("10.0.2.2:21"),
		User:     "anonymous",
		Mode:     conntrack.Passive,
		Command:  "PASV",
		Transfer: "RETR",
		Path:     "/pub/a.bin",
		Pinhole: conntrack.Pinhole{
			ID:      "7b-1",
			Src:     netip.MustParseAddr("10.0.1.2"),
			Dst:     netip.MustParseAddrPort("10.0.2.2:50055"),
			Timeout: 30 * time.Second,
		},
	}
}

func TestAppend(t *testing.T) {
	const control = `{"timestamp":"2026-11-20T10:00:00.123456+0000","event_type":"pinhole","flow_id":123,` +
		`"src_ip":"10.0.1.2","src_port":40000,"dest_ip":"10.0.2.2","dest_port":21,"proto":"TCP",`
	const ftp = `"ftp":{"user":"anonymous","mode":"passive","command":"PASV","path":"/pub/a.bin","transfer":"RETR"},`
	const hole = `"src_ip":"10.0.1.2","dest_ip":"10.0.2.2","dest_port":50055,"timeout_s":30`
	session := strings.Replace(control, `"pinhole"`, `"ftp_session"`, 1)
	tests := []struct {
		name   string
		change func(r *conntrack.Record)
		want   string
	}{
		{"open", func(r *conntrack.Record) {}, control + ftp + `"pinhole":{"id":"7b-1","action":"open",` + hole + `}}`},
		{"use", func(r *conntrack.Record) {
			r.Action, r.Pinhole.SrcPort = conntrack.Use, 51000
		}, control + ftp + `"pinhole":{"id":"7b-1","action":"use",` + hole + `,"src_port":51000}}`},
		{"translated", func(r *conntrack.Record) {
			r.Pinhole.Outside, r.Pinhole.SeenAs = netip.MustParseAddrPort("198.51.100.7:50056"), netip.MustParseAddr("10.0.2.1")
		}, control + ftp + `"pinhole":{"id":"7b-1","action":"open","src_ip":"10.0.1.2","dest_ip":"10.0.2.2","dest_port":50055,` +
			`"nat_src_ip":"10.0.2.1","nat_dest_ip":"198.51.100.7","nat_dest_port":50056,"timeout_s":30}}`},
		{"close, counted", func(r *conntrack.Record) {
			r.Action, r.Reason, r.Pinhole.SrcPort = conntrack.Close, conntrack.Finished, 51000
			r.Counted, r.BytesToClient, r.Duration = true, 1<<40, 1500*time.Millisecond
		}, control + ftp + `"pinhole":{"id":"7b-1","action":"close",` + hole +
			`,"src_port":51000,"reason":"finished","bytes_toserver":0,"bytes_toclient":1099511627776,"duration_s":1.5}}`},
		{"close, not counted, no time", func(r *conntrack.Record) {
			r.Action, r.Reason, r.Pinhole.SrcPort = conntrack.Close, conntrack.Finished, 51000
		}, control + ftp + `"pinhole":{"id":"7b-1","action":"close",` + hole + `,"src_port":51000,"reason":"finished","duration_s":0.0}}`},
		{"close, never used", func(r *conntrack.Record) {
			r.Action, r.Reason, r.Pinhole.Timeout = conntrack.Close, conntrack.Expired, 2500*time.Millisecond
		}, control + ftp + `"pinhole":{"id":"7b-1","action":"close","src_ip":"10.0.1.2","dest_ip":"10.0.2.2",` +
			`"dest_port":50055,"timeout_s":2.5,"reason":"expired"}}`},
		{"deny without endpoint", func(r *conntrack.Record) {
			r.Action, r.Reason, r.Pinhole, r.User, r.Transfer, r.Path = conntrack.Deny, conntrack.Malformed, conntrack.Pinhole{}, "", "", ""
			r.Command, r.Mode = "PORT", conntrack.Active
		}, control + `"ftp":{"mode":"active","command":"PORT"},"pinhole":{"action":"deny","reason":"malformed"}}`},
		{"deny of a flood, port 0", func(r *conntrack.Record) {
			r.Action, r.Reason, r.Count = conntrack.Deny, "privileged_port", 41
			r.Pinhole = conntrack.Pinhole{Dst: netip.MustParseAddrPort("10.0.2.2:0")}
		}, control + ftp + `"pinhole":{"action":"deny","dest_ip":"10.0.2.2","dest_port":0,"reason":"privileged_port","count":41}}`},
		{"one refusal has no count", func(r *conntrack.Record) {
			r.Action, r.Reason, r.Count, r.Pinhole = conntrack.Deny, conntrack.NotFTP, 1, conntrack.Pinhole{}
		}, control + ftp + `"pinhole":{"action":"deny","reason":"not_ftp"}}`},
		{"observed", func(r *conntrack.Record) { r.Observed = true },
			control + ftp + `"pinhole":{"id":"7b-1","action":"open",` + hole + `,"observed":true}}`},
		{"reconstructed", func(r *conntrack.Record) { r.Reconstructed = true },
			control + ftp + `"pinhole":{"id":"7b-1","action":"open",` + hole + `,"reconstructed":true}}`},
		{"session end, reconstructed", func(r *conntrack.Record) {
			*r = conntrack.Record{Time: r.Time, Action: conntrack.End, Reason: conntrack.Vanished, FlowID: r.FlowID, Client: r.Client,
				Server: r.Server, Reconstructed: true}
		}, session + `"session":{"action":"end","reason":"gone","pinholes":0,"denied":0,"duration_s":0.0,"reconstructed":true}}`},
		{"IPv6", func(r *conntrack.Record) {
			r.Client, r.Server = netip.MustParseAddrPort("[2001:db8::1]:4000"), netip.MustParseAddrPort("[2001:db8::2]:21")
			r.Pinhole.Src, r.Pinhole.Dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddrPort("[2001:db8::2]:5000")
			r.Command = "EPSV"
		}, `{"timestamp":"2026-11-20T10:00:00.123456+0000","event_type":"pinhole","flow_id":123,` +
			`"src_ip":"2001:db8::1","src_port":4000,"dest_ip":"2001:db8::2","dest_port":21,"proto":"TCP",` +
			strings.Replace(ftp, "PASV", "EPSV", 1) +
			`"pinhole":{"id":"7b-1","action":"open","src_ip":"2001:db8::1","dest_ip":"2001:db8::2","dest_port":5000,"timeout_s":30}}`},
		{"session start", func(r *conntrack.Record) {
			*r = conntrack.Record{Time: r.Time, Action: conntrack.Start, FlowID: r.FlowID, Client: r.Client, Server: r.Server}
		}, session + `"session":{"action":"start"}}`},
		{"session end", func(r *conntrack.Record) {
			*r = conntrack.Record{Time: r.Time, Action: conntrack.End, Reason: conntrack.Finish, FlowID: r.FlowID, Client: r.Client,
				Server: r.Server, User: "me", Pinholes: 3, Counted: true, BytesToServer: 10, BytesToClient: 20, Duration: 61 * time.Second}
		}, session + `"ftp":{"user":"me"},"session":{"action":"end","reason":"fin","pinholes":3,"denied":0,` +
			`"bytes_toserver":10,"bytes_toclient":20,"duration_s":61.0}}`},
		{"session end, odd", func(r *conntrack.Record) {
			*r = conntrack.Record{Time: r.Time, Action: conntrack.End, Reason: conntrack.Vanished, FlowID: r.FlowID, Client: r.Client,
				Server: r.Server, Denied: 2, Duration: 1234567 * time.Microsecond, Encrypted: true, Conflicts: 4}
		}, session + `"session":{"action":"end","reason":"gone","pinholes":0,"denied":2,"duration_s":1.234567,"encrypted":true,"conflicts":4}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := opened()
			tt.change(&r)
			got := string(Append([]byte("before "), &r))
			if diff := cmp.Diff("before "+tt.want+"\n", got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !json.Valid([]byte(strings.TrimPrefix(got, "before "))) {
				t.Errorf("not JSON: %s", got)
			}
		})
	}
}

// Issue 2: "a session without the operator's accept line ends in a blocked
// record that names the mend".
func TestBlockedNamesTheMend(t *testing.T) {
	r := opened()
	r.Action, r.Reason, r.Pinhole.SrcPort = conntrack.Close, conntrack.Blocked, 51000
	for name, line := range map[string]string{"json": string(Append(nil, &r)), "text": Text(&r)} {
		if !strings.Contains(line, "accept line") || !strings.Contains(line, "ftpinhole rules nft") {
			t.Errorf("%s does not say what to do: %s", name, line)
		}
	}
}

func TestEscaping(t *testing.T) {
	tests := []struct{ in, want string }{
		{`a"b\c`, `"a\"b\\c"`},
		{"a\r\n\t\x00\x1b[2J", `"a\u000d\u000a\u0009\u0000\u001b[2J"`},
		{"\x7f\u0080\u009b31m", `"\u007f\u0080\u009b31m"`},
		{"\u2028\u2029\u202e\ufeff", `"\u2028\u2029\u202e\ufeff"`},
		{"a\xff\xc3", "\"a\ufffd\ufffd\""},
		{"\xed\xa0\x80", "\"\ufffd\ufffd\ufffd\""}, // a surrogate in UTF-8 is none
		{"Grüße 日本 </script>", `"Grüße 日本 </script>"`},
		{"\U000e0001\U0001f600", `"\udb40\udc01😀"`},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, string(appendString(nil, tt.in))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.in, diff)
		}
	}
}

// Law 7, THREATS.md "wire text in logs, terminals, JSON": whatever the wire
// sends, a record is one line of JSON, printable, and says what was sent.
func TestWireText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := opened()
		r.User = string(rapid.SliceOfN(rapid.Byte(), 0, 256).Draw(t, "user"))
		r.Path = rapid.StringN(-1, -1, 1024).Draw(t, "path")
		checkWire(t, &r)
	})
}

func FuzzAppend(f *testing.F) {
	f.Add("anonymous", "/pub")
	f.Add("\x1b]0;evil\x07", "a\"},\"x\":{\"\u2028\x9b")
	f.Fuzz(func(t *testing.T, user, path string) {
		r := opened()
		r.User, r.Path = user, path
		checkWire(t, &r)
	})
}

func checkWire(t interface {
	Fatalf(format string, args ...any)
}, r *conntrack.Record) {
	line := string(Append(nil, r))
	body, ended := strings.CutSuffix(line, "\n")
	if !ended || !printable(body) {
		t.Fatalf("not one printable line: %q", line)
	}
	var got struct {
		FTP struct{ User, Path string }
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	// Valid text comes back as it was; each byte that is none is one U+FFFD.
	if want := string([]rune(r.User)); got.FTP.User != want {
		t.Fatalf("user %q became %q", r.User, got.FTP.User)
	}
	if want := string([]rune(r.Path)); got.FTP.Path != want {
		t.Fatalf("path %q became %q", r.Path, got.FTP.Path)
	}
	if text := Text(r); !printable(text) {
		t.Fatalf("not one printable line: %q", text)
	}
}

// printable is a second, slower opinion on what a terminal may be given.
func printable(s string) bool {
	for _, r := range s {
		if r < ' ' || r >= 0x7f && r <= 0x9f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200f || r == 0xfeff {
			return false
		}
	}
	return utf8.ValidString(s)
}

func BenchmarkAppend(b *testing.B) {
	r := opened()
	buf := Append(nil, &r)
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], &r)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	r := opened()
	buf := Append(nil, &r)
	if n := testing.AllocsPerRun(100, func() { buf = Append(buf[:0], &r) }); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}
