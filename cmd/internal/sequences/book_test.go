package sequences

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ftpinhole/conntrack"
)

// known is what is known of a session, which n tells from others.
func known(n int, facts conntrack.Facts) Entry {
	return Entry{
		Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), uint16(1024+n)),
		Server: netip.MustParseAddrPort("10.0.2.2:21"), Up: uint32(n) << 20, Down: 0xfffffff0, Facts: facts,
	}
}

// opened opens a book that is in order.
func opened(t *testing.T, path string) *Book {
	t.Helper()
	b, damaged, err := OpenBook(path)
	if err != nil || damaged != nil {
		t.Fatal(err, damaged)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// Law 6: the next daemon knows what was written last of each session that has
// not been dropped, without a clean end.
func TestLaw6BookSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions")
	b := opened(t, path)
	v6 := Entry{Client: netip.MustParseAddrPort("[fd00::2]:40000"), Server: netip.MustParseAddrPort("[fd00::3]:21"), Facts: conntrack.Blind}
	want := map[int]conntrack.Facts{}
	put := func(n int, f conntrack.Facts) {
		t.Helper()
		if err := b.Put(known(n, f)); err != nil {
			t.Fatal(err)
		}
		want[n] = f
	}
	for n := range 100 {
		put(n, 0)
	}
	for n := 0; n < 100; n += 3 {
		put(n, conntrack.NoFTP)
	}
	for n := 0; n < 100; n += 5 {
		if err := b.Drop(known(n, 0).Client, known(n, 0).Server); err != nil {
			t.Fatal(err)
		}
		delete(want, n)
	}
	for n := 100; n < 110; n++ { // in the places that are free
		put(n, conntrack.SpeaksFTP|conntrack.LoggedIn)
	}
	if err := errors.Join(b.Put(v6), b.Drop(v6.Server, v6.Client)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 102*slotSize || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v: more than was used at once, or others may read it", info, err)
	}

	next := opened(t, path)
	for n := range 110 {
		e := known(n, want[n])
		got, ok := next.Former(e.Client, e.Server)
		if _, written := want[n]; ok != written || ok && got != e {
			t.Errorf("of session %d it knows %v %v, want %v %v", n, got, ok, e, written)
		}
	}
	if got, ok := next.Former(v6.Client, v6.Server); !ok || got != v6 {
		t.Errorf("of IPv6 it knows %v, want %v", got, v6)
	}
}

// What a daemon has written itself is no former daemon's, and what conntrack does
// not hold any more is forgotten.
func TestBookForgets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions")
	b := opened(t, path)
	for n := range 4 {
		if err := b.Put(known(n, 0)); err != nil {
			t.Fatal(err)
		}
	}
	b = opened(t, path)
	if err := b.Put(known(0, conntrack.NoFTP)); err != nil {
		t.Fatal(err)
	}
	gone, err := b.Forget(func(client, _ netip.AddrPort) bool { return client == known(1, 0).Client })
	if err != nil || len(gone) != 2 {
		t.Errorf("forgot %v, %v; want two sessions", gone, err)
	}
	if _, ok := b.Former(known(0, 0).Client, known(0, 0).Server); ok {
		t.Error("what was written since counts as a former daemon's")
	}
	b = opened(t, path)
	for n, want := range []bool{true, true, false, false} {
		if _, ok := b.Former(known(n, 0).Client, known(n, 0).Server); ok != want {
			t.Errorf("session %d is kept: %v, want %v", n, ok, want)
		}
	}
}

// Law 8: a book has an end. Sessions that are in it are not hurt.
func TestLaw8BookFull(t *testing.T) {
	b := opened(t, filepath.Join(t.TempDir(), "sessions"))
	b.end = maxSlots - 1
	if err := b.Put(known(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(known(2, 0)); !errors.Is(err, ErrBookFull) {
		t.Errorf("got %v, want that it is full", err)
	}
	if err := errors.Join(b.Put(known(1, conntrack.NoFTP)), b.Drop(known(1, 0).Client, known(1, 0).Server), b.Put(known(2, 0))); err != nil {
		t.Error(err)
	}
}

// A file that is no book costs what is known, and not the start. What is no
// regular file is not touched.
func TestBrokenBook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions")
	whole := opened(t, path)
	for n := range 3 {
		if err := whole.Put(known(n, conntrack.NoFTP)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(at int, b byte) []byte {
		c := bytes.Clone(text)
		c[at] ^= b
		return c
	}
	for name, c := range map[string]struct {
		text    []byte
		damaged bool
		left    int
	}{
		"as it was":         {text, false, 3},
		"empty":             {nil, false, 0},
		"text":              {[]byte("hello\n"), true, 0},
		"another version":   {changed(len(bookHead)-2, 3), true, 0},
		"a flipped bit":     {changed(slotSize+20, 1), true, 2},
		"a fact more":       {changed(2*slotSize+1, 2), true, 2},
		"half a slot":       {text[:len(text)-slotSize/2], false, 2},
		"a slot twice":      {append(bytes.Clone(text), text[slotSize:2*slotSize]...), true, 3},
		"a head alone":      {text[:slotSize], false, 0},
		"noise behind it":   {append(bytes.Clone(text), bytes.Repeat([]byte{0xff}, 10*slotSize)...), true, 3},
		"longer than it is": {append(bytes.Clone(text), make([]byte, 20<<20)...), false, 3},
	} {
		if err := os.WriteFile(path, c.text, 0o600); err != nil {
			t.Fatal(err)
		}
		b, damaged, err := OpenBook(path)
		if err != nil || (damaged != nil) != c.damaged {
			t.Errorf("%s: %v, %v", name, damaged, err)
			continue
		}
		if len(b.former) != c.left {
			t.Errorf("%s: %d sessions are left, want %d", name, len(b.former), c.left)
		}
		if err := errors.Join(b.Put(known(9, 0)), b.Close()); err != nil {
			t.Errorf("%s: it cannot be written: %v", name, err)
		}
		if got, ok := opened(t, path).Former(known(9, 0).Client, known(9, 0).Server); !ok || got != known(9, 0) {
			t.Errorf("%s: what was written then is lost", name)
		}
	}

	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := errors.Join(os.WriteFile(elsewhere, []byte("precious"), 0o600), os.Remove(path), os.Symlink(elsewhere, path)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenBook(path); err == nil {
		t.Error("a link is followed")
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenBook(path); err == nil {
		t.Error("a directory is opened")
	}
	if got, err := os.ReadFile(elsewhere); err != nil || string(got) != "precious" {
		t.Errorf("%q, %v", got, err)
	}
}

// Whatever a file holds, it is read without a panic, and what is written into it
// is there afterwards.
func FuzzBook(f *testing.F) {
	f.Add([]byte(bookHead))
	head := make([]byte, slotSize)
	copy(head, bookHead)
	f.Add(append(head, slot(known(1, 0))...))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "sessions")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		b, _, err := OpenBook(path)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for _, e := range b.former {
			if !e.Sound() {
				t.Errorf("%v is no session", e)
			}
		}
		if err := b.Put(known(7, conntrack.NoFTP)); err != nil {
			t.Fatal(err)
		}
		next, _, err := OpenBook(path)
		if err != nil {
			t.Fatal(err)
		}
		defer next.Close()
		if diff := cmp.Diff(fmt.Sprint(known(7, conntrack.NoFTP), true), fmt.Sprint(next.Former(known(7, 0).Client, known(7, 0).Server))); diff != "" {
			t.Error(diff)
		}
	})
}
