package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"ftpinhole/conntrack"
)

const (
	queuedOthers   = 65536           // records that may wait for the disk
	queuedRefusals = 8192            // and refusals
	retryEvery     = time.Second     // between attempts while writing fails
	behindAfter    = 5 * time.Second // how long records may wait until Ready says no
	closeWait      = 5 * time.Second // for a disk or pipe that does not take the rest
	syncPause      = 2 * time.Millisecond
)

// Errors that are told apart with errors.Is.
var (
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("the audit log is closed")
	// ErrBehind: records wait for the disk.
	ErrBehind = errors.New("the audit log is behind: its disk is too slow; see to it")
)

// Log is the audit file. Its own goroutine writes: whatever the disk does,
// Write takes no time. All methods may be called from any goroutine.
type Log struct {
	path    string
	log     *slog.Logger
	records chan *conntrack.Record // in their order; others and refusals bound what is in it
	reopen  chan sink              // holds at most the newest file
	closing chan struct{}          // closed by Close
	done    chan struct{}          // closed when the goroutine has ended

	others, refusals room // a flood of refusals takes no room from other records

	since      atomic.Int64  // since when the records in hand wait, Unix nanoseconds; 0: there are none
	given      atomic.Uint64 // to Write; each is written, lost, or waits
	written    atomic.Uint64
	inHand     atomic.Int64 // records that the writer has encoded, not written
	lost       atomic.Uint64
	failures   atomic.Uint64
	complained atomic.Int64 // when the last lost record was logged, Unix seconds
	failure    atomic.Pointer[error]

	mu     sync.Mutex // guards closed and the order of Reopen calls
	closed bool
}

// room is how many records of a kind may wait.
type room struct {
	most int64
	left atomic.Int64
}

func (r *room) fill(most int64) {
	r.most = most
	r.left.Store(most)
}

// enter takes a place, if there is one. Who has left gives it back.
func (r *room) enter() bool {
	if r.left.Add(-1) < 0 {
		r.left.Add(1)
		return false
	}
	return true
}

func (r *room) leave() { r.left.Add(1) }

// roomFor is where a record waits.
func (l *Log) roomFor(r *conntrack.Record) *room {
	if r.Action == conntrack.Deny {
		return &l.refusals
	}
	return &l.others
}

// Open opens the audit file for appending (0640, its directory 0750 where
// they are missing) and starts its writer. Half a record that a crash left at
// the end of the file is removed.
func Open(path string, log *slog.Logger) (*Log, error) {
	f, err := openFile(path, log)
	if err != nil {
		return nil, err
	}
	_ = f.check() // if that fails, the first record tries again, and says so
	l := newLog(f, queuedOthers, queuedRefusals, log)
	l.path = path
	return l, nil
}

func newLog(s sink, others, refusals int64, log *slog.Logger) *Log {
	l := &Log{
		log:     log,
		records: make(chan *conntrack.Record, others+refusals),
		reopen:  make(chan sink, 1),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	l.others.fill(others)
	l.refusals.fill(refusals)
	w := &writer{log: l, out: s}
	go w.run()
	return l
}

// Write hands over a record. It never blocks: when the disk is so far behind
// that the queue is full, the record is lost, and counted. Refusals have room
// of their own. Records written after Close are lost too.
func (l *Log) Write(r conntrack.Record) {
	l.given.Add(1)
	select {
	case <-l.closing:
		l.lost.Add(1)
		return
	default:
	}
	if !l.roomFor(&r).enter() {
		l.lose()
		return
	}
	l.records <- &r // which has a place for each that entered
}

// lose counts a lost record, and says so once a second at the most.
func (l *Log) lose() {
	total := l.lost.Add(1)
	now := time.Now().Unix()
	if last := l.complained.Load(); last != now && l.complained.CompareAndSwap(last, now) {
		l.log.Error("audit records lost: the file is too slow or cannot be written; see to its disk", "path", l.path, "lost", total)
	}
}

// Sync waits until each record handed over before is in the file or lost, but no
// longer than most: a file that cannot be written holds nobody up for long.
func (l *Log) Sync(most time.Duration) {
	given := l.given.Load()
	for until := time.Now().Add(most); l.written.Load()+l.lost.Load() < given && time.Now().Before(until); {
		time.Sleep(syncPause)
	}
}

// Written is how many records are in the file.
func (l *Log) Written() uint64 { return l.written.Load() }

// Buffered is how many records wait to be written.
func (l *Log) Buffered() int { return len(l.records) + int(l.inHand.Load()) }

// Lost is how many records are in no file and never will be.
func (l *Log) Lost() uint64 { return l.lost.Load() }

// Failures is how many attempts to write have failed.
func (l *Log) Failures() uint64 { return l.failures.Load() }

// Err is why the file cannot be written at the moment, or nil.
func (l *Log) Err() error {
	if err := l.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Ready is nil if a record that is written now would be kept, and the use and
// close that may follow it: the file takes what it is given, in time, and half
// of the queue is free.
func (l *Log) Ready() error {
	select {
	case <-l.closing:
		return ErrClosed
	default:
	}
	if err := l.Err(); err != nil {
		return fmt.Errorf("the audit log cannot be written: %w; see to its disk", err)
	}
	since := l.since.Load()
	if l.others.left.Load() < l.others.most/2 || since != 0 && time.Since(time.Unix(0, since)) > behindAfter {
		return ErrBehind
	}
	return nil
}

// Reopen opens the path anew, for logrotate. Records handed over after it
// has returned are in the new file. On an error the old file stays in use.
func (l *Log) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	f, err := openFile(l.path, l.log)
	if err != nil {
		return err
	}
	l.swap(f)
	return nil
}

// swap gives the writer its next file, in place of one it has not yet taken.
func (l *Log) swap(s sink) {
	select {
	case unused := <-l.reopen:
		unused.Close()
	default:
	}
	l.reopen <- s
}

// Close writes what is queued and closes the file. It waits five seconds at
// the most; the error says how many records are lost by then. It is called
// when nobody calls Write any more.
func (l *Log) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.closing)
	}
	l.mu.Unlock()
	select {
	case <-l.done:
	case <-time.After(closeWait):
		return fmt.Errorf("audit log %s: not all could be written in %s; see to its disk", l.path, closeWait)
	}
	if err := l.Err(); err != nil {
		return fmt.Errorf("audit log %s: %d records lost in all: %w; see to its disk", l.path, l.Lost(), err)
	}
	return nil
}
