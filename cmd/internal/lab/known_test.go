package lab_test

import (
	"bufio"
	"net"
	"net/netip"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// heardBefore is a session of which a daemon knows something when it ends.
type heardBefore struct {
	name   string
	lines  string // before the restart, "C: " or "S: " in front, " / " between
	reason string // why PORT is refused afterwards; "" if nothing of the session is read
	pair   *pair
	port   uint16 // that the client announced then
}

// say plays lines.
func (p *pair) say(t *testing.T, name, lines string) {
	t.Helper()
	for _, line := range strings.Split(lines, " / ") {
		from := p.client
		if strings.HasPrefix(line, "S: ") {
			from = p.server
		}
		if err := p.tell(from, line[3:]+"\r\n"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// Law 6: what is known of a session survives the daemon, killed or stopped, and
// ordinary sessions work at once, their first command a PORT.
func TestLaw6KnownSessionsOutliveTheDaemon(t *testing.T) {
	t.Parallel()
	for _, n := range []lab.NAT{{Kind: "none"}, {Kind: "both", Length: "longer"}} {
		t.Run(n.Kind, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			l.Firewall("accept-line")
			if n.Kind != "none" {
				l.Translate(n)
			}
			d := l.StartDaemon()
			const login = "S: 220 lab / C: USER u / S: 331 x / C: PASS p / S: 230 in"
			refused := []*heardBefore{
				{name: "TLS", lines: login + " / C: AUTH TLS / S: 234 go"},
				{name: "not FTP", lines: "S: 220 lab / C: POST / HTTP/1.1 / S: 500 what", reason: "not_ftp"},
				{name: "no server of FTP", lines: "S: 500 what", reason: "not_ftp"},
				{name: "login phase", lines: "S: 220 lab / C: USER u / S: 331 x", reason: "not_logged_in"},
				{name: "greeted", lines: "S: 220 lab", reason: "not_logged_in"},
				{name: "logged out", lines: login + " / C: REIN / S: 220 anew", reason: "not_logged_in"},
				{name: "leaving", lines: login + " / C: QUIT / S: 221 bye", reason: "not_logged_in"},
			}
			for _, r := range refused {
				r.lines = strings.Replace(r.lines, "POST / HTTP", "POST /x HTTP", 1)
				r.pair = connectPair(t, l, n, n.Ends(4))
				r.pair.say(t, r.name, r.lines)
			}
			ordinary := []*pair{loginPair(t, l, n, n.Ends(4)), loginPair(t, l, n, n.Ends(6)), loginPair(t, l, n, n.Ends(4))}
			for _, p := range ordinary[:2] { // the third has transferred nothing yet
				mustTransfer(t, d, p)
			}

			for _, end := range []func(*lab.Daemon){(*lab.Daemon).Kill, (*lab.Daemon).Stop, (*lab.Daemon).Kill} {
				end(d)
				d = d.Restart()
				for _, r := range refused {
					r.refuse(t)
				}
				for _, p := range ordinary {
					if n.Kind != "none" {
						// What passed unseen must not be rewritten when it is sent again.
						p.say(t, "ordinary", "C: NOOP / S: 200 x / C: NOOP / S: 200 x")
					}
					mustTransfer(t, d, p)
				}
				// One client's refusals for one reason may be one record with a count.
				want := map[string]bool{"not_ftp": true, "not_logged_in": true}
				patience.Until(t, "what was refused is recorded", func() bool {
					for _, record := range lab.Pinholes(d.AuditRecords(), "deny") {
						for _, r := range refused {
							if record.Pinhole.DestPort == r.port && record.Pinhole.Reason == r.reason {
								delete(want, r.reason)
							}
						}
					}
					return len(want) == 0
				})
				for _, r := range refused {
					for _, record := range lab.Pinholes(d.AuditRecords(), "open") {
						if record.Pinhole.DestPort == r.port && record.SrcPort == r.pair.clientPort() {
							t.Errorf("%s: after the restart PORT opened: %s", r.name, record.Raw)
						}
					}
				}
			}
			d.Stop()
		})
	}
}

// refuse has the client announce a port that must stay shut, behind a command that
// is answered.
func (r *heardBefore) refuse(t *testing.T) {
	t.Helper()
	at, err := r.pair.free("PORT")
	if err != nil {
		t.Fatal(err)
	}
	r.port = at.Port()
	r.pair.say(t, r.name, "C: NOOP / S: 200 x / C: "+lab.Announce("PORT", at)+" / S: 200 fine")
}

func (p *pair) clientPort() uint16 {
	return p.client.LocalAddr().(*net.TCPAddr).AddrPort().Port()
}

// mustTransfer transfers something by each command of the family, PORT or EPRT
// first.
func mustTransfer(t *testing.T, d *lab.Daemon, p *pair) {
	t.Helper()
	all := []string{"PORT", "EPRT", "PASV", "EPSV"}
	if p.ends.Client.Is6() {
		all = []string{"EPRT", "EPSV"}
	}
	for _, command := range all {
		if _, _, err := p.transfer(command); err != nil {
			for _, record := range lab.Pinholes(d.AuditRecords(), "deny") {
				if record.SrcPort == p.clientPort() {
					t.Log(record.Raw)
				}
			}
			t.Fatalf("%s from port %d: %v", command, p.clientPort(), err)
		}
	}
}

// A connection that begins while no daemon runs inherits nothing of the one that
// had its ports before.
func TestLaw6PortsUsedAgainWithoutADaemon(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	d := l.StartDaemon()
	n := lab.NAT{Kind: "none"}
	ends := n.Ends(4)
	before := map[string]string{
		"not FTP":     "S: 220 lab / C: GET /x HTTP/1.0 / S: 500 what",
		"login phase": "S: 220 lab / C: USER u / S: 331 x",
	}
	after := map[string]*pair{}
	ports := map[string]netip.AddrPort{}
	for name, lines := range before {
		p := connectPair(t, l, n, ends)
		p.say(t, name, lines)
		ports[name] = p.client.LocalAddr().(*net.TCPAddr).AddrPort()
		after[name] = p
	}
	d.Kill()
	for name, p := range after {
		// Reset: conntrack and both ends are done with it at once.
		_ = p.client.SetLinger(0)
		p.client.Close()
		p.server.Close()
		again := connectAgain(t, l, ends, ports[name])
		again.say(t, name, "S: 220 lab / C: USER u / S: 331 x / C: PASS p / S: 230 in")
		after[name] = again
	}
	d = d.Restart()
	for name, p := range after {
		// Nothing is known of it: a command has to be answered first.
		for range 2 {
			p.say(t, name, "C: NOOP / S: 200 x")
		}
		mustTransfer(t, d, p)
	}
	d.Stop()
}

// connectAgain is connectPair from a port that was used before.
func connectAgain(t *testing.T, l *lab.Lab, ends lab.Ends, from netip.AddrPort) *pair {
	t.Helper()
	at := netip.AddrPortFrom(ends.Server, 21)
	listener, err := l.Listen(lab.Server, at)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var dialed, accepted net.Conn
	err = l.Do(lab.Client, func() (err error) {
		dialer := net.Dialer{Timeout: patience.Limit, LocalAddr: net.TCPAddrFromAddrPort(from)}
		dialed, err = dialer.Dial("tcp", at.String())
		return err
	})
	if err == nil {
		accepted, err = listener.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dialed.Close()
		accepted.Close()
	})
	a, b := dialed.(*net.TCPConn), accepted.(*net.TCPConn)
	return &pair{l, ends, side{a, lab.Client, bufio.NewReader(a)}, side{b, lab.Server, bufio.NewReader(b)}}
}
