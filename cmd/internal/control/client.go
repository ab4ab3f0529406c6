package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Errors of the client, to be told apart with errors.Is.
var (
	ErrNoDaemon     = errors.New("no daemon answers")
	ErrNotPermitted = errors.New("not permitted")
)

// Bounds of the client: of the time for one request, and of an answer's size
// (65,536 sessions have about 20 MB).
const (
	clientWait = 15 * time.Second
	maxAnswer  = 64 << 20
)

// Client asks a running daemon.
type Client struct {
	path     string
	http     *http.Client
	patience time.Duration // with a stream of events
}

// Dial finds out whether a daemon answers on the socket: ErrNoDaemon if not,
// ErrNotPermitted if the caller may not open it.
func Dial(path string) (*Client, error) {
	if err := place(path).Check(); err != nil {
		return nil, err
	}
	c := &Client{path: path, patience: watchPatience}
	probe, err := c.dial(context.Background(), "", "")
	if err != nil {
		return nil, err
	}
	probe.Close()
	c.http = &http.Client{
		Timeout:       clientWait,
		Transport:     &http.Transport{DialContext: c.dial, DisableKeepAlives: true},
		CheckRedirect: stay,
	}
	return c, nil
}

func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	d := net.Dialer{Timeout: 3 * time.Second}
	conn, err := d.DialContext(ctx, "unix", c.path)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w on %s; start it with: ftpinhole run, or name its socket with --socket", ErrNoDaemon, c.path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w to open %s; use sudo, or join the socket's group", ErrNotPermitted, c.path)
	}
	return nil, fmt.Errorf("control socket: %w; look at the daemon's log", err)
}

// Status asks how the daemon is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.get(ctx, "/v1/status", &s)
	return s, err
}

// Pinholes asks for the open pinholes, at most n of them (1 to MaxListed).
func (c *Client) Pinholes(ctx context.Context, n int) (PinholeList, error) {
	var l PinholeList
	err := c.get(ctx, "/v1/pinholes?limit="+strconv.Itoa(n), &l)
	return l, err
}

// Sessions asks for the control sessions, at most n of them (1 to MaxListed).
func (c *Client) Sessions(ctx context.Context, n int) (SessionList, error) {
	var l SessionList
	err := c.get(ctx, "/v1/sessions?limit="+strconv.Itoa(n), &l)
	return l, err
}

// ClosePinhole closes one pinhole. It fails with ErrNoPinhole if none with the
// id is open.
func (c *Client) ClosePinhole(ctx context.Context, id string) error {
	// Nothing but an id may become part of the path: "x/.." would be a flush.
	if !isID(id) {
		return fmt.Errorf("%w as %q; see: ftpinhole list", ErrNoPinhole, id)
	}
	return c.do(ctx, http.MethodDelete, "/v1/pinholes/"+id, &struct{}{})
}

// isID says whether the text can be a pinhole's id.
func isID(id string) bool {
	for i := range len(id) {
		if c := id[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return id != "" && len(id) <= 64
}

// FlushPinholes closes all pinholes whose connection is not established, and
// says how many they were.
func (c *Client) FlushPinholes(ctx context.Context) (n int, err error) {
	var f Flushed
	err = c.do(ctx, http.MethodDelete, "/v1/pinholes", &f)
	return f.Closed, err
}

// Reload puts the daemon's configuration file into effect. It fails with
// ErrBadConfig if that is wrong; then nothing has changed.
func (c *Client) Reload(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/v1/reload", &struct{}{})
}

// stay keeps the client from asking for anything but what it was told to.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (c *Client) get(ctx context.Context, path string, into any) error {
	return c.do(ctx, http.MethodGet, path, into)
}

func (c *Client) do(ctx context.Context, method, path string, into any) error {
	resp, err := c.ask(ctx, c.http, method, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("the daemon's answer: %w; is it of the same version?", err)
	}
	return nil
}

// ask sends a request. The answer is no refusal; its body is to be closed.
func (c *Client) ask(ctx context.Context, by *http.Client, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://ftpinhole"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := by.Do(req)
	if err != nil {
		var around *url.Error // it names a URL that nobody has typed
		if errors.As(err, &around) {
			err = around.Err
		}
		if errors.Is(err, ErrNoDaemon) || errors.Is(err, ErrNotPermitted) {
			return nil, err
		}
		return nil, fmt.Errorf("asking the daemon: %w; look at its log", err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, refusal(resp.StatusCode, json.NewDecoder(io.LimitReader(resp.Body, maxBody)))
	}
	return resp, nil
}

// refusal is the error that the daemon answered with. Its text may quote what
// others wrote, so only its line feeds are left of what a terminal acts on.
func refusal(code int, body *json.Decoder) error {
	var f failure
	if err := body.Decode(&f); err != nil || f.Error == "" {
		return fmt.Errorf("the daemon answered %d %s; is it of the same version?", code, http.StatusText(code))
	}
	text := strings.Map(func(r rune) rune {
		if r == '\n' || strconv.IsPrint(r) {
			return r
		}
		return '\ufffd'
	}, f.Error)
	switch code {
	case http.StatusForbidden:
		return fmt.Errorf("%w: %s", ErrNotPermitted, text)
	case http.StatusNotFound:
		return refused{text, ErrNoPinhole}
	case http.StatusUnprocessableEntity:
		return refused{text, ErrBadConfig}
	}
	return errors.New(text)
}

// refused is an error of the daemon's, in its words.
type refused struct {
	text string
	is   error
}

func (r refused) Error() string { return r.text }
func (r refused) Unwrap() error { return r.is }
