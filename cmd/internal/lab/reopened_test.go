package lab_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// dialFrom connects from a port of here.
func dialFrom(l *lab.Lab, here lab.Where, from, to netip.AddrPort, limit time.Duration) (conn net.Conn, err error) {
	dialer := net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(from),
		Control: func(_, _ string, raw syscall.RawConn) (err error) {
			failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
			if err == nil {
				err = failed
			}
			return err
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err = l.Do(here, func() (err error) {
		conn, err = dialer.DialContext(ctx, "tcp", to.String())
		return err
	})
	return conn, err
}

// Laws 4 and 7: the side that was connected to ends a transfer with a RST, and the
// next one has the same four addresses and ports. conntrack has it in the entry of
// the one before: it is recorded all the same, and uses its pinhole up.
func TestLaw7TransfersInAClosedEntry(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"PORT", "EPRT", "PASV", "EPSV"} {
		for _, family := range []int{4, 6} {
			if family == 6 && (command == "PORT" || command == "PASV") {
				continue
			}
			for _, n := range []lab.NAT{{Kind: "none"}, {Kind: "masquerade"}} {
				t.Run(fmt.Sprintf("%s_IPv%d_%v", command, family, n), func(t *testing.T) {
					t.Parallel()
					l := lab.New(t)
					if n.Kind != "none" {
						l.Translate(n)
					}
					l.Firewall("accept-line")
					d := l.StartDaemon()
					reopen(t, d, loginPair(t, l, n, n.Ends(family)), command)
					d.WaitClosed(t, 3)
					d.Stop()
					records := d.AuditRecords()
					if opens, uses := lab.Pinholes(records, "open"), lab.Pinholes(records, "use"); len(opens) != 3 || len(uses) != 3 {
						t.Errorf("%d opened and %d used, want 3", len(opens), len(uses))
					}
					for _, r := range lab.Pinholes(records, "close") {
						if r.Pinhole.Reason != "finished" {
							t.Errorf("closed: %s", r.Raw)
						}
					}
				})
			}
		}
	}
}

// reopen does three transfers between the same ports, each of which ends with the
// listener's RST; after each, nothing else comes through its pinhole.
func reopen(t *testing.T, d *lab.Daemon, p *pair, command string) {
	t.Helper()
	listens, dials := p.client, p.server
	if isPassive(command) {
		listens, dials = p.server, p.client
	}
	own, peer := p.ends.Client, p.ends.SeenAs
	from := netip.AddrPortFrom(p.ends.Server, 20)
	if isPassive(command) {
		own, peer, from = p.ends.Server, p.ends.Published, netip.AddrPortFrom(p.ends.Client, 33333)
	}
	listener, err := p.l.Listen(listens.where, netip.AddrPortFrom(own, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	at := listener.Addr().(*net.TCPAddr).AddrPort()

	for i := range 3 {
		if isPassive(command) {
			if err := p.tell(p.client, command+"\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		// Under NAT the line names where the gateway lets it in.
		if err := listens.write(announcement(command, at) + "\r\n"); err != nil {
			t.Fatal(err)
		}
		line, err := p.other(listens).line()
		if err != nil {
			t.Fatal(err)
		}
		port, err := announced(strings.TrimRight(line, "\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		if !isPassive(command) {
			if err := p.tell(p.server, "200 ok\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		to := netip.AddrPortFrom(peer, port)

		conn, err := dialFrom(p.l, dials.where, from, to, patience.Limit)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		_ = listener.(*net.TCPListener).SetDeadline(patience.Deadline())
		accepted, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if viaExpectations() { // the daemon removes the expectation when it hears of the connection
			patience.Until(t, "the use is told", func() bool { return len(lab.Pinholes(d.AuditRecords(), "use")) > i })
		}
		if other, err := p.l.Dial(dials.where, from.Addr(), to, 300*time.Millisecond); err == nil {
			other.Close()
			t.Errorf("a second connection came through pinhole %d", i)
		}
		_ = accepted.(*net.TCPConn).SetLinger(0)
		accepted.Close()
		_, _ = io.ReadAll(conn) // until the RST
		conn.Close()
	}
}
