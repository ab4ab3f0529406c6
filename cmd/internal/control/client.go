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
	"strconv"
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
	path string
	http *http.Client
}

// Dial finds out whether a daemon answers on the socket: ErrNoDaemon if not,
// ErrNotPermitted if the caller may not open it.
func Dial(path string) (*Client, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	c := &Client{path: path}
	probe, err := c.dial(context.Background(), "", "")
	if err != nil {
		return nil, err
	}
	probe.Close()
	c.http = &http.Client{
		Timeout:   clientWait,
		Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: true},
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

func (c *Client) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ftpinhole"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("asking the daemon: %w; look at its log", err)
	}
	defer resp.Body.Close()
	body := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode != http.StatusOK {
		return refusal(resp.StatusCode, body)
	}
	if err := body.Decode(into); err != nil {
		return fmt.Errorf("the daemon's answer: %w; is it of the same version?", err)
	}
	return nil
}

// refusal is the error that the daemon answered with.
func refusal(code int, body *json.Decoder) error {
	var f failure
	if err := body.Decode(&f); err != nil || f.Error == "" {
		return fmt.Errorf("the daemon answered %d %s; is it of the same version?", code, http.StatusText(code))
	}
	if code == http.StatusForbidden {
		return fmt.Errorf("%w: %s", ErrNotPermitted, f.Error)
	}
	return errors.New(f.Error)
}
