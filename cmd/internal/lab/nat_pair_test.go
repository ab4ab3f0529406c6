package lab_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// pair is a control connection under NAT with both of its ends in the test's
// hands, which compares every byte.
type pair struct {
	l              *lab.Lab
	ends           lab.Ends
	client, server side
}

// side is one end, and where more like it are made.
type side struct {
	*net.TCPConn
	where lab.Where
	heard *bufio.Reader
}

// connectPair makes a control connection between the ends, whose client may be
// any of the client's addresses.
func connectPair(t *testing.T, l *lab.Lab, n lab.NAT, ends lab.Ends) *pair {
	t.Helper()
	port, where := uint16(21), lab.Server
	switch n.Kind {
	case "port":
		port = 2121
	case "redirect":
		where = lab.Gateway
	}
	a, b, err := dialThrough(l, lab.Client, ends.Client, netip.AddrPortFrom(ends.Published, port),
		where, netip.AddrPortFrom(ends.Server, 21))
	if err != nil {
		t.Fatalf("%v: the control connection: %v", n, err)
	}
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	seen := b.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	if n.Kind == "snat" {
		ends.SeenAs = seen // one of two
	}
	if seen != ends.SeenAs {
		t.Fatalf("%v: the server sees %v, want %v", n, seen, ends.SeenAs)
	}
	return &pair{l, ends, side{a, lab.Client, bufio.NewReader(a)}, side{b, where, bufio.NewReader(b)}}
}

// loginPair is connectPair, and then USER and PASS of anonymous.
func loginPair(t *testing.T, l *lab.Lab, n lab.NAT, ends lab.Ends) *pair {
	t.Helper()
	p := connectPair(t, l, n, ends)
	for _, err := range []error{
		p.tell(p.server, "220 lab\r\n"),
		p.tell(p.client, "USER anonymous\r\n"), p.tell(p.server, "331 password\r\n"),
		p.tell(p.client, "PASS me@example.com\r\n"), p.tell(p.server, "230 in\r\n"),
	} {
		if err != nil {
			t.Fatalf("login: %v", err)
		}
	}
	return p
}

// dialThrough connects from here to an address, and accepts there at another.
func dialThrough(l *lab.Lab, here lab.Where, source netip.Addr, to netip.AddrPort, there lab.Where, at netip.AddrPort) (a, b *net.TCPConn, err error) {
	listener, err := l.Listen(there, at)
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	dialed, err := l.Dial(here, source, to, patience.Limit)
	if err != nil {
		return nil, nil, err
	}
	_ = listener.(*net.TCPListener).SetDeadline(patience.Deadline())
	accepted, err := listener.Accept()
	if err != nil {
		dialed.Close()
		return nil, nil, err
	}
	return dialed.(*net.TCPConn), accepted.(*net.TCPConn), nil
}

func (p *pair) other(s side) side {
	if s == p.client {
		return p.server
	}
	return p.client
}

// tell writes a text in one piece, and wants it to arrive as it is.
func (p *pair) tell(from side, text string) error {
	if err := from.write(text); err != nil {
		return err
	}
	return p.other(from).hear(text)
}

func (s side) write(text string) error {
	_ = s.SetWriteDeadline(patience.Deadline())
	_, err := io.WriteString(s.TCPConn, text)
	return err
}

// hear wants that this arrives and nothing else.
func (s side) hear(want string) error {
	_ = s.SetReadDeadline(patience.Deadline())
	got := make([]byte, len(want))
	n, err := io.ReadFull(s.heard, got)
	if err != nil {
		return fmt.Errorf("the %s heard %q, want %q: %w", s.where, got[:n], want, err)
	}
	if string(got) != want {
		return fmt.Errorf("the %s heard %q, want %q", s.where, got, want)
	}
	return nil
}

// line reads one.
func (s side) line() (string, error) {
	_ = s.SetReadDeadline(patience.Deadline())
	text, err := s.heard.ReadString('\n')
	if err != nil {
		return text, fmt.Errorf("the %s heard %q and no end of it: %w", s.where, text, err)
	}
	return text, nil
}

// acknowledged waits until the other side has acknowledged all that was
// written, as this side's kernel sees it.
func (s side) acknowledged() error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		var waiting int
		var inner error
		if err := raw.Control(func(fd uintptr) { waiting, inner = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil || inner != nil {
			return errors.Join(err, inner)
		}
		if waiting == 0 {
			return nil
		}
		if time.Since(begun) > patience.Limit {
			return fmt.Errorf("%d bytes of the %s are not acknowledged", waiting, s.where)
		}
	}
}

// passiveReply writes the 227 or 229 for an endpoint.
func passiveReply(command string, at netip.AddrPort) string {
	if command == "EPSV" {
		return fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)", at.Port())
	}
	return fmt.Sprintf("227 Entering Passive Mode (%s).", sixNumbers(at))
}

func sixNumbers(at netip.AddrPort) string {
	return fmt.Sprintf("%s,%d,%d", strings.ReplaceAll(at.Addr().String(), ".", ","), at.Port()>>8, at.Port()&255)
}

// end says goodbye and closes the connection, the server first.
func (p *pair) end() error {
	for _, err := range []error{p.tell(p.client, "QUIT\r\n"), p.tell(p.server, "221 bye\r\n")} {
		if err != nil {
			return err
		}
	}
	for _, s := range []side{p.server, p.client} {
		if err := s.CloseWrite(); err != nil {
			return err
		}
		other := p.other(s)
		_ = other.SetReadDeadline(patience.Deadline())
		if got, err := io.ReadAll(other.heard); err != nil || len(got) > 0 {
			return fmt.Errorf("at the end the %s heard %q: %w", other.where, got, err)
		}
	}
	return errors.Join(p.server.acknowledged(), p.client.acknowledged(), p.server.Close(), p.client.Close())
}

// announcement writes the line that announces an endpoint.
func announcement(command string, at netip.AddrPort) string {
	if isPassive(command) {
		return passiveReply(command, at)
	}
	return lab.Announce(command, at)
}

// free is a port of the side that a command has announce one, and that has not
// used it yet.
func (p *pair) free(command string) (netip.AddrPort, error) {
	own, where := p.ends.Client, p.client.where
	if isPassive(command) {
		own, where = p.ends.Server, p.server.where
	}
	listener, err := p.l.Listen(where, netip.AddrPortFrom(own, 0))
	if err != nil {
		return netip.AddrPort{}, err
	}
	return listener.Addr().(*net.TCPAddr).AddrPort(), listener.Close()
}

func isPassive(command string) bool { return command == "PASV" || command == "EPSV" }

var lastNumbers = regexp.MustCompile(`(?:(\d+),)?(\d+)\D*$`)

// announced is the port of an announcement.
func announced(line string) (uint16, error) {
	match := lastNumbers.FindStringSubmatch(line)
	if match == nil {
		return 0, fmt.Errorf("no endpoint in %q", line)
	}
	low, err := strconv.ParseUint(match[2], 10, 16)
	if match[1] == "" || err != nil {
		return uint16(low), err
	}
	high, err := strconv.ParseUint(match[1], 10, 8)
	return uint16(high<<8 | low), err
}

// outside is the address that an announcement must name, where it names one.
func (p *pair) outside(command string) netip.Addr {
	if isPassive(command) {
		return p.ends.Published
	}
	return p.ends.SeenAs
}

// sameWords wants that a line came as it was sent, but for the tuple, and a
// 227's end: there blanks may have been added, and blanks or the dot taken.
func (p *pair) sameWords(command, sent, got string) (netip.AddrPort, error) {
	port, err := announced(got)
	if err != nil {
		return netip.AddrPort{}, err
	}
	at := netip.AddrPortFrom(p.outside(command), port)
	want := announcement(command, at)
	came := strings.TrimSuffix(got, "\r\n")
	if command == "PASV" {
		came, want = strings.TrimRight(came, " ."), strings.TrimRight(want, ".")
	}
	if canonical(came) != want {
		return at, fmt.Errorf("%q arrived as %q, want %q", sent, got, want)
	}
	return at, nil
}

// canonical spells the IPv6 address of an EPRT the short way.
func canonical(line string) string {
	fields := strings.Split(line, "|")
	if len(fields) != 5 || fields[1] != "2" {
		return line
	}
	if address, err := netip.ParseAddr(fields[2]); err == nil {
		fields[2] = address.String()
	}
	return strings.Join(fields, "|")
}

// announce has a side announce an endpoint of its own, all the dialogue that
// belongs to it included, and returns what the other side was told.
func (p *pair) announce(command string, at netip.AddrPort) (netip.AddrPort, error) {
	return p.announceAmid("", command, at, "")
}

// announceAmid is announce with other commands before and after, all of them in
// one piece, and the replies too.
func (p *pair) announceAmid(before, command string, at netip.AddrPort, after string) (netip.AddrPort, error) {
	line, reply := announcement(command, at)+"\r\n", "200 fine\r\n"
	if isPassive(command) {
		line, reply = command+"\r\n", line
	}
	first, last := strings.ReplaceAll(before, "NOOP", "200"), strings.ReplaceAll(after, "NOOP", "200")
	var told netip.AddrPort
	for i, it := range []struct {
		from                side
		before, text, after string
	}{{p.client, before, line, after}, {p.server, first, reply, last}} {
		if err := it.from.write(it.before + it.text + it.after); err != nil {
			return netip.AddrPort{}, err
		}
		to := p.other(it.from)
		if err := to.hear(it.before); err != nil {
			return netip.AddrPort{}, err
		}
		if (i == 1) == isPassive(command) {
			got, err := to.line()
			if err != nil {
				return told, err
			}
			if told, err = p.sameWords(command, it.text, got); err != nil {
				return netip.AddrPort{}, err
			}
		} else if err := to.hear(it.text); err != nil {
			return netip.AddrPort{}, err
		}
		if err := to.hear(it.after); err != nil {
			return netip.AddrPort{}, err
		}
	}
	return told, nil
}

// data makes the data connection that was agreed on and moves bytes both ways.
// Who takes it must see the address of the control connection's other end.
func (p *pair) data(command string, at, told netip.AddrPort) error {
	from, source, there, seen := p.server.where, p.ends.Server, p.client.where, p.ends.Published
	if isPassive(command) {
		from, source, there, seen = p.client.where, p.ends.Client, p.server.where, p.ends.SeenAs
	}
	a, b, err := dialThrough(p.l, from, source, told, there, at)
	if err != nil {
		return fmt.Errorf("%s %v, told as %v: %w", command, at, told, err)
	}
	defer a.Close()
	defer b.Close()
	if got := b.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); got != seen {
		return fmt.Errorf("%s: the data connection comes from %v, want %v", command, got, seen)
	}
	_ = a.SetDeadline(patience.Deadline())
	_ = b.SetDeadline(patience.Deadline())
	for _, way := range [][2]*net.TCPConn{{a, b}, {b, a}} {
		if _, err := io.WriteString(way[0], "data"); err != nil {
			return err
		}
		if err := way[0].CloseWrite(); err != nil {
			return err
		}
		if got, err := io.ReadAll(way[1]); err != nil || string(got) != "data" {
			return fmt.Errorf("%s: %q arrived: %w", command, got, err)
		}
	}
	return nil
}

// transfer announces a free port of the side that does, and uses it.
func (p *pair) transfer(command string) (at, told netip.AddrPort, err error) {
	if at, err = p.free(command); err != nil {
		return at, told, err
	}
	if told, err = p.announce(command, at); err != nil {
		return at, told, err
	}
	return at, told, p.data(command, at, told)
}
