package dialogue_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/lab/dialogue"
)

// player plays dialogues between a lab's client and its server.
type player struct {
	lab *lab.Lab
	// limit is how long a segment may take, and a connection that has to
	// get through.
	limit time.Duration
}

// The times of a connection that must not get through: how long after the
// packet that shuts the port it may come, and how long it is waited for. Its
// SYN is dropped or it is not, so that there is nothing to wait for but a busy
// machine.
const (
	settle  = 100 * time.Millisecond
	refusal = 500 * time.Millisecond
)

// result is how a dialogue went.
type result struct {
	hung   error   // bytes that were sent did not arrive, or others did
	opened []error // connections that got through and must not
	shut   []error // connections that must get through and did not
	broken error   // the player itself failed
}

func (r result) err() error {
	return errors.Join(append(append([]error{r.broken, r.hung}, r.opened...), r.shut...)...)
}

// prepare gives both sides the addresses of the worlds, and the gateway routes
// to them. A route has one neighbour, whoever is behind it: all namespaces share
// a table of 1024 (gc_thresh3), which two labs with as many neighbours as
// addresses would fill.
func prepare(t *testing.T, l *lab.Lab, worlds []dialogue.World) {
	t.Helper()
	routes := ""
	for network := range (len(worlds)-1)/hosts + 1 {
		routes += fmt.Sprintf("route replace 10.%d.1.0/24 via %v\nroute replace 10.%[1]d.2.0/24 via %[3]v\n",
			1+network, lab.Address(lab.Client, 4), lab.Address(lab.Server, 4))
	}
	batch(t, l, lab.Gateway, routes)

	for _, where := range []lab.Where{lab.Client, lab.Server} {
		seen := make(map[netip.Addr]bool)
		addresses := ""
		for _, w := range worlds {
			own, other := w.Client, w.OtherClient
			if where == lab.Server {
				own, other = w.Server, w.OtherServer
			}
			for _, a := range []netip.Addr{own, other} {
				switch {
				case seen[a]:
				case a.Is6():
					addresses += fmt.Sprintf("addr replace %v/64 dev uplink nodad\n", a)
				default:
					addresses += fmt.Sprintf("addr replace %v/24 dev uplink\n", a)
				}
				seen[a] = true
			}
		}
		batch(t, l, where, addresses)
	}
}

func batch(t *testing.T, l *lab.Lab, where lab.Where, lines string) {
	t.Helper()
	if _, err := l.Exec(where, "sh", "-c", `printf %s "$1" | ip -batch -`, "sh", lines); err != nil {
		t.Fatal(err)
	}
}

// play plays one dialogue to its end. After a hang nothing more is tried.
func (p player) play(world dialogue.World, d dialogue.Dialogue) (res result) {
	st, err := p.connect(world)
	if err != nil {
		return result{broken: err}
	}
	defer st.client.Close()
	defer st.server.Close()
	for i, step := range d.Steps {
		if step.Probe != nil {
			p.probe(world, *step.Probe, &res)
		} else if err := st.step(world, step); err != nil {
			res.hung = fmt.Errorf("step %d: %w", i, err)
		}
		if res.hung != nil || res.broken != nil {
			return res
		}
	}
	for _, side := range []dialogue.Side{dialogue.Client, dialogue.Server} {
		if st.ended[side] {
			continue
		}
		if err := st.end(side, dialogue.FIN); err != nil {
			res.hung = fmt.Errorf("at the end: %w", err)
			return res
		}
	}
	return res
}

// session is a control connection with both of its sides in hand.
type session struct {
	client, server *net.TCPConn
	limit          time.Duration
	ended          map[dialogue.Side]bool
}

func (p player) connect(world dialogue.World) (*session, error) {
	listener, err := p.lab.Listen(lab.Server, netip.AddrPortFrom(world.Server, 21))
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	client, err := p.lab.Dial(lab.Client, world.Client, netip.AddrPortFrom(world.Server, 21), p.limit)
	if err != nil {
		return nil, err
	}
	_ = listener.(*net.TCPListener).SetDeadline(time.Now().Add(p.limit))
	server, err := listener.Accept()
	if err != nil {
		client.Close()
		return nil, err
	}
	st := &session{
		client: client.(*net.TCPConn), server: server.(*net.TCPConn),
		limit: p.limit, ended: make(map[dialogue.Side]bool),
	}
	// Urgent bytes stay in their place, as programs that speak telnet ask for.
	if err := withFD(st.server, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
	}); err != nil {
		client.Close()
		server.Close()
		return nil, err
	}
	return st, nil
}

func (st *session) sides(from dialogue.Side) (here, there *net.TCPConn) {
	if from == dialogue.Client {
		return st.client, st.server
	}
	return st.server, st.client
}

// step lets a side speak. Each segment is one write, and the next waits until
// the other side has all of it.
func (st *session) step(world dialogue.World, step dialogue.Step) error {
	if step.End != dialogue.None {
		return st.end(step.From, step.End)
	}
	here, there := st.sides(step.From)
	for _, segment := range world.Segments(step) {
		deadline := time.Now().Add(st.limit)
		_ = here.SetWriteDeadline(deadline)
		_ = there.SetReadDeadline(deadline)
		sent := make(chan error, 1)
		go func() { sent <- write(here, segment, step.Urgent) }()
		got := make([]byte, len(segment))
		n, err := io.ReadFull(there, got)
		if err := errors.Join(<-sent, err); err != nil {
			return fmt.Errorf("%c sent %.60q, of %d bytes %d arrived: %w", step.From, segment, len(segment), n, err)
		}
		if !bytes.Equal(got, segment) {
			return fmt.Errorf("%c sent %.60q, and %.60q arrived", step.From, segment, got)
		}
	}
	return nil
}

func write(conn *net.TCPConn, segment []byte, urgent bool) error {
	if !urgent {
		_, err := conn.Write(segment)
		return err
	}
	return withFD(conn, func(fd int) error { return unix.Send(fd, segment, unix.MSG_OOB) })
}

func withFD(conn *net.TCPConn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	return errors.Join(raw.Control(func(fd uintptr) { inner = f(int(fd)) }), inner)
}

// end ends one half of the connection, or with RST both, and wants that the
// other side has read everything by then.
func (st *session) end(from dialogue.Side, how dialogue.End) error {
	here, there := st.sides(from)
	st.ended[from] = true
	want := io.EOF
	if how == dialogue.RST {
		st.ended[dialogue.Client], st.ended[dialogue.Server] = true, true
		want = syscall.ECONNRESET
		_ = here.SetLinger(0)
		if err := here.Close(); err != nil {
			return err
		}
	} else if err := here.CloseWrite(); err != nil {
		return err
	}
	_ = there.SetReadDeadline(time.Now().Add(st.limit))
	if n, err := there.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		return fmt.Errorf("%c ended, and the other side read %d bytes and %v", from, n, err)
	}
	return nil
}

// probe tries a data connection. A RST in answer is as good as a connection:
// the SYN was let through.
func (p player) probe(world dialogue.World, probe dialogue.Probe, res *result) {
	here, there := lab.Client, lab.Server
	if probe.Mode == dialogue.Active {
		here, there = there, here
	}
	from, to := world.Ends(probe)
	if probe.Open {
		if err := p.transfer(here, there, from, to); err != nil {
			res.shut = append(res.shut, fmt.Errorf("from %v to %v: %w", from, to, err))
		}
		return
	}
	time.Sleep(settle)
	conn, err := p.lab.Dial(here, from, to, refusal)
	var silence net.Error
	switch {
	case err == nil:
		conn.Close()
		fallthrough
	case errors.Is(err, syscall.ECONNREFUSED):
		res.opened = append(res.opened, fmt.Errorf("%v reached %v", from, to))
	case !errors.As(err, &silence) || !silence.Timeout():
		res.broken = err
	}
}

// transfer makes a data connection and moves bytes both ways.
func (p player) transfer(here, there lab.Where, from netip.Addr, to netip.AddrPort) error {
	listener, err := p.lab.Listen(there, to)
	if err != nil {
		return err
	}
	defer listener.Close()
	a, err := p.lab.Dial(here, from, to, p.limit)
	if err != nil {
		return err
	}
	defer a.Close()
	_ = listener.(*net.TCPListener).SetDeadline(time.Now().Add(p.limit))
	b, err := listener.Accept()
	if err != nil {
		return err
	}
	defer b.Close()
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		_ = way[0].SetDeadline(time.Now().Add(p.limit))
		_ = way[1].SetDeadline(time.Now().Add(p.limit))
		if _, err := io.WriteString(way[0], "data"); err != nil {
			return err
		}
		if err := way[0].(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		if got, err := io.ReadAll(way[1]); err != nil || string(got) != "data" {
			return fmt.Errorf("%q arrived: %w", got, err)
		}
	}
	return nil
}

// playAll plays all dialogues, so many at a time, and returns their results in
// order.
func (p player) playAll(worlds []dialogue.World, list []dialogue.Dialogue) []result {
	const atOnce = 32
	results := make([]result, len(list))
	turn := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i := range list {
		turn <- struct{}{}
		all.Go(func() {
			results[i] = p.play(worlds[i], list[i])
			<-turn
		})
	}
	all.Wait()
	return results
}

func worldsOf(list []dialogue.Dialogue) []dialogue.World {
	var worlds []dialogue.World
	for i, d := range list {
		worlds = append(worlds, worldOf(i, d.IPv6))
	}
	return worlds
}
