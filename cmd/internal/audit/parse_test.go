package audit

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func addr(t *rapid.T, name string) netip.Addr {
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name)
	if rapid.Bool().Draw(t, name+" is IPv4") {
		a, _ := netip.AddrFromSlice(b[:4])
		return a
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// record draws any record that the audit file can hold.
func record(t *rapid.T) conntrack.Record {
	text, port := rapid.StringN(0, 40, 256), rapid.Uint16()
	micros := func(name string) time.Duration {
		return time.Duration(rapid.Int64Range(0, 1e12).Draw(t, name)) * time.Microsecond
	}
	r := conntrack.Record{
		Time:   time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "time")).UTC(),
		Action: conntrack.Action(rapid.IntRange(int(conntrack.Open), int(conntrack.End)).Draw(t, "action")),
		Reason: conntrack.Reason(text.Draw(t, "reason")), FlowID: rapid.Uint64Range(1, 1<<53-1).Draw(t, "flow"),
		Client: netip.AddrPortFrom(addr(t, "client"), port.Draw(t, "client port")),
		Server: netip.AddrPortFrom(addr(t, "server"), port.Draw(t, "server port")),
		User:   text.Draw(t, "user"), Mode: conntrack.Mode(rapid.IntRange(0, 2).Draw(t, "mode")),
		Command: text.Draw(t, "command"), Transfer: text.Draw(t, "transfer"), Path: text.Draw(t, "path"),
		Observed: rapid.Bool().Draw(t, "observed"), Reconstructed: rapid.Bool().Draw(t, "reconstructed"),
	}
	if rapid.Bool().Draw(t, "counted") {
		r.Counted, r.BytesToServer, r.BytesToClient = true, rapid.Uint64().Draw(t, "to server"), rapid.Uint64().Draw(t, "to client")
	}
	if r.Action == conntrack.Start || r.Action == conntrack.End {
		r.Duration = micros("duration")
		r.Pinholes, r.Denied = rapid.IntRange(0, 9).Draw(t, "pinholes"), rapid.IntRange(0, 9).Draw(t, "denied")
		r.Encrypted, r.Conflicts = rapid.Bool().Draw(t, "encrypted"), rapid.IntRange(0, 9).Draw(t, "conflicts")
		return r
	}
	if r.Action == conntrack.Close {
		r.Duration = micros("duration")
	}
	r.Count = rapid.IntRange(0, 99).Draw(t, "count")
	r.Pinhole = conntrack.Pinhole{
		ID: text.Draw(t, "id"), Src: addr(t, "src"), SrcPort: port.Draw(t, "src port"), FromPort: port.Draw(t, "from port"), Timeout: micros("timeout"),
	}
	if rapid.Bool().Draw(t, "has dst") {
		r.Pinhole.Dst = netip.AddrPortFrom(addr(t, "dst"), port.Draw(t, "dst port"))
	}
	if rapid.Bool().Draw(t, "translated") {
		r.Pinhole.Outside = netip.AddrPortFrom(addr(t, "outside"), port.Draw(t, "outside port"))
		r.Pinhole.SeenAs = addr(t, "seen as")
	}
	return r
}

// A line that was read and written again is the same line, and reads the same
// to people.
func TestParseTurnsAppendRound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		written := record(t)
		line := Append(nil, &written)
		read, err := Parse(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if diff := cmp.Diff(string(line), string(Append(nil, &read))); diff != "" {
			t.Fatalf("(-written +read and written again):\n%s", diff)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	const good = `{"timestamp":"2026-11-20T10:00:00.123456+0000","event_type":"pinhole","later":[1],"pinhole":{"action":"open"}}`
	if _, err := Parse([]byte(good)); err != nil {
		t.Errorf("%s: %v", good, err)
	}
	for _, bad := range []string{
		``, `{}`, `[]`, `{"skipped":1}`, `{"timestamp":"now","pinhole":{"action":"open"}}`,
		`{"timestamp":"2026-11-20T10:00:00.123456+0000","pinhole":{"action":"blow up"}}`,
		`{"timestamp":"2026-11-20T10:00:00.123456+0000","src_ip":"x","pinhole":{"action":"open"}}`,
		`{"timestamp":"2026-11-20T10:00:00.123456+0000","src_port":70000,"pinhole":{"action":"open"}}`,
	} {
		if r, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%s is taken as %+v", bad, r)
		}
	}
}

func FuzzParse(f *testing.F) {
	r := conntrack.Record{Action: conntrack.End, User: "\x1b\xff", Counted: true}
	f.Add(Append(nil, &r))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := Parse(line)
		if err != nil {
			return
		}
		if text := Append(nil, &r); bytes.Count(text, []byte("\n")) != 1 {
			t.Errorf("%q becomes more than a line: %q", line, text)
		}
	})
}
