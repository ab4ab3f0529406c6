package lab_test

import (
	"bytes"
	"io"
	"os"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// Each server, both families, PORT, EPRT, PASV and EPSV, forwarded and through
// NAT: what is fetched is what is served. The test is the client, so that also
// a slow machine does them all.
func TestCommands(t *testing.T) {
	t.Parallel()
	for _, server := range lab.Servers() {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			l, d := translated(t, lab.NAT{Kind: "none"})
			l.StartServer(server, lab.Server)
			transfers := 0
			for _, n := range []lab.NAT{{Kind: "none"}, {Kind: "masquerade"}, {Kind: "dnat", Length: "longer"}} {
				l.Translate(n)
				transfers += everyCommand(t, l, n)
			}
			records := d.WaitClosed(t, transfers)
			if n := len(lab.Pinholes(records, "use")); n != transfers {
				t.Errorf("%d use records, want %d", n, transfers)
			}
			for _, record := range append(lab.Pinholes(records, "close"), lab.Pinholes(records, "deny")...) {
				if record.Pinhole.Reason != "finished" {
					t.Errorf("want finished: %s", record.Raw)
				}
			}
			noneInvalid(t, l)
		})
	}
}

// everyCommand fetches small.bin with each, in a session of each family, and
// returns how many there are.
func everyCommand(t *testing.T, l *lab.Lab, n lab.NAT) int {
	t.Helper()
	want, err := os.ReadFile(l.Served("small.bin"))
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range []int{4, 6} {
		ends := n.Ends(family)
		s, err := l.Login(lab.Client, ends.Client, ends.Published)
		if err != nil {
			t.Fatalf("%v, IPv%d: %v", n, family, err)
		}
		for _, v := range lab.Variants() {
			if v.Family != family {
				continue
			}
			if got, err := smallBin(s, v); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v %v: %d bytes of %d (%v)", n, v, len(got), len(want), err)
			}
		}
		// It ends as it should.
		if err := s.Expect("QUIT", 221); err != nil {
			t.Errorf("%v, IPv%d: %v", n, family, err)
		}
		if _, err := io.Copy(io.Discard, s.Conn); err != nil {
			t.Errorf("%v, IPv%d: %v", n, family, err)
		}
		s.Conn.Close()
	}
	return len(lab.Variants())
}

func smallBin(s *lab.Session, v lab.Variant) ([]byte, error) {
	if v.Active {
		return s.RetrieveActive(v.Command(), "small.bin")
	}
	data, err := s.Passive(v.Command())
	if err != nil {
		return nil, err
	}
	return s.Retrieve(data, "small.bin")
}
