package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"ftpinhole/cmd/internal/audit"
	"ftpinhole/conntrack"
)

const (
	// watchPatience is how long a watcher waits for a sign of life.
	watchPatience = 3 * beatEvery
	// maxEvent bounds a line; the longest record has less than 9 kB.
	maxEvent = 64 << 10
)

// ErrStopped is wrapped by the error of a stream whose daemon has ended.
var ErrStopped = fmt.Errorf("the daemon has stopped: %w", ErrNoDaemon)

// Event is one line of the stream: a record, or a gap.
type Event struct {
	// Line is the record as in the audit file, without its line feed.
	Line []byte
	// Skipped, if not 0, is how many records are missing here; Line is that
	// of the stream then.
	Skipped uint64
}

// Record is the line as a record.
func (e Event) Record() (conntrack.Record, error) { return audit.Parse(e.Line) }

// Events is a stream of audit records, as they happen.
type Events struct {
	ctx    context.Context
	cancel context.CancelFunc
	body   io.Closer
	lines  *bufio.Reader
}

// Events begins to watch. The stream ends with the context, or with Close.
func (c *Client) Events(ctx context.Context) (*Events, error) {
	ctx, cancel := context.WithCancel(ctx)
	// No limit for the whole, but for the silence within.
	forStream := &http.Client{CheckRedirect: stay, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := c.dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return patient{conn, c.patience}, nil
		},
	}}
	resp, err := c.ask(ctx, forStream, http.MethodGet, "/v1/events")
	if err != nil {
		cancel()
		return nil, err
	}
	return &Events{ctx, cancel, resp.Body, bufio.NewReaderSize(resp.Body, maxEvent)}, nil
}

// Close ends the stream.
func (e *Events) Close() error {
	e.cancel()
	return e.body.Close()
}

// Next waits for the next event. The error is the context's if that is done,
// and wraps ErrStopped if the daemon has ended. The event is valid until the
// next call.
func (e *Events) Next() (Event, error) {
	for {
		line, err := e.lines.ReadSlice('\n')
		if err != nil {
			return Event{}, e.failed(err)
		}
		line = bytes.TrimSuffix(line, []byte{'\n'})
		var gap struct {
			Skipped *uint64 `json:"skipped"`
		}
		if err := json.Unmarshal(line, &gap); err != nil {
			return Event{}, fmt.Errorf("the daemon's event: %w; is it of the same version?", err)
		}
		switch {
		case gap.Skipped == nil:
			return Event{Line: line}, nil
		case *gap.Skipped > 0:
			return Event{Line: line, Skipped: *gap.Skipped}, nil
		}
	}
}

func (e *Events) failed(err error) error {
	switch {
	case e.ctx.Err() != nil:
		return e.ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the daemon has gone silent; look at its log, or restart it")
	case errors.Is(err, bufio.ErrBufferFull):
		return errors.New("the daemon's event is too long; is it of the same version?")
	}
	return ErrStopped
}

// patient is a connection on which something comes now and then.
type patient struct {
	net.Conn
	patience time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(p.patience)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}
