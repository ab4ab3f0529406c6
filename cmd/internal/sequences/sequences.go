package sequences

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"ftpinhole/conntrack"
)

const (
	suffix = ".json"
	// unfinished is behind the name of a file that is being written.
	unfinished = ".new"
	// maxSize bounds a file that is read: far more than the tracker keeps of a
	// session.
	maxSize = 1 << 20
)

// Dir is a directory of kept sessions. Its methods may be called by one
// goroutine at a time.
type Dir struct{ path string }

// Open makes the directory if it is not there, for the daemon's eyes only: it
// holds pieces of control lines.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("the directory for rewritten sessions: %w; let the daemon write to %s", err, filepath.Dir(path))
	}
	return &Dir{path: path}, nil
}

// Save keeps k in place of what was kept for its session. When it returns, a
// daemon that is killed does not lose it.
func (d *Dir) Save(k *conntrack.Kept) error {
	text, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("keep a rewritten session: %w", err)
	}
	name := d.name(k.Client, k.Server)
	// A file that is only half there must never have the name.
	if err := os.WriteFile(name+unfinished, text, 0o600); err != nil {
		return fmt.Errorf("keep a rewritten session: %w", err)
	}
	if err := os.Rename(name+unfinished, name); err != nil {
		return fmt.Errorf("keep a rewritten session: %w", err)
	}
	return nil
}

// Remove forgets a session. It is no error if nothing was kept.
func (d *Dir) Remove(client, server netip.AddrPort) error {
	if err := os.Remove(d.name(client, server)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget a rewritten session: %w", err)
	}
	return nil
}

// Load returns what is kept. A file that does not hold a session is removed,
// and one of the errors that are joined.
func (d *Dir) Load() ([]*conntrack.Kept, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("rewritten sessions: %w", err)
	}
	var all []*conntrack.Kept
	var errs []error
	for _, e := range entries {
		path := filepath.Join(d.path, e.Name())
		if strings.HasSuffix(path, suffix+unfinished) {
			// The daemon died in Save: no packet has left that needs this, and what
			// was kept before stands.
			errs = append(errs, os.Remove(path))
			continue
		}
		k, err := load(path)
		if err == nil && path != d.name(k.Client, k.Server) {
			err = errors.New("it holds another session than its name says")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w; the file is removed", path, err), os.Remove(path))
			continue
		}
		all = append(all, k)
	}
	return all, errors.Join(errs...)
}

func load(path string) (*conntrack.Kept, error) {
	if !strings.HasSuffix(path, suffix) {
		return nil, errors.New("a session was not written to its end")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSize {
		return nil, errors.New("too long for a session")
	}
	var k conntrack.Kept
	if err := json.Unmarshal(text, &k); err != nil {
		return nil, err
	}
	if !k.Client.IsValid() || !k.Server.IsValid() || !k.Translation.Client.IsValid() || !k.Translation.Server.IsValid() {
		return nil, errors.New("an address is missing")
	}
	return &k, nil
}

// name is the file of a session; an address is a file name as it is.
func (d *Dir) name(client, server netip.AddrPort) string {
	return filepath.Join(d.path, client.String()+"-"+server.String()+suffix)
}
