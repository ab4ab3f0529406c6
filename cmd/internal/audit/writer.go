package audit

import (
	"bytes"
	"io"
	"time"

	"ftpinhole/conntrack"
)

// batch is how many bytes are written at once, at the least, while more
// records are waiting. When none are, all is written.
const batch = 64 << 10

// writer is what belongs to the goroutine of a Log.
type writer struct {
	log *Log
	out sink
	// buf holds encoded lines, the first sent bytes of which are in the file:
	// part of the first line, never more.
	buf  []byte
	sent int
}

func (w *writer) run() {
	defer close(w.log.done)
	defer func() { w.out.Close() }()
	retry := time.NewTimer(0)
	retry.Stop()
	defer retry.Stop()
	failing := false
	for {
		// While the file cannot be written, the records wait in the channel.
		records := w.log.records
		if failing {
			records = nil
		}
		select {
		case r := <-records:
			w.take(r)
			w.fill()
		case s := <-w.log.reopen:
			w.replace(s)
		case <-retry.C:
		case <-w.log.closing:
			w.finish()
			return
		}
		w.swap()
		if failing = !w.flush(); failing {
			retry.Reset(retryEvery)
		}
	}
}

// take encodes a record.
func (w *writer) take(r *conntrack.Record) {
	w.log.roomFor(r).leave()
	if len(w.buf) == 0 {
		w.log.since.Store(time.Now().UnixNano())
	}
	w.buf = Append(w.buf, r)
	w.log.inHand.Add(1)
}

// fill takes the records that are waiting, up to a batch.
func (w *writer) fill() {
	for len(w.buf) < batch {
		select {
		case r := <-w.log.records:
			w.take(r)
		default:
			return
		}
	}
}

// swap changes to the newest file before anything is written, so that what was
// handed over after Reopen is never found in the old one.
func (w *writer) swap() {
	select {
	case s := <-w.log.reopen:
		w.replace(s)
	default:
	}
}

// replace goes over to another file. A line of which the old file has only a
// part is written to the new one whole.
func (w *writer) replace(s sink) {
	if w.sent > 0 {
		_, _ = w.out.Write([]byte{'\n'}) // the file is already in trouble
		w.sent = 0
	}
	w.out.Close()
	w.out = s
}

// flush writes buf and says whether all of it is in the file. After a short
// write it goes on where that ended, so that lines stay whole.
func (w *writer) flush() bool {
	if len(w.buf) == 0 {
		return true
	}
	n, err := w.out.Write(w.buf[w.sent:])
	w.sent += max(n, 0)
	if err == nil && w.sent < len(w.buf) {
		err = io.ErrShortWrite
	}
	whole := bytes.LastIndexByte(w.buf[:w.sent], '\n') + 1
	w.sent -= whole
	lines := bytes.Count(w.buf[:whole], []byte{'\n'})
	w.log.written.Add(uint64(lines))
	w.log.inHand.Add(int64(-lines))
	w.buf = append(w.buf[:0], w.buf[whole:]...)
	if len(w.buf) == 0 {
		w.log.since.Store(0)
	}
	if err != nil {
		w.log.failures.Add(1)
		if w.log.failure.Swap(&err) == nil { // once, not each second: the daemon's log may be on the same disk
			w.log.log.Error("the audit log cannot be written, will try again each second; see to its disk", "path", w.log.path, "err", err)
		}
		return false
	}
	if w.log.failure.Swap(nil) != nil {
		w.log.log.Info("the audit log can be written again", "path", w.log.path, "lost", w.log.Lost())
	}
	return true
}

// finish writes what is left. A file that fails now fails for good: the rest
// is counted as lost.
func (w *writer) finish() {
	w.swap()
	for {
		w.fill()
		if len(w.buf) == 0 {
			return
		}
		if !w.flush() {
			w.log.lost.Add(uint64(w.log.Buffered()))
			return
		}
	}
}
