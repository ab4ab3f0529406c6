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
	queued     = 65536           // records that may wait for the disk
	retryEvery = time.Second     // between attempts while writing fails
	closeWait  = 5 * time.Second // for a disk or pipe that does not take the rest
)

// ErrClosed is the error of Reopen on a log that was closed.
var ErrClosed = errors.New("the audit log is closed")

// Log is the audit file. Its own goroutine writes: whatever the disk does,
// Write takes no time. All methods may be called from any goroutine.
type Log struct {
	path    string
	log     *slog.Logger
	records chan *conntrack.Record
	reopen  chan sink     // holds at most the newest file
	closing chan struct{} // closed by Close
	done    chan struct{} // closed when the goroutine has ended

	written    atomic.Uint64
	inHand     atomic.Int64 // records that the writer has encoded, not written
	lost       atomic.Uint64
	failures   atomic.Uint64
	complained atomic.Int64 // when the last lost record was logged, Unix seconds
	failure    atomic.Pointer[error]

	mu     sync.Mutex // guards closed and the order of Reopen calls
	closed bool
}

// Open opens the audit file for appending (0640, its directory 0750 where
// they are missing) and starts its writer. If a crash left half a line at the
// end of the file, the next record begins on a new one.
func Open(path string, log *slog.Logger) (*Log, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	l := newLog(f, queued, log)
	l.path = path
	return l, nil
}

func newLog(s sink, length int, log *slog.Logger) *Log {
	l := &Log{
		log:     log,
		records: make(chan *conntrack.Record, length),
		reopen:  make(chan sink, 1),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	w := &writer{log: l, out: s}
	go w.run()
	return l
}

// Write hands over a record. It never blocks: when the disk is so far behind
// that the queue is full, the record is lost, and counted. Records written
// after Close are lost too.
func (l *Log) Write(r conntrack.Record) {
	select {
	case <-l.closing:
		l.lost.Add(1)
		return
	default:
	}
	select {
	case l.records <- &r:
	default:
		total := l.lost.Add(1)
		now := time.Now().Unix()
		if last := l.complained.Load(); last != now && l.complained.CompareAndSwap(last, now) {
			l.log.Error("audit records lost: the file is too slow or cannot be written; see to its disk", "path", l.path, "lost", total)
		}
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

// Reopen opens the path anew, for logrotate. Records handed over after it
// has returned are in the new file. On an error the old file stays in use.
func (l *Log) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	f, err := openFile(l.path)
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
