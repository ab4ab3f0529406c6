package trail

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"ftpinhole/conntrack"
)

const (
	batchRecords = 4096                   // in one transaction, at the most
	batchBytes   = 1 << 20                // about; little beside the least quota
	linger       = 200 * time.Millisecond // how long a batch waits for more records
	retryEvery   = time.Second            // between attempts while writing fails
	ageEvery     = time.Minute            // how often records are looked for that are too old
	asideEvery   = time.Minute            // between files that are set aside
	shrinkPages  = 4096
)

// writer is what belongs to the goroutine of a Trail.
type writer struct {
	trail  *Trail
	path   string
	config Config
	log    *slog.Logger

	store *store // nil while it could not be opened
	next  int64  // the next record's seq
	batch []numbered
	bytes int64     // of the batch, about
	aside time.Time // when a broken file was renamed last
	aged  time.Time // when records that are too old were looked for last
}

func newWriter(path string, cfg Config, log *slog.Logger) *writer {
	return &writer{path: path, config: cfg, log: log, trail: &Trail{
		path: path, log: log,
		others:   make(chan *conntrack.Record, queuedOthers),
		refusals: make(chan *conntrack.Record, queuedRefusals),
		closing:  make(chan struct{}),
		done:     make(chan struct{}),
	}}
}

func (w *writer) run() {
	defer close(w.trail.done)
	defer w.trail.lock.Close()
	defer w.release()
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		// While the database cannot be written, the records wait in the queues.
		others, refusals := w.trail.others, w.trail.refusals
		if w.trail.Err() != nil {
			others, refusals = nil, nil
		}
		select {
		case r := <-others:
			w.take(r)
			w.gather()
		case r := <-refusals:
			w.take(r)
			w.gather()
		case <-tick.C:
		case <-w.trail.closing:
			w.finish()
			return
		}
		if w.flush() {
			w.prune()
		}
	}
}

// take puts a record into the batch.
func (w *writer) take(r *conntrack.Record) {
	if len(w.batch) == 0 {
		w.trail.since.Store(time.Now().UnixNano())
	}
	w.batch = append(w.batch, numbered{w.next, r})
	w.trail.inHand.Add(1)
	w.bytes += recordBytes(r)
	w.next++
}

// fill takes the records that wait, refusals last, up to a batch.
func (w *writer) fill() {
	for _, queue := range []chan *conntrack.Record{w.trail.others, w.trail.refusals} {
		for waiting := true; waiting && !w.full(); {
			select {
			case r := <-queue:
				w.take(r)
			default:
				waiting = false
			}
		}
	}
}

func (w *writer) full() bool { return len(w.batch) >= batchRecords || w.bytes >= batchBytes }

// gather waits a little for more records: a transaction each would be slow.
func (w *writer) gather() {
	over := time.NewTimer(linger)
	defer over.Stop()
	for {
		w.fill()
		if w.full() {
			return
		}
		select {
		case r := <-w.trail.others:
			w.take(r)
		case r := <-w.trail.refusals:
			w.take(r)
		case <-over.C:
			return
		case <-w.trail.closing:
			return
		}
	}
}

// flush writes the batch and says whether the database is in order.
func (w *writer) flush() bool {
	err := w.write()
	if err != nil {
		if w.trail.failure.Swap(&err) == nil {
			w.log.Error("the audit trail cannot be written, will try again each second; see to its disk", "path", w.path, "err", err)
		}
		return false
	}
	if w.trail.failure.Swap(nil) != nil {
		w.log.Info("the audit trail can be written again", "path", w.path, "lost", w.trail.Lost())
	}
	return true
}

func (w *writer) write() error {
	if w.store != nil && w.store.replaced() {
		w.log.Warn("the audit trail was moved or removed; a new one is begun", "path", w.path)
		w.release()
	}
	if w.store == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	if len(w.batch) == 0 {
		return nil
	}
	if w.config.Logged != nil {
		w.config.Logged()
	}
	err := w.add()
	if broken(err) {
		if err = w.restart(err); err == nil {
			err = w.add()
		}
	}
	if err != nil {
		return err
	}
	w.trail.written.Add(uint64(len(w.batch)))
	w.trail.inHand.Store(0)
	clear(w.batch)
	w.batch, w.bytes = w.batch[:0], 0
	w.trail.since.Store(0)
	return nil
}

// add writes the batch, after making room for it.
func (w *writer) add() error {
	var more [kinds]int64
	for _, n := range w.batch {
		more[kindOf(n.record)] += recordBytes(n.record)
	}
	if err := w.makeRoom(more); err != nil {
		return err
	}
	return w.store.write(w.batch)
}

// open opens the database, if need be in place of one that cannot be used.
func (w *writer) open() error {
	s, err := openStore(w.path, w.log)
	if err != nil && unusable(err) {
		return w.restart(err)
	}
	if err != nil {
		return err
	}
	w.store, w.next = s, max(w.next, s.next)
	return nil
}

// restart begins a new database; the file that is there is renamed.
func (w *writer) restart(why error) error {
	w.release()
	if time.Since(w.aside) < asideEvery {
		return why
	}
	w.aside = time.Now()
	name, err := setAside(w.path, w.aside)
	if err != nil {
		return errors.Join(why, err)
	}
	w.log.Error("the audit trail cannot be used; it is renamed, and a new one begun", "path", w.path, "renamed", name, "err", why)
	s, err := openStore(w.path, w.log)
	if err != nil {
		return err
	}
	w.store, w.next = s, max(w.next, s.next)
	return nil
}

// setAside renames the database and the files beside it, which belong to it.
func setAside(path string, now time.Time) (name string, err error) {
	name = path + now.UTC().Format(".broken-20060102T150405Z")
	for _, beside := range []string{"-wal", "-shm"} {
		if err := os.Rename(path+beside, name+beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%w; move it away", err)
		}
	}
	if err := os.Rename(path, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w; move it away", err)
	}
	return name, nil
}

func (w *writer) release() {
	if w.store == nil {
		return
	}
	if err := w.store.close(); err != nil {
		w.log.Warn("the audit trail could not be closed properly", "err", err)
	}
	w.store = nil
}

// prune deletes what is too much, and now and then what is too old. What a
// call leaves is for the next one, within a second.
func (w *writer) prune() {
	err := w.makeRoom([kinds]int64{})
	if now := time.Now(); err == nil && now.Sub(w.aged) >= ageEvery {
		var n int
		if n, err = w.store.deleteBefore(now.Add(-w.config.Keep)); err == nil && n < pruned {
			w.aged = now
			err = w.store.shrink(shrinkPages)
		}
	}
	if err == nil {
		return
	}
	w.log.Warn("old records of the audit trail could not be deleted", "path", w.path, "err", err)
	if broken(err) {
		if err := w.restart(err); err != nil {
			w.trail.failure.Store(&err)
		}
	}
}

// makeRoom deletes the oldest records of each kind that would be too much with
// so many bytes more.
func (w *writer) makeRoom(more [kinds]int64) error {
	for kind, quota := range w.quotas() {
		if excess := w.store.kept[kind] + more[kind] - quota; excess > 0 {
			if err := w.store.deleteOldest(kind, excess); err != nil {
				return err
			}
		}
	}
	return nil
}

// quotas are how many bytes there may be of each kind. A tenth is for pages
// that are not full.
func (w *writer) quotas() [kinds]int64 {
	usable := w.config.MaxBytes / 10 * 9
	return [kinds]int64{others: usable / 4 * 3, refused: usable / 4}
}

// finish writes what is left. A database that fails now fails for good: the
// rest is lost.
func (w *writer) finish() {
	for {
		w.fill()
		if len(w.batch) == 0 {
			return
		}
		if !w.flush() {
			w.trail.lost.Add(uint64(w.trail.Buffered()))
			return
		}
	}
}
