package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// operator closes what it has, and refuses to reload if there is a reason.
type operator struct {
	open   map[string]bool
	reason error
}

func (o *operator) ClosePinhole(_ context.Context, id string) error {
	if !o.open[id] {
		return fmt.Errorf("%w: %q", ErrNoPinhole, id)
	}
	delete(o.open, id)
	return nil
}

func (o *operator) FlushPinholes(context.Context) (int, error) {
	n := len(o.open)
	clear(o.open)
	return n, nil
}

func (o *operator) Reload(context.Context) error { return o.reason }

// operated serves o and connects to it.
func operated(t *testing.T, with ...Option) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	s, err := Listen(path, &daemon{}, quiet, with...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOperator(t *testing.T) {
	o := &operator{open: map[string]bool{"7b-1": true, "7c-1": true, "7d-1": true}}
	c := operated(t, WithOperator(o))
	if err := c.ClosePinhole(t.Context(), "7b-1"); err != nil || o.open["7b-1"] {
		t.Errorf("close: %v", err)
	}
	// No id makes a path of its own: "x/.." would be the flush's.
	for _, id := range []string{"7b-1", "", ".", "..", "x/..", "7c-1/..", "7c-1?", "7c-1%2f..", "\x1b[2J", "Ü", strings.Repeat("1", 65)} {
		if err := c.ClosePinhole(t.Context(), id); !errors.Is(err, ErrNoPinhole) {
			t.Errorf("close %q: %v", id, err)
		} else if strings.ContainsRune(err.Error(), 0x1b) {
			t.Errorf("close %q: its error drives the terminal: %q", id, err)
		}
	}
	if n, err := c.FlushPinholes(t.Context()); n != 2 || err != nil || len(o.open) != 0 {
		t.Errorf("flush: %d closed, %v; %v are left", n, err, o.open)
	}
	if err := c.Reload(t.Context()); err != nil {
		t.Errorf("reload: %v", err)
	}
}

func TestReloadRefused(t *testing.T) {
	c := operated(t, WithOperator(&operator{reason: fmt.Errorf("%w:\nf.toml:2: unknown key \"\x1b[2J\"", ErrBadConfig)}))
	err := c.Reload(t.Context())
	if !errors.Is(err, ErrBadConfig) || !strings.Contains(err.Error(), "refused:\nf.toml:2") || strings.ContainsRune(err.Error(), 0x1b) {
		t.Errorf("a bad configuration: %q", err)
	}
	for why, want := range map[error]string{errors.New("the disk is gone"): "the disk is gone", context.DeadlineExceeded: "not done in 8s"} {
		c = operated(t, WithOperator(&operator{reason: why}))
		if err := c.Reload(t.Context()); err == nil || errors.Is(err, ErrBadConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", why, err)
		}
	}
}

func TestNoOperator(t *testing.T) {
	c := operated(t)
	if err := c.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be operated") {
		t.Errorf("reload: %v", err)
	}
}

// Others may read, and nothing else.
func TestReadersMayNotOperate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	o := &operator{open: map[string]bool{"7b-1": true}}
	c := operated(t, WithOperator(o), WithFeed(&Feed{}))
	for dir := filepath.Dir(c.path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(c.path, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"DELETE /v1/pinholes/7b-1", "DELETE /v1/pinholes", "POST /v1/reload"} {
		var got string
		err := as(65534, func() (err error) { got, err = request(c.path, line); return err })
		if err != nil || !strings.HasPrefix(got, "HTTP/1.1 403") {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
	if !o.open["7b-1"] {
		t.Error("a reader has closed a pinhole")
	}
}
