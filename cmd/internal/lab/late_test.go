package lab_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

const (
	usualTime = 4 * time.Second // of a pinhole
	late      = 9 * time.Second // after its opening
)

// A client that connects late finds the port open while its RETR waits, and shut
// when it has asked for nothing.
func TestClientConnectsLate(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon("--pinhole-timeout", usualTime.String())
	s, data := pinhole(t, l)
	if err := s.Send("RETR hello.txt"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(late)
	conn, err := l.Dial(lab.Client, netip.Addr{}, data, 3*time.Second)
	if err != nil {
		t.Fatalf("the pinhole is shut while its transfer waits: %v", err)
	}
	defer conn.Close()
	if code, text, err := s.Reply(); err != nil || code != 150 {
		t.Errorf("RETR: %q, %v", text, err)
	}

	_, data = pinhole(t, l)
	time.Sleep(late)
	if conn, err := l.Dial(lab.Client, netip.Addr{}, data, 500*time.Millisecond); err == nil {
		conn.Close()
		t.Error("a pinhole whose transfer nobody asked for is open after its time")
	}
	patience.Until(t, "one used and one expired", func() bool {
		records := d.AuditRecords()
		closed := lab.Pinholes(records, "close")
		return len(lab.Pinholes(records, "use")) == 1 && len(closed) > 0 && closed[0].Pinhole.Reason == "expired"
	})
}

// A server that connects late, before it has answered anything, finds the port of
// PORT open.
func TestServerConnectsLate(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	control, err := l.Listen(lab.Server, netip.AddrPortFrom(lab.Address(lab.Server, 4), 21))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { control.Close() })
	connected := make(chan error, 1)
	go func() {
		conn, err := control.Accept()
		if err != nil {
			return // closed
		}
		connected <- serveLate(l, conn)
	}()
	l.StartDaemon("--pinhole-timeout", usualTime.String())

	s, err := l.Login(lab.Client, lab.Address(lab.Client, 4), lab.Address(lab.Server, 4))
	if err != nil {
		t.Fatal(err)
	}
	content, err := s.RetrieveActive("PORT", "late")
	if served := <-connected; served != nil || err != nil || string(content) != "late" {
		t.Errorf("server: %v, client: %v, %q", served, err, content)
	}
}

// serveLate is a server of one session and one transfer, for which it connects
// late.
func serveLate(l *lab.Lab, conn net.Conn) error {
	defer conn.Close()
	say := func(line string) { fmt.Fprintf(conn, "%s\r\n", line) }
	var to netip.AddrPort
	say("220 lab")
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		verb, arg, _ := strings.Cut(lines.Text(), " ")
		switch verb {
		case "PASS":
			say("230 in")
		case "PORT":
			f := strings.Split(arg, ",")
			if len(f) != 6 {
				return fmt.Errorf("PORT %s", arg)
			}
			var high, low uint16
			if _, err := fmt.Sscan(f[4], &high); err != nil {
				return err
			}
			if _, err := fmt.Sscan(f[5], &low); err != nil {
				return err
			}
			to = netip.AddrPortFrom(netip.MustParseAddr(strings.Join(f[:4], ".")), high<<8|low)
			say("200 ok")
		case "RETR":
			time.Sleep(late)
			data, err := l.Dial(lab.Server, netip.Addr{}, to, 3*time.Second)
			if err != nil {
				return err
			}
			say("150 here it comes")
			fmt.Fprint(data, "late")
			data.Close()
			say("226 done")
			return nil
		case "USER":
			say("331 password")
		default:
			say("200 ok")
		}
	}
	return errors.New("the client left")
}
