package trail

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/audit"
	"ftpinhole/conntrack"
)

// lenient opens all that is asked for.
type lenient struct{}

func (lenient) Terms(client, server netip.Addr) conntrack.Terms   { return conntrack.Terms{} }
func (lenient) Decide(r conntrack.Request) (why conntrack.Reason) { return "" }

// spoken are the records of a session in which this is said: a client's line
// begins with >.
func spoken(t *testing.T, lines ...string) []conntrack.Record {
	t.Helper()
	client, server := netip.MustParseAddrPort("10.0.1.2:40000"), netip.MustParseAddrPort("10.0.2.2:21")
	limits := conntrack.Limits{LineBytes: 4096, Commands: 32, Pinholes: 9, PinholesPerClient: 9, Sessions: 9, SessionsPerClient: 9, HalfOpen: 9}
	tracker := conntrack.New(conntrack.Config{Ports: []uint16{21}, Timeout: 30 * time.Second, Limits: limits, Seed: 1}, lenient{}, conntrack.NewQuota(limits))
	var out []conntrack.Record
	var carryOut func(effects []conntrack.Effect)
	carryOut = func(effects []conntrack.Effect) {
		for _, e := range append([]conntrack.Effect{}, effects...) {
			switch e.Do {
			case conntrack.DoRecord:
				out = append(out, e.Record)
			case conntrack.DoOpen:
				carryOut(tracker.Opened(begun, e.Record.Pinhole.ID, "", nil))
			}
		}
	}
	up, down := uint32(1001), uint32(2001)
	send := func(toServer bool, flags conntrack.Flags, seq, ack uint32, text string) {
		p := conntrack.Packet{Src: client, Dst: server, Seq: seq, Ack: ack, Flags: flags, Hook: conntrack.HookForward, Payload: []byte(text)}
		if !toServer {
			p.Src, p.Dst = server, client
		}
		carryOut(tracker.Packet(begun, &p))
	}
	send(true, conntrack.SYN, 1000, 0, "")
	send(false, conntrack.SYN|conntrack.ACK, 2000, 1001, "")
	send(true, conntrack.ACK, up, down, "")
	for _, line := range lines {
		text, toServer := strings.CutPrefix(line, ">")
		text += "\r\n"
		if toServer {
			send(true, conntrack.ACK, up, down, text)
			up += uint32(len(text))
		} else {
			send(false, conntrack.ACK, down, up, text)
			down += uint32(len(text))
		}
	}
	carryOut(tracker.Stop(begun.Add(time.Second), conntrack.Stopped))
	return out
}

// Issue 6: no argument of PASS, ACCT or ADAT is in any log or database.
func TestNoPasswords(t *testing.T) {
	records := spoken(t, "220 hello", ">USER bob", "331 password", ">PASS hunter2", "332 account", ">ACCT hunter2", "230 in",
		">ADAT hunter2", "501 no", ">PASV", "227 Entering (10,0,2,2,200,10)", ">RETR a.bin", "150 go", ">PORT 10,0,1,2,hunter,2", "501 no",
		">pass  hunter2", "503 no", ">PASV", ">PASS hunter2", "227 (10,0,2,2,200,11)", "230 in", ">QUIT", "221 bye")
	opened := 0
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	tr := open(t, path, roomy)
	log, err := audit.Open(filepath.Join(dir, "audit.json"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		if r := &records[i]; r.Action == conntrack.Open && r.User == "bob" {
			opened++
		}
		tr.Write(records[i])
		log.Write(records[i])
		if text := audit.Text(&records[i]); strings.Contains(text, "hunter") {
			t.Errorf("said: %s", text)
		}
	}
	if opened == 0 {
		t.Errorf("no pinhole was opened: the dialogue is wrong")
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	shut(t, tr)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	seen := false
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		seen = seen || bytes.Contains(b, []byte("a.bin")) && filepath.Base(name) == FileName
		if bytes.Contains(b, []byte("hunter")) {
			t.Errorf("%s has a password", name)
		}
	}
	if !seen {
		t.Errorf("nothing was found in the database among %v", files)
	}
}
