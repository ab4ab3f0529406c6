package sequences

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ftpinhole/conntrack"
)

func session(client, server string) *conntrack.Kept {
	k := &conntrack.Kept{Client: netip.MustParseAddrPort(client), Server: netip.MustParseAddrPort(server)}
	k.Translation = conntrack.Translation{Client: netip.MustParseAddrPort("192.0.2.1:999"), Server: k.Server}
	k.Up = conntrack.Sequence{
		Shift:    4294967290,
		Edits:    []conntrack.Edit{{Seq: 7, Length: 3, Bytes: []byte("1,2\xff\x00"), Told: 2, Last: ' '}},
		Withheld: &conntrack.Withheld{Seq: 9, Bytes: []byte("10,0"), Last: '\t'},
	}
	return k
}

var addresses = cmpopts.EquateComparable(netip.AddrPort{})

// Law 6: what was kept is there for the next daemon, to the byte.
func TestLaw6SaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions")
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	a, b := session("10.0.1.2:40000", "10.0.2.2:21"), session("[fd00::2]:40000", "[fd00::3]:21")
	for _, k := range []*conntrack.Kept{a, b} {
		if err := d.Save(k); err != nil {
			t.Fatal(err)
		}
	}
	a.Up.Shift = 12
	if err := d.Save(a); err != nil {
		t.Fatal(err)
	}
	next, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := next.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*conntrack.Kept{a, b}, got, addresses); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for range 2 { // the second time there is nothing
		if err := d.Remove(a.Client, a.Server); err != nil {
			t.Error(err)
		}
	}
	if got, err := d.Load(); err != nil || len(got) != 1 || got[0].Client != b.Client {
		t.Errorf("after Remove: %v, %v", got, err)
	}
	for _, e := range []string{path, filepath.Join(path, b.Client.String()+"-"+b.Server.String()+".json")} {
		if info, err := os.Stat(e); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v: others may read it", e, info, err)
		}
	}
}

// A file that is no session costs that session, and not the start.
func TestBrokenFiles(t *testing.T) {
	path := t.TempDir()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	good := session("10.0.1.2:40000", "10.0.2.2:21")
	if err := d.Save(good); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(d.name(good.Client, good.Server))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"10.0.1.9:1-10.0.2.2:21.json": string(whole), // of another session
		"10.0.1.2:1-10.0.2.2:21.json": string(whole[:len(whole)/2]),
		"10.0.1.2:2-10.0.2.2:21.txt":  string(whole),
		"10.0.1.2:3-10.0.2.2:21.json": "",
		"10.0.1.2:4-10.0.2.2:21.json": "{}",
		"10.0.1.2:5-10.0.2.2:21.json": `"` + strings.Repeat("x", maxSize) + `"`,
	} {
		if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.Load()
	if len(got) != 1 || got[0].Client != good.Client {
		t.Errorf("got %v", got)
	}
	if n := strings.Count(err.Error(), "removed"); n != 6 {
		t.Errorf("%d files are complained about, want 6: %v", n, err)
	}
	if left, err := os.ReadDir(path); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A daemon that dies while it writes has lost nothing: no packet has left yet that
// needed it.
func TestLaw6UnfinishedFileIsNoLoss(t *testing.T) {
	path := t.TempDir()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	good := session("10.0.1.2:40000", "10.0.2.2:21")
	if err := d.Save(good); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*conntrack.Kept{good, session("10.0.1.2:40001", "10.0.2.2:21")} {
		if err := os.WriteFile(d.name(k.Client, k.Server)+unfinished, []byte(`{"Client":"10.`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.Load()
	if err != nil || len(got) != 1 || got[0].Client != good.Client {
		t.Errorf("got %v and the warning %v, want one session and none", got, err)
	}
	if left, err := os.ReadDir(path); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
