package lab

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

	"ftpinhole/cmd/internal/patience"
)

// Session is a control connection whose lines the test writes itself.
type Session struct {
	Conn  net.Conn
	lab   *Lab
	where Where
	lines *bufio.Reader
}

// Connect opens a control connection to port 21 and reads the greeting. It is
// closed when the test ends.
func (l *Lab) Connect(where Where, from, to netip.Addr) (*Session, error) {
	conn, err := l.Dial(where, from, netip.AddrPortFrom(to, 21), patience.Limit)
	if err != nil {
		return nil, err
	}
	l.t.Cleanup(func() { conn.Close() })
	s := &Session{Conn: conn, lab: l, where: where, lines: bufio.NewReader(conn)}
	if code, text, err := s.Reply(); err != nil || code != 220 {
		return nil, fmt.Errorf("greeting: %d %q: %w", code, text, err)
	}
	return s, nil
}

// Login is Connect, and then USER and PASS of anonymous and binary mode.
func (l *Lab) Login(where Where, from, to netip.Addr) (*Session, error) {
	s, err := l.Connect(where, from, to)
	if err != nil {
		return nil, err
	}
	code, text, err := s.Command("USER anonymous")
	if code == 331 {
		code, text, err = s.Command("PASS test@example.com")
	}
	if err != nil || code != 230 {
		return nil, fmt.Errorf("login: %d %q: %w", code, text, err)
	}
	if err := s.Expect("TYPE I", 200); err != nil {
		return nil, err
	}
	return s, nil
}

// Send writes one line, without waiting.
func (s *Session) Send(line string) error {
	_ = s.Conn.SetDeadline(patience.Deadline())
	_, err := io.WriteString(s.Conn, line+"\r\n")
	return err
}

// Reply reads one reply, of one line or more (RFC 959 4.2).
func (s *Session) Reply() (code int, text string, err error) {
	_ = s.Conn.SetDeadline(patience.Deadline())
	first := ""
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return 0, text, err
		}
		text += line
		if first == "" && len(line) > 3 {
			first = line[:3]
		}
		if strings.HasPrefix(line, first) && len(line) > 3 && line[3] != '-' {
			code, err = strconv.Atoi(first)
			return code, strings.TrimSpace(text), err
		}
	}
}

// Command sends one line and reads its reply.
func (s *Session) Command(line string) (code int, text string, err error) {
	if err := s.Send(line); err != nil {
		return 0, "", err
	}
	return s.Reply()
}

// Expect is Command for which only one reply will do.
func (s *Session) Expect(line string, want int) error {
	code, text, err := s.Command(line)
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	if code != want {
		return fmt.Errorf("%s: got %q, want %d", line, text, want)
	}
	return nil
}

// Passive sends PASV or EPSV and returns where the server listens.
func (s *Session) Passive(command string) (netip.AddrPort, error) {
	_, text, err := s.Command(command)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s: %w", command, err)
	}
	peer := s.Conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	if match := regexp.MustCompile(`^229.*\(\|\|\|(\d+)\|\)`).FindStringSubmatch(text); match != nil {
		port, err := strconv.ParseUint(match[1], 10, 16)
		return netip.AddrPortFrom(peer, uint16(port)), err
	}
	if match := regexp.MustCompile(`^227.*\(\d+,\d+,\d+,\d+,(\d+),(\d+)\)`).FindStringSubmatch(text); match != nil {
		high, err1 := strconv.ParseUint(match[1], 10, 8)
		low, err2 := strconv.ParseUint(match[2], 10, 8)
		return netip.AddrPortFrom(peer, uint16(high<<8|low)), errors.Join(err1, err2)
	}
	return netip.AddrPort{}, fmt.Errorf("%s: no endpoint in %q", command, text)
}

// Retrieve fetches a file over a data connection to where Passive pointed.
func (s *Session) Retrieve(data netip.AddrPort, name string) ([]byte, error) {
	return s.RetrieveFrom(netip.Addr{}, data, name)
}

// RetrieveFrom is Retrieve from one of the client's addresses.
func (s *Session) RetrieveFrom(from netip.Addr, data netip.AddrPort, name string) ([]byte, error) {
	conn, err := s.lab.Dial(s.where, from, data, patience.Limit)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := s.Send("RETR " + name); err != nil {
		return nil, err
	}
	return s.finish(conn, name)
}

// RetrieveActive listens, announces it with PORT or EPRT and fetches a file.
func (s *Session) RetrieveActive(command, name string) ([]byte, error) {
	here := s.Conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr()
	listener, err := s.lab.Listen(s.where, netip.AddrPortFrom(here, 0))
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	_ = listener.(*net.TCPListener).SetDeadline(patience.Deadline())
	if err := s.Expect(Announce(command, listener.Addr().(*net.TCPAddr).AddrPort()), 200); err != nil {
		return nil, err
	}
	if err := s.Send("RETR " + name); err != nil {
		return nil, err
	}
	conn, err := listener.Accept()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return s.finish(conn, name)
}

// Announce writes the PORT or EPRT command for an endpoint.
func Announce(command string, at netip.AddrPort) string {
	if command == "PORT" {
		address := strings.ReplaceAll(at.Addr().String(), ".", ",")
		return fmt.Sprintf("PORT %s,%d,%d", address, at.Port()>>8, at.Port()&255)
	}
	family := 1 // RFC 2428 2
	if at.Addr().Is6() {
		family = 2
	}
	return fmt.Sprintf("EPRT |%d|%s|%d|", family, at.Addr(), at.Port())
}

// finish reads the server's 150 or 125, the data connection to its end, and then
// the server's 226.
func (s *Session) finish(data net.Conn, name string) ([]byte, error) {
	if code, text, err := s.Reply(); err != nil || code != 150 && code != 125 {
		return nil, fmt.Errorf("RETR %s: %d %q: %w", name, code, text, err)
	}
	_ = data.SetDeadline(patience.Deadline())
	content, err := io.ReadAll(data)
	if err != nil {
		return nil, err
	}
	data.Close()
	if code, text, err := s.Reply(); err != nil || code != 226 {
		return nil, fmt.Errorf("RETR %s: %d %q: %w", name, code, text, err)
	}
	return content, nil
}
