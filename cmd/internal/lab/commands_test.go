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
			want, err := os.ReadFile(l.Served("small.bin"))
			if err != nil {
				t.Fatal(err)
			}
			transfers := 0
			for _, n := range []lab.NAT{{Kind: "none"}, {Kind: "masquerade"}, {Kind: "dnat", Length: "longer"}} {
				l.Translate(n)
				for _, v := range lab.Variants() {
					transfers++
					if got, err := retrieve(l, n, v); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%v %v: %d bytes of %d (%v)", n, v, len(got), len(want), err)
					}
				}
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

// retrieve fetches small.bin in a session of its own, which it ends as it should.
func retrieve(l *lab.Lab, n lab.NAT, v lab.Variant) ([]byte, error) {
	ends := n.Ends(v.Family)
	s, err := l.Login(lab.Client, ends.Client, ends.Published)
	if err != nil {
		return nil, err
	}
	defer s.Conn.Close()
	got, err := smallBin(s, v)
	if err != nil {
		return nil, err
	}
	if err := s.Expect("QUIT", 221); err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, s.Conn)
	return got, err
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
