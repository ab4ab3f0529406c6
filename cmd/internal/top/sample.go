package top

import (
	"context"
	"time"

	"ftpinhole/cmd/internal/control"
)

const (
	every  = time.Second     // between two samples
	answer = 5 * time.Second // for the daemon to give one
	listed = 2000            // entries of a list that are asked for
	window = 6               // samples that rates are taken over
)

// Source is the daemon; *control.Client is one.
type Source interface {
	Status(ctx context.Context) (control.Status, error)
	Pinholes(ctx context.Context, n int) (control.PinholeList, error)
	Sessions(ctx context.Context, n int) (control.SessionList, error)
	ClosePinhole(ctx context.Context, id string) error
}

// sample is the daemon at one moment.
type sample struct {
	at       time.Time
	status   control.Status
	pinholes control.PinholeList
	sessions control.SessionList
}

// take asks the daemon how it is.
func take(ctx context.Context, src Source) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	if s.status, err = src.Status(ctx); err != nil {
		return sample{}, err
	}
	if s.pinholes, err = src.Pinholes(ctx, listed); err != nil {
		return sample{}, err
	}
	if s.sessions, err = src.Sessions(ctx, listed); err != nil {
		return sample{}, err
	}
	s.at = time.Now()
	return s, nil
}

// history is the last few samples' counters, oldest first.
type history []counters

// counters are those of one daemon since its start.
type counters struct {
	at     time.Time
	daemon time.Time // when it was started
	status control.Status
}

// add returns a history with one more sample. One of another daemon begins a
// new history: its counters began anew.
func (h history) add(s sample) history {
	c := counters{at: s.at, daemon: s.status.Since, status: s.status}
	if len(h) > 0 && !h[0].daemon.Equal(c.daemon) {
		h = nil
	}
	if len(h) >= window {
		h = h[1:]
	}
	return append(h[:len(h):len(h)], c)
}

// rate is how much of something there was in a second, as far as is known.
func (h history) rate(of func(control.Status) uint64) (perSecond float64, known bool) {
	if len(h) < 2 {
		return 0, false
	}
	first, last := h[0], h[len(h)-1]
	before, after := of(first.status), of(last.status)
	took := last.at.Sub(first.at).Seconds()
	if took <= 0 || after < before {
		return 0, false
	}
	return float64(after-before) / took, true
}
