package control

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"ftpinhole/cmd/internal/audit"
	"ftpinhole/cmd/internal/socket"
)

const (
	maxWatchers        = 16
	maxReadingWatchers = 12 // of those that may only read
	beatEvery          = 10 * time.Second
	// stallAfter is how long a watcher's terminal may stand still before the
	// watcher is taken for dead.
	stallAfter = time.Minute
	chunk      = 32 << 10 // bytes that are written at once, at the least
)

// events streams audit records, a line each as in the audit file, until the
// client goes or the daemon stops. A line {"skipped":n} says that n records
// are missing there; with 0 it is a sign of life.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	if s.feed == nil {
		s.fail(w, http.StatusNotImplemented, errors.New("this daemon cannot be watched"))
		return
	}
	_, privileged := peerOf(r)
	if !s.watchers.admit(privileged) {
		s.fail(w, http.StatusServiceUnavailable, errors.New("too many watch already; end one of them"))
		return
	}
	defer s.watchers.leave(privileged)
	sub := s.feed.Subscribe()
	defer sub.Close()

	out := &stream{w: w, control: http.NewResponseController(w), stall: s.stall}
	// The server's deadline for reading would end the stream after seconds.
	err := out.control.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "application/x-ndjson")
	beat := time.NewTicker(s.beat)
	defer beat.Stop()
	if err == nil {
		err = out.skipped(0)
	}
	for err == nil {
		select {
		case <-r.Context().Done():
			return
		case <-s.stopping:
			out.stall = socket.StopTime
			err = out.send(sub)
			if err == nil {
				return
			}
		case <-beat.C:
			err = out.skipped(0)
		case <-sub.Ready():
			err = out.send(sub)
		}
	}
	s.log.Debug("a watcher went away", "err", err)
}

// stream writes chunks, each within its own time.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	buf     []byte
}

// send writes everything that waits.
func (s *stream) send(sub *Subscription) error {
	records, skipped := sub.Take()
	for _, r := range records {
		s.buf = audit.Append(s.buf, r)
		if len(s.buf) >= chunk {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	if skipped > 0 {
		return s.skipped(skipped)
	}
	return s.flush()
}

// skipped writes that n records are missing here.
func (s *stream) skipped(n uint64) error {
	s.buf = append(s.buf, `{"skipped":`...)
	s.buf = append(strconv.AppendUint(s.buf, n, 10), '}', '\n')
	return s.flush()
}

func (s *stream) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	if err := s.control.SetWriteDeadline(time.Now().Add(s.stall)); err != nil {
		return err
	}
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	if err != nil {
		return err
	}
	return s.control.Flush()
}
