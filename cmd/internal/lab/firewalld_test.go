package lab_test

import (
	"errors"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/lab"
)

// Must hold: beside firewalld, of which the zones let only port 21 through (no
// service ftp, no masquerade), active and passive mode work, to a server behind
// the gateway and to one on it. That takes expectations; where the kernel has
// none, `check` says so.
func TestFirewalld(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("firewalld")
	l.StartServer("vsftpd", lab.Server)
	l.StartServer("vsftpd", lab.Gateway)
	if expects(t, l) {
		besideFirewalld(t, l)
	} else {
		firewalldRejects(t, l)
	}
}

func besideFirewalld(t *testing.T, l *lab.Lab) {
	if row := checkRow(l, "accept line"); row.level != "ok" {
		t.Errorf("check, accept line: %+v", row)
	}
	d := l.StartDaemon("--backend", "expect", "--hooks", "forward,input")
	hosts := []lab.Where{lab.Server, lab.Gateway}
	for _, host := range hosts {
		for _, v := range lab.Variants() {
			if err := lab.Programs()[0].Run(l, v, lab.Download, lab.Address(host, v.Family), transferLimit); err != nil {
				t.Errorf("to the %s: %v", host, err)
			}
		}
	}
	transfers := len(hosts) * len(lab.Variants())
	finished := 0
	for _, record := range lab.Pinholes(d.WaitClosed(t, transfers), "close") {
		if record.Pinhole.Reason == "finished" {
			finished++
		}
	}
	if finished != transfers {
		t.Errorf("%d pinholes are finished, want %d", finished, transfers)
	}

	// Only what was agreed, and once.
	for _, family := range []int{4, 6} {
		_, data := pinholeBy(t, l, family, "EPSV")
		other := netip.AddrPortFrom(data.Addr(), data.Port()^1)
		if err := rejected(l, other); err != nil {
			t.Errorf("IPv%d, a port that nobody agreed on: %v", family, err)
		}
		first, err := l.Dial(lab.Client, netip.Addr{}, data, transferLimit)
		if err != nil {
			t.Fatalf("IPv%d: the agreed connection: %v", family, err)
		}
		defer first.Close()
		if err := rejected(l, data); err != nil {
			t.Errorf("IPv%d, a second connection: %v", family, err)
		}
	}
}

// firewalldRejects is the same on a kernel that cannot expect connections.
func firewalldRejects(t *testing.T, l *lab.Lab) {
	row := checkRow(l, "accept line")
	if row.level != "error" || !regexp.MustCompile(`table inet firewalld drops data connections\n.*takes the backend expect`).MatchString(row.text) {
		t.Errorf("check, accept line: %+v", row)
	}
	if row := checkRow(l, "backend"); !regexp.MustCompile(`^nft: .*nfnetlink_cthelper`).MatchString(row.text) {
		t.Errorf("check, backend: %+v", row)
	}
	d := l.StartDaemon("--pinhole-timeout", "3s")
	_, data := pinhole(t, l)
	if c, err := l.Dial(lab.Client, netip.Addr{}, data, time.Second); err == nil {
		c.Close()
		t.Error("a data connection passed firewalld: then check is wrong")
	}
	for _, record := range lab.Pinholes(d.WaitClosed(t, 1), "close") {
		if record.Pinhole.Reason != "blocked" {
			t.Errorf("reason %q, want blocked: %s", record.Pinhole.Reason, record.Raw)
		}
	}
}

// rejected is nil if firewalld's answer to a SYN is that it is prohibited.
func rejected(l *lab.Lab, to netip.AddrPort) error {
	conn, err := l.Dial(lab.Client, netip.Addr{}, to, 2*time.Second)
	switch {
	case err == nil:
		conn.Close()
		return errors.New("it passed")
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES): // what ICMP and ICMPv6 become
		return nil
	}
	return err
}

// row is what `ftpinhole check` says of one thing, with the mend on a line of
// its own.
type row struct{ level, text string }

func checkRow(l *lab.Lab, name string) row {
	out, _, _ := l.Program(lab.Gateway, nil, "check")
	match := regexp.MustCompile(`(?m)^(ok|warning|error) +` + name + ` +(.*(?:\n +-> .*)?)$`).FindStringSubmatch(out)
	if match == nil {
		return row{text: "no row " + name + " in:\n" + out}
	}
	return row{level: match[1], text: match[2]}
}

// expects says whether the kernel has what the backend expect needs. Where it is
// known to, it must.
func expects(t testing.TB, l *lab.Lab) bool {
	t.Helper()
	row := checkRow(l, "backend")
	can := strings.HasPrefix(row.text, "expect:")
	if !can && os.Getenv("FTPINHOLE_LAB_BACKEND") == "expect" {
		t.Fatalf("check, backend: %+v", row)
	}
	return can
}
