package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ftpinhole/cmd/internal/patience"
	"ftpinhole/conntrack"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// lines are the ids in a file, each line of which must be whole.
func lines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return ids(t, b)
}

func ids(t *testing.T, b []byte) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(string(b)) {
		var got struct{ Pinhole struct{ ID string } }
		if err := json.Unmarshal([]byte(line), &got); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("not a whole line: %q", line)
		}
		out = append(out, got.Pinhole.ID)
	}
	return out
}

func write(l *Log, id string) {
	r := opened()
	r.Pinhole.ID = id
	l.Write(r)
}

func TestOpenMakesFileAndDirectory(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "new", "audit.json")
	l, err := Open(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	write(l, "a")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{path: 0o640, filepath.Dir(path): 0o750} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v (%v)", name, st.Mode(), want, err)
		}
	}
}

func TestOpenErrorSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "f", "audit.json")} {
		if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path, quiet)
		if err == nil || !strings.Contains(err.Error(), "; ") || !strings.Contains(err.Error(), "--audit-log") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Law 7: a record is in the file at once when nothing else is to do, and
// Close writes what is left.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.json")
	l, err := Open(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	write(l, "first")
	patience.Until(t, "the record is in the file", func() bool { return len(lines(t, path)) == 1 })
	const n = 20000
	for i := range n {
		write(l, fmt.Sprint(i))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := lines(t, path)
	if len(got) != n+1 || got[1] != "0" || got[n] != fmt.Sprint(n-1) || l.Lost() != 0 {
		t.Errorf("%d lines, %d lost", len(got), l.Lost())
	}
	write(l, "late")
	if l.Lost() != 1 {
		t.Error("a record after Close is not counted as lost")
	}
	if err := l.Reopen(); !errors.Is(err, ErrClosed) {
		t.Errorf("Reopen after Close: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// A kill -9 or a full disk can leave half a line. Of a record nothing stays;
// what is none of ours is left, and ended.
func TestHalfLine(t *testing.T) {
	tests := []struct{ name, before, want string }{
		{"half a record", "{\"a\":1}\n{\"time", "{\"a\":1}\n"},
		{"nothing else", "{\"timestamp\":\"20", ""},
		{"half of another line", "{\"a\":1}\nroot:x:0", "{\"a\":1}\nroot:x:0\n"},
		{"a long line without end", strings.Repeat("x", 2*longestLine), strings.Repeat("x", 2*longestLine) + "\n"},
		{"a whole line", "{\"a\":1}\n", "{\"a\":1}\n"},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.json")
			if err := os.WriteFile(path, []byte(tt.before), 0o640); err != nil {
				t.Fatal(err)
			}
			l, err := Open(path, quiet)
			if err != nil {
				t.Fatal(err)
			}
			write(l, "next")
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			got, _ := os.ReadFile(path)
			rest, ok := strings.CutPrefix(string(got), tt.want)
			if !ok || len(ids(t, []byte(rest))) != 1 {
				t.Errorf("file is now %q", got)
			}
		})
	}
}

// Wherever a record is cut, it is removed at the next start, before anything is
// written; and what came before it stays.
func TestCutRecord(t *testing.T) {
	r := opened()
	r.User, r.Path = strings.Repeat("\x1b", 256), strings.Repeat("\xff\x00", 512)
	line := Append(nil, &r)
	path := filepath.Join(t.TempDir(), "audit.json")
	for n := 0; n < len(line); n += 1 + n/50 { // all of the first, then fewer
		if err := os.WriteFile(path, append(bytes.Clone(line), line[:n]...), 0o640); err != nil {
			t.Fatal(err)
		}
		l, err := Open(path, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, line) {
			t.Fatalf("cut after %d bytes: %q, %v", n, got, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "audit.json"), filepath.Join(dir, "audit.json.1")
	l, err := Open(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	write(l, "before")
	patience.Until(t, "written", func() bool { return len(lines(t, path)) == 1 })
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	write(l, "between")
	patience.Until(t, "written to the old file", func() bool { return len(lines(t, old)) == 2 })
	for range 3 { // an impatient logrotate
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	write(l, "after")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if o, n := lines(t, old), lines(t, path); len(o) != 2 || len(n) != 1 || n[0] != "after" {
		t.Errorf("old %v, new %v", o, n)
	}
}

func TestReopenFailureKeepsTheOldFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	path := filepath.Join(dir, "audit.json")
	l, err := Open(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	moved := dir + ".moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Error("reopened where no file can be")
	}
	write(l, "a")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, filepath.Join(moved, "audit.json")); len(got) != 1 {
		t.Errorf("the old file has %v", got)
	}
}

// disk is a sink that takes as many bytes as it has room, and tells which
// writers are in it at once.
type disk struct {
	mu   sync.Mutex
	room int
	buf  bytes.Buffer
	err  error
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(p), d.room)
	d.room -= n
	d.buf.Write(p[:n])
	if n < len(p) {
		return n, d.err
	}
	return n, nil
}

func (d *disk) Close() error { return nil }

func (d *disk) add(room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room += room
}

func (d *disk) bytes() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Clone(d.buf.Bytes())
}

// A full disk costs nothing but time, as long as the queue holds.
func TestFullDiskRecovers(t *testing.T) {
	for _, err := range []error{syscall.ENOSPC, nil} { // nil: short without a word
		synctest.Test(t, func(t *testing.T) { fullDiskRecovers(t, err) })
	}
}

func fullDiskRecovers(t *testing.T, full error) {
	d := &disk{room: 1000, err: full}
	var logged bytes.Buffer
	l := newLog(d, queuedOthers, queuedRefusals, slog.New(slog.NewTextHandler(&syncWriter{w: &logged}, nil)))
	for i := range 1000 {
		write(l, fmt.Sprint(i))
	}

	// One attempt a second.
	for attempts := range 3 {
		synctest.Wait()
		if f := l.Failures(); f != uint64(attempts+1) {
			t.Errorf("%d attempts after %d s", f, attempts)
		}
		time.Sleep(time.Second)
	}
	want := full
	if want == nil {
		want = io.ErrShortWrite
	}
	if !errors.Is(l.Err(), want) {
		t.Errorf("Err is %v, want %v", l.Err(), want)
	}
	written := len(bytes.SplitAfter(d.bytes(), []byte("\n"))) - 1
	if l.Written() != uint64(written) || l.Buffered() != 1000-written {
		t.Errorf("%d of 1000 are in the file, and it says %d written, %d buffered", written, l.Written(), l.Buffered())
	}

	d.add(1 << 30)
	time.Sleep(time.Second)
	synctest.Wait()
	if err := errors.Join(l.Err(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(logged.String(), "cannot be written"); n != 1 || !strings.Contains(logged.String(), "can be written again") {
		t.Errorf("said %d times that it cannot be written: %s", n, logged.String())
	}
	if got := ids(t, d.bytes()); len(got) != 1000 || got[999] != "999" || l.Lost() != 0 || l.Written() != 1000 || l.Buffered() != 0 {
		t.Errorf("%d records; it says %d written, %d buffered, %d lost", len(got), l.Written(), l.Buffered(), l.Lost())
	}
}

// When the queue is full too, records are lost, and every one is counted.
func TestFullQueueDropsAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		d := &disk{err: syscall.ENOSPC}
		l := newLog(d, 8, 4, slog.New(slog.NewTextHandler(&syncWriter{w: &logged}, nil)))
		write(l, "x")
		synctest.Wait() // it is tried in vain

		const n = 5000
		begun := time.Now()
		for i := range n {
			write(l, fmt.Sprint(i))
		}
		if d := time.Since(begun); d > 0 {
			t.Errorf("Write of %d records waited for %v", n, d)
		}
		lost := l.Lost()
		if lost != n-8 {
			t.Errorf("%d lost, want %d", lost, n-8)
		}

		d.add(1 << 30)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got := len(ids(t, d.bytes())); uint64(got)+lost != n+1 {
			t.Errorf("%d written and %d lost of %d", got, lost, n+1)
		}
		if c := strings.Count(logged.String(), "audit records lost"); c != 1 {
			t.Errorf("%d complaints for %d records at once", c, n)
		}
	})
}

// A flood of refusals takes no room from other records, whose order with them
// stays; and the log says that it is behind when it is.
func TestRefusalsPushOutNothing(t *testing.T) {
	d := &disk{err: syscall.ENOSPC}
	l := newLog(d, 8, 4, quiet)
	write(l, "0")
	patience.Until(t, "an error", func() bool { return l.Failures() > 0 })
	refusal := opened()
	refusal.Action, refusal.Pinhole.ID = conntrack.Deny, "no"
	for range 1000 {
		l.Write(refusal)
	}
	if l.Lost() != 1000-4 {
		t.Errorf("%d refusals are lost of 1000, want all but 4", l.Lost())
	}
	for i := range 8 {
		write(l, fmt.Sprint(i+1))
	}
	if l.Lost() != 1000-4 {
		t.Errorf("%d other records are lost", l.Lost()-(1000-4))
	}
	d.add(1 << 30)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"0", "no", "no", "no", "no", "1", "2", "3", "4", "5", "6", "7", "8"}
	if got := ids(t, d.bytes()); !slices.Equal(got, want) {
		t.Errorf("in the file: %v, want %v", got, want)
	}
}

// stuck is a disk that takes its time.
type stuck struct{ begun, release chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	select {
	case s.begun <- struct{}{}:
	default:
	}
	<-s.release
	return len(p), nil
}

func (s stuck) Close() error { return nil }

// Sync waits for the file, and for one that cannot be written not for ever.
func TestSync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.json")
	l, err := Open(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		write(l, fmt.Sprint(i))
	}
	l.Sync(patience.Limit)
	if n := len(lines(t, path)); n != 1000 {
		t.Errorf("%d lines are in the file, want 1000", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	write(l, "late")
	l.Sync(patience.Limit) // it is lost, which is not waited for

	full := newLog(&disk{err: syscall.ENOSPC}, 10, 10, quiet)
	write(full, "never")
	full.Sync(10 * time.Millisecond)
	_ = full.Close() // it says that all is lost
}

// Ready is what audit.required asks: a disk that hangs is no error of the
// file's, and yet nothing is written.
func TestReady(t *testing.T) {
	s := stuck{make(chan struct{}, 1), make(chan struct{})}
	l := newLog(s, 8, 100, quiet)
	write(l, "in hand")
	<-s.begun
	for range 100 {
		r := opened()
		r.Action = conntrack.Deny
		l.Write(r)
	}
	for range 4 {
		if err := l.Ready(); err != nil {
			t.Error(err)
		}
		write(l, "x")
	}
	write(l, "more than half")
	if err := l.Ready(); !errors.Is(err, ErrBehind) {
		t.Errorf("the queue is half full: %v", err)
	}
	close(s.release)
	patience.Until(t, "it is ready again", func() bool { return l.Ready() == nil })
	l.since.Store(time.Now().Add(-behindAfter - time.Second).UnixNano())
	if err := l.Ready(); !errors.Is(err, ErrBehind) {
		t.Errorf("a record waits too long: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Ready(); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed log: %v", err)
	}
}

type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

func TestCloseOnFullDiskSaysSo(t *testing.T) {
	l, err := Open("/dev/full", quiet)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		write(l, "x")
	}
	err = l.Close()
	if !errors.Is(err, syscall.ENOSPC) || l.Lost() != 100 || !strings.Contains(err.Error(), "100 records lost") {
		t.Errorf("%v, %d lost", err, l.Lost())
	}
}

// logrotate to another disk when the first is full: the line of which the old
// file holds a part is whole in the new one.
func TestSwapWithHalfALine(t *testing.T) {
	first, second := &disk{room: 700, err: syscall.ENOSPC}, &disk{room: 1 << 30}
	l := newLog(first, queuedOthers, queuedRefusals, quiet)
	for i := range 10 {
		write(l, fmt.Sprint(i))
	}
	patience.Until(t, "an error", func() bool { return l.Failures() > 0 })
	first.add(1) // for the end of the half line
	l.swap(second)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	old := first.bytes()
	if !bytes.HasSuffix(old, []byte{'\n'}) {
		t.Errorf("the old file's half line does not end: %q", old)
	}
	old = old[:len(old)-1]
	whole := ids(t, old[:bytes.LastIndexByte(old, '\n')+1])
	if got := append(whole, ids(t, second.bytes())...); len(got) != 10 || got[9] != "9" {
		t.Errorf("records are %v", got)
	}
}

// Whatever the writer is doing meanwhile, what comes after Reopen is not in the
// old file.
func TestAfterReopenOnlyTheNewFile(t *testing.T) {
	for range 20 {
		old, next := &disk{room: 1 << 30}, &disk{room: 1 << 30}
		l := newLog(old, queuedOthers, queuedRefusals, quiet)
		old.mu.Lock() // the writer is stuck in the old file
		write(l, "before")
		patience.Until(t, "the writer has it", func() bool { return len(l.records) == 0 })
		l.swap(next)
		write(l, "after")
		old.mu.Unlock()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if o, n := ids(t, old.bytes()), ids(t, next.bytes()); len(o)+len(n) != 2 || len(n) == 0 || n[len(n)-1] != "after" {
			t.Fatalf("old %v, new %v", o, n)
		}
	}
}

// A reader of a named pipe that stops reading does not stop the daemon.
func TestPipeThatNobodyReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		write(l, fmt.Sprint(i))
	}
	// The pipe holds 64 KiB; the rest waits for this reader.
	read := make(chan int)
	go func() {
		n := 0
		buf := make([]byte, 4096)
		for n < 1000 {
			k, err := r.Read(buf)
			if err != nil {
				break
			}
			n += bytes.Count(buf[:k], []byte{'\n'})
		}
		read <- n
	}()
	if n := <-read; n != 1000 || l.Lost() != 0 {
		t.Errorf("read %d, lost %d", n, l.Lost())
	}
	r.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.json")
	l, err := Open(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				write(l, fmt.Sprint(w, "-", i))
				if i%100 == 0 {
					if err := l.Reopen(); err != nil {
						t.Error(err)
					}
				}
				_, _, _ = l.Lost(), l.Failures(), l.Err()
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, path); len(got) != 2000 {
		t.Errorf("%d lines, want 2000", len(got))
	}
}

func BenchmarkWrite(b *testing.B) {
	l, err := Open(filepath.Join(b.TempDir(), "audit.json"), quiet)
	if err != nil {
		b.Fatal(err)
	}
	r := opened()
	b.ReportAllocs()
	for b.Loop() {
		for len(l.records) > queuedOthers/2 {
			time.Sleep(time.Millisecond)
		}
		l.Write(r)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	if l.Lost() > 0 {
		b.Errorf("%d lost", l.Lost())
	}
}
