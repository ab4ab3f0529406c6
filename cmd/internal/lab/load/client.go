package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options are what clients do.
type Options struct {
	Server  netip.AddrPort
	Mode    string // PASV, EPSV, PORT or EPRT
	Clients int    // at once
	For     time.Duration
	// Session is how many transfers a session has, Size how many bytes a transfer.
	Session, Size int
	// Waste is of how many transfers one is asked a port for that nobody connects to,
	// before its own; 0: of none.
	Waste int
}

// Note is what a client knows of one transfer.
type Note struct {
	Client  netip.AddrPort `json:"client"` // of the control connection
	Src     netip.AddrPort `json:"src"`    // of the data connection, as the client sees it
	Dst     netip.AddrPort `json:"dst"`
	Begin   time.Time      `json:"begin"`
	End     time.Time      `json:"end"`
	Failure string         `json:"failure,omitempty"`
}

// Result is what they did.
type Result struct {
	Seconds   float64         `json:"seconds"`
	Transfers int             `json:"transfers"`
	Failures  int             `json:"failures"`
	Failure   string          `json:"failure,omitempty"` // the first one
	NOOP      []time.Duration `json:"noop"`              // how long each was
	Data      []time.Duration `json:"data"`              // from the request for a port to the first byte
	Notes     []Note          `json:"notes"`
}

// Quantile is the least of some times that so large a part of them does not exceed.
func Quantile(times []time.Duration, part float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[min(len(sorted)-1, int(part*float64(len(sorted))))]
}

// Run lets the clients work, each in a loop of its own, for their time.
func Run(ctx context.Context, o Options) Result {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, o.For)
	defer cancel()
	results := make([]Result, o.Clients)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			c := &client{Options: o, result: &results[i]}
			defer c.close()
			for ctx.Err() == nil {
				c.session(ctx)
			}
		})
	}
	all.Wait()
	sum := Result{Seconds: time.Since(begun).Seconds()}
	for _, r := range results {
		sum.add(&r)
	}
	return sum
}

func (r *Result) add(more *Result) {
	r.Transfers += more.Transfers
	r.Failures += more.Failures
	if r.Failure == "" {
		r.Failure = more.Failure
	}
	r.NOOP, r.Data, r.Notes = append(r.NOOP, more.NOOP...), append(r.Data, more.Data...), append(r.Notes, more.Notes...)
}

// client has one session after the other. Its port for active mode is always the
// same.
type client struct {
	Options
	result *Result
	listen *net.TCPListener

	conn  net.Conn
	lines *bufio.Reader
}

func (c *client) close() {
	if c.listen != nil {
		c.listen.Close()
	}
}

func (c *client) fail(err error) {
	c.result.Failures++
	if c.result.Failure == "" {
		c.result.Failure = err.Error()
	}
}

// session logs in and transfers until it has enough, or time is up.
func (c *client) session(ctx context.Context) {
	var err error
	if c.conn, err = net.DialTimeout("tcp", c.Server.String(), patience); err != nil {
		c.fail(err)
		return
	}
	defer c.conn.Close()
	c.lines = bufio.NewReader(c.conn)
	if err := c.login(); err != nil {
		c.fail(err)
		return
	}
	for range c.Session {
		if ctx.Err() != nil {
			break
		}
		if err := c.once(); err != nil {
			c.fail(err)
			return
		}
	}
	_, _ = c.ask("QUIT", "221") // all is done by then
}

func (c *client) login() error {
	if _, err := c.answer("220"); err != nil {
		return err
	}
	if _, err := c.ask("USER load", "331"); err != nil {
		return err
	}
	_, err := c.ask("PASS load", "230")
	return err
}

// answer reads one, which must begin with a code.
func (c *client) answer(code string) (string, error) {
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	line, err := c.lines.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("wait for %s: %w", code, err)
	}
	if !strings.HasPrefix(line, code) {
		return "", fmt.Errorf("want %s, got %q", code, line)
	}
	return line, nil
}

func (c *client) ask(command, code string) (string, error) {
	if _, err := io.WriteString(c.conn, command+"\r\n"); err != nil {
		return "", err
	}
	return c.answer(code)
}

// once is a NOOP and a transfer.
func (c *client) once() error {
	begun := time.Now()
	if _, err := c.ask("NOOP", "200"); err != nil {
		return err
	}
	c.result.NOOP = append(c.result.NOOP, time.Since(begun))

	note := Note{Client: endpoint(c.conn.LocalAddr()), Begin: time.Now()}
	err := c.transfer(&note)
	note.End = time.Now()
	if err != nil {
		err = fmt.Errorf("%s: %w", c.Mode, err)
		note.Failure = err.Error()
	} else {
		c.result.Transfers++
	}
	c.result.Notes = append(c.result.Notes, note)
	return err
}

func endpoint(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func (c *client) transfer(note *Note) error {
	name, open := c.enter, c.passive
	if c.Mode == "PORT" || c.Mode == "EPRT" {
		name, open = c.announce, c.active
	}
	if c.Waste > 0 && len(c.result.Notes)%c.Waste == 0 {
		if err := name(note); err != nil {
			return err
		}
	}
	if err := name(note); err != nil {
		return err
	}
	data, err := open(note)
	if err != nil {
		return err
	}
	defer data.Close()

	_ = data.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, 32<<10)
	n, err := data.Read(buf)
	c.result.Data = append(c.result.Data, time.Since(note.Begin))
	for total := n; ; total += n {
		if errors.Is(err, io.EOF) && total == c.Size {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", total, c.Size, err)
		}
		n, err = data.Read(buf)
	}
	_, err = c.answer("226")
	return err
}

// enter asks for a port.
func (c *client) enter(note *Note) error {
	code := map[string]string{"PASV": "227", "EPSV": "229"}[c.Mode]
	line, err := c.ask(c.Mode, code)
	if err != nil {
		return err
	}
	note.Dst, err = entered(c.Mode, line, endpoint(c.conn.RemoteAddr()).Addr())
	return err
}

// passive connects to it.
func (c *client) passive(note *Note) (net.Conn, error) {
	data, err := net.DialTimeout("tcp", note.Dst.String(), connecting)
	if err != nil {
		return nil, err
	}
	note.Src = endpoint(data.LocalAddr())
	if _, err := c.ask(fmt.Sprintf("RETR %d", c.Size), "150"); err != nil {
		data.Close()
		return nil, err
	}
	return data, nil
}

// entered is the endpoint that a 227 or 229 names.
func entered(mode, line string, server netip.Addr) (netip.AddrPort, error) {
	_, text, _ := strings.Cut(line, "(")
	text, _, _ = strings.Cut(text, ")")
	if mode == "PASV" {
		return parseHostPort(text)
	}
	return netip.ParseAddrPort(net.JoinHostPort(server.String(), strings.Trim(text, "|")))
}

// announce names the client's port.
func (c *client) announce(note *Note) (err error) {
	if c.listen == nil {
		if c.listen, err = listen(note.Client.Addr()); err != nil {
			return err
		}
	}
	note.Dst = endpoint(c.listen.Addr())
	command := "PORT " + hostPort(note.Dst)
	if c.Mode == "EPRT" {
		family := 1
		if note.Dst.Addr().Is6() {
			family = 2
		}
		command = fmt.Sprintf("EPRT |%d|%s|%d|", family, note.Dst.Addr(), note.Dst.Port())
	}
	_, err = c.ask(command, "200")
	return err
}

// active waits for the server there.
func (c *client) active(note *Note) (net.Conn, error) {
	if _, err := c.ask(fmt.Sprintf("RETR %d", c.Size), "150"); err != nil {
		return nil, err
	}
	_ = c.listen.SetDeadline(time.Now().Add(patience))
	data, err := c.listen.Accept()
	if err != nil {
		return nil, err
	}
	note.Src = endpoint(data.RemoteAddr())
	return data, nil
}
