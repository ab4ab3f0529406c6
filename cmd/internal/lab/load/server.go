package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// patience is how long either side waits for the other in one step.
	patience = 10 * time.Second
	// connecting is how long a data connection may take: the SYN is sent again after
	// a second.
	connecting = 2500 * time.Millisecond
)

// Server serves zeros: RETR's argument says how many. Whoever logs in is let in.
type Server struct {
	// Ports is how many passive ports there are for each address. When all are
	// taken, PASV waits. 0: as many as are asked for.
	Ports int

	mu   sync.Mutex
	free map[netip.Addr]chan *net.TCPListener
}

// Serve answers the sessions of a listener, until that is closed.
func (s *Server) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go (&session{server: s, Conn: c}).serve()
	}
}

// ports are the free listeners at an address.
func (s *Server) ports(at netip.Addr) (chan *net.TCPListener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if free := s.free[at]; free != nil {
		return free, nil
	}
	free := make(chan *net.TCPListener, 4096)
	for range s.Ports {
		l, err := listen(at)
		if err != nil {
			return nil, err
		}
		free <- l
	}
	if s.free == nil {
		s.free = make(map[netip.Addr]chan *net.TCPListener)
	}
	s.free[at] = free
	return free, nil
}

func listen(at netip.Addr) (*net.TCPListener, error) {
	return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
}

// take gives a passive port to a session. A new one for each transfer would leave
// so many in TIME_WAIT that the load would measure that.
func (s *Server) take(at netip.Addr) (*net.TCPListener, error) {
	free, err := s.ports(at)
	if err != nil {
		return nil, err
	}
	select {
	case l := <-free:
		return l, nil
	default:
	}
	if s.Ports == 0 {
		return listen(at)
	}
	select {
	case l := <-free:
		return l, nil
	case <-time.After(patience):
		return nil, errors.New("no passive port is free")
	}
}

// give takes it back. One at which somebody may still be waiting is of no use to
// the next session.
func (s *Server) give(at netip.Addr, l *net.TCPListener, clean bool) {
	if !clean {
		l.Close()
		again, err := net.ListenTCP("tcp", l.Addr().(*net.TCPAddr))
		if err != nil { // another program has it
			again, err = listen(at)
		}
		if err != nil {
			return
		}
		l = again
	}
	free, err := s.ports(at)
	if err != nil {
		l.Close()
		return
	}
	select {
	case free <- l:
	default:
		l.Close()
	}
}

// session is one control connection.
type session struct {
	net.Conn
	server  *Server
	passive *net.TCPListener
	active  netip.AddrPort
}

func (s *session) say(format string, args ...any) { fmt.Fprintf(s, format+"\r\n", args...) }

func (s *session) local() netip.Addr {
	return s.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
}

func (s *session) drop(clean bool) {
	if s.passive != nil {
		s.server.give(s.local(), s.passive, clean)
		s.passive = nil
	}
}

func (s *session) serve() {
	defer s.Close()
	defer func() { s.drop(false) }()
	lines := bufio.NewReader(s)
	s.say("220 load")
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		switch verb {
		case "USER":
			s.say("331 any password")
		case "PASS":
			s.say("230 logged in")
		case "NOOP":
			s.say("200 ok")
		case "QUIT":
			s.say("221 bye")
			return
		case "PASV", "EPSV":
			s.enter(verb)
		case "PORT", "EPRT":
			s.name(verb, arg)
		case "RETR":
			s.retrieve(arg)
		default:
			s.say("502 no")
		}
	}
}

func (s *session) enter(verb string) {
	s.drop(false)
	l, err := s.server.take(s.local())
	if err != nil {
		s.say("425 %v", err)
		return
	}
	s.passive = l
	at := netip.AddrPortFrom(s.local(), l.Addr().(*net.TCPAddr).AddrPort().Port())
	if verb == "EPSV" {
		s.say("229 Entering Extended Passive Mode (|||%d|)", at.Port())
		return
	}
	s.say("227 Entering Passive Mode (%s).", hostPort(at))
}

func (s *session) name(verb, arg string) {
	s.drop(false)
	var err error
	if verb == "PORT" {
		s.active, err = parseHostPort(arg)
	} else if f := strings.Split(arg, "|"); len(f) == 5 {
		s.active, err = netip.ParseAddrPort(net.JoinHostPort(f[2], f[3]))
	} else {
		err = errors.New("not in bars")
	}
	if err != nil {
		s.say("501 %v", err)
		return
	}
	s.say("200 ok")
}

func (s *session) retrieve(arg string) {
	size, _ := strconv.Atoi(arg)
	data, err := s.connect()
	if err != nil {
		s.say("425 %v", err)
		return
	}
	_ = data.SetDeadline(time.Now().Add(patience))
	if _, err := io.CopyN(data, zeros{}, int64(size)); err != nil {
		data.Close()
		s.say("426 %v", err)
		return
	}
	data.Close()
	s.say("226 done")
}

// connect opens the data connection, as real servers do: in active mode before
// they say 150.
func (s *session) connect() (net.Conn, error) {
	if s.passive == nil {
		dialer := net.Dialer{Timeout: connecting, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.local(), 0))}
		data, err := dialer.Dial("tcp", s.active.String())
		if err == nil {
			s.say("150 here it comes")
		}
		return data, err
	}
	s.say("150 here it comes")
	_ = s.passive.SetDeadline(time.Now().Add(patience))
	data, err := s.passive.Accept()
	s.drop(err == nil)
	return data, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// hostPort is how PORT and 227 write an endpoint.
func hostPort(a netip.AddrPort) string {
	return fmt.Sprintf("%s,%d,%d", strings.ReplaceAll(a.Addr().String(), ".", ","), a.Port()>>8, a.Port()&255)
}

func parseHostPort(text string) (netip.AddrPort, error) {
	f := strings.Split(text, ",")
	if len(f) != 6 {
		return netip.AddrPort{}, errors.New("not six numbers")
	}
	high, _ := strconv.Atoi(f[4])
	low, _ := strconv.Atoi(f[5])
	return netip.ParseAddrPort(fmt.Sprintf("%s:%d", strings.Join(f[:4], "."), high<<8|low))
}
