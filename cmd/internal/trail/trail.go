package trail

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"ftpinhole/conntrack"

	"golang.org/x/sys/unix"
)

// FileName is the database's name in the state directory.
const FileName = "audit.db"

const (
	queuedOthers   = 65536           // records that may wait for the disk
	queuedRefusals = 8192            // and refusals
	behindAfter    = 5 * time.Second // how long records may wait until Ready says no
	closeWait      = 5 * time.Second // for a disk that does not take the rest
)

// Config bounds what is kept. What is older than Keep, or too much, is deleted,
// the oldest first.
type Config struct {
	Keep time.Duration
	// MaxBytes is of the database file; a quarter of it is for refusals.
	MaxBytes int64
	// Log gives the records of the audit log, the newest first. Those that a
	// daemon which was killed had written only there are added at the start.
	Log iter.Seq2[conntrack.Record, error]
	// Logged waits until the audit log has what was handed to it before. So the log
	// is never behind the trail, and at the start it says what the trail lacks. It
	// may give up after a time: nil, or a log that fails, holds up nothing.
	Logged func()
}

// Trail writes the database. Its own goroutine does: whatever the disk does,
// Write takes no time. All methods may be called from any goroutine.
type Trail struct {
	path     string
	log      *slog.Logger
	others   chan *conntrack.Record
	refusals chan *conntrack.Record
	closing  chan struct{} // closed by Close
	done     chan struct{} // closed when the goroutine has ended
	lock     *os.File

	unclosed    []conntrack.Record
	unclosedErr error

	written    atomic.Uint64
	inHand     atomic.Int64 // records of the writer's batch
	lost       atomic.Uint64
	complained atomic.Int64 // when lost records were logged last, Unix seconds
	failure    atomic.Pointer[error]
	since      atomic.Int64 // since when the records in hand wait, Unix nanoseconds; 0: there are none

	closeOnce sync.Once
}

// Open opens the database at path, or makes it (0640, its directory 0750), and
// starts its writer. A file that is broken, or not of this version, is renamed
// and a new one begun. While the disk is full or another process locks the
// database, records wait. The error wraps ErrTaken if another daemon writes it.
func Open(path string, cfg Config, log *slog.Logger) (*Trail, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("audit trail: %w; name the state directory from the root on (state_dir, --state-dir)", err)
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	w := newWriter(path, cfg, log)
	if err := w.open(); err != nil {
		if lasting(err) {
			return nil, errors.Join(fmt.Errorf("audit trail: %w; make %s and what is in it writable, or name another directory (state_dir, --state-dir)",
				err, filepath.Dir(path)), lock.Close())
		}
		log.Error("the audit trail cannot be opened, will try again each second; see to its disk", "path", path, "err", err)
		w.trail.failure.Store(&err)
	}
	return start(w, lock), nil
}

// start lets the writer's goroutine run.
func start(w *writer, lock *os.File) *Trail {
	t := w.trail
	t.lock = lock
	if w.store == nil {
		t.unclosedErr = t.Err()
	} else {
		w.catchUp()
		t.unclosed, t.unclosedErr = w.store.lost(time.Now())
	}
	go w.run()
	return t
}

// lockFile keeps a second daemon out until the process ends.
func lockFile(path string) (*os.File, error) {
	const mend = "make its directory writable, or name another (state_dir, --state-dir)"
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("audit trail: %w; %s", err, mend)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("audit trail: %w; %s", err, mend)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (%s is locked); give each daemon a directory of its own (state_dir, --state-dir)", ErrTaken, path)
		}
		return nil, fmt.Errorf("audit trail: lock %s: %w; name a directory on a local disk (state_dir, --state-dir)", path, err)
	}
	return f, nil
}

// Write hands over a record. It never blocks: when the disk is so far behind
// that the queue is full, the record is lost, and counted. Refusals have a
// queue of their own. Records written after Close are lost too.
func (t *Trail) Write(r conntrack.Record) {
	queue := t.others
	if kindOf(&r) == refused {
		queue = t.refusals
	}
	select {
	case <-t.closing:
		t.lost.Add(1)
		return
	default:
	}
	select {
	case queue <- &r:
	default:
		t.lose()
	}
}

// lose counts a lost record, and says so once a second at the most.
func (t *Trail) lose() {
	total := t.lost.Add(1)
	now := time.Now().Unix()
	if last := t.complained.Load(); last != now && t.complained.CompareAndSwap(last, now) {
		t.log.Error("records of the audit trail are lost: its disk is too slow or full; see to it", "path", t.path, "lost", total)
	}
}

// Written is how many records were put into the trail since it was opened.
func (t *Trail) Written() uint64 { return t.written.Load() }

// Buffered is how many records wait to be written.
func (t *Trail) Buffered() int {
	return len(t.others) + len(t.refusals) + int(t.inHand.Load())
}

// Lost is how many records are not in the trail and never will be.
func (t *Trail) Lost() uint64 { return t.lost.Load() }

// Err is why the trail cannot be written at the moment, or nil.
func (t *Trail) Err() error {
	if err := t.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Ready is nil if a record that is written now would be kept, and the use and
// close that may follow it: the disk takes what it is given, in time, and half
// of the queue is free. That the disk is full is known from the first record
// on that it did not take; that one waits.
func (t *Trail) Ready() error {
	select {
	case <-t.closing:
		return ErrClosed
	default:
	}
	if err := t.Err(); err != nil {
		return fmt.Errorf("the audit trail %s cannot be written: %w; see to its disk", t.path, err)
	}
	since := t.since.Load()
	if len(t.others) > cap(t.others)/2 || since != 0 && time.Since(time.Unix(0, since)) > behindAfter {
		return ErrBehind
	}
	return nil
}

// LostPinholes are close records, with the reason lost, for the pinholes that
// were open in the trail when it was opened: the daemon that opened them did
// not end properly. They are not in the trail before they are given to Write.
func (t *Trail) LostPinholes() ([]conntrack.Record, error) { return t.unclosed, t.unclosedErr }

// Close writes what waits and closes the database. It waits five seconds at
// the most; the error says how many records are lost by then. It is called
// when nobody calls Write any more.
func (t *Trail) Close() error {
	t.closeOnce.Do(func() { close(t.closing) })
	select {
	case <-t.done:
	case <-time.After(closeWait):
		return fmt.Errorf("audit trail %s: not all could be written in %s; see to its disk", t.path, closeWait)
	}
	if err := t.Err(); err != nil {
		return fmt.Errorf("audit trail %s: %d records lost in all: %w; see to its disk", t.path, t.Lost(), err)
	}
	return nil
}
