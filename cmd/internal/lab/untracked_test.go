package lab_test

import (
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// Sessions that conntrack does not see, or that SYNPROXY takes up, work where no
// firewall drops them, and nothing is opened for them. Behind SYNPROXY the server's
// side may be seen, and what it negotiates is refused. check names the rule, and
// what it says to do helps.
func TestUntracked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, rules string
		rows        []string
	}{
		{"notrack", `
	chain early {
		type filter hook prerouting priority raw
		tcp dport 21 notrack
		tcp sport 21 notrack
	}`, []string{"notrack", "notrack"}},
		{"synproxy", `
	chain early {
		type filter hook prerouting priority raw
		tcp dport 21 tcp flags & (fin|syn|rst|ack) == syn notrack
	}
	chain guard {
		type filter hook forward priority -1
		tcp dport 21 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm
	}`, []string{"synproxy", "notrack"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			l.StartServer("vsftpd", lab.Server)
			d := l.StartDaemon()
			// As the manual of SYNPROXY has it: the client's ACK is not to be picked up.
			if _, err := l.Exec(lab.Gateway, "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0"); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Exec(lab.Gateway, "nft", "table inet hides {"+tt.rules+"\n}"); err != nil {
				t.Fatal(err)
			}

			retrieve(t, l)
			for _, record := range d.AuditRecords() {
				if record.Pinhole.Action != "deny" || record.Pinhole.Reason != "out_of_step" {
					t.Fatalf("there is nothing that check has to tell of: %s", record.Raw)
				}
			}
			for _, name := range tt.rows {
				found := checkRow(l, name)
				_, deletion, ok := strings.Cut(found.text, "or delete it: ")
				if found.level != "error" || !ok {
					t.Fatalf("%s: %+v", name, found)
				}
				if _, err := l.Exec(lab.Gateway, "sh", "-c", deletion); err != nil {
					t.Fatal(err)
				}
			}

			retrieve(t, l)
			if opened := lab.Pinholes(d.WaitClosed(t, 1), "open"); len(opened) != 1 {
				t.Errorf("after these rules were deleted: %d pinholes, want 1", len(opened))
			}
		})
	}
}

// retrieve is a session with one transfer.
func retrieve(t *testing.T, l *lab.Lab) {
	t.Helper()
	s, data := pinhole(t, l)
	if _, err := s.Retrieve(data, "hello.txt"); err != nil {
		t.Fatal(err)
	}
}
