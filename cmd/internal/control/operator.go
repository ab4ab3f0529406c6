package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// operateTime is how long the daemon may take for what the operator asks; it
// leaves time to answer before the server's WriteTimeout.
const operateTime = 8 * time.Second

// Errors of an Operator. They reach the client, to be told apart there with
// errors.Is.
var (
	ErrNoPinhole = errors.New("no such pinhole is open")
	ErrBadConfig = errors.New("the configuration is refused")
)

// Operator is the daemon, as the administrator changes it. Its methods may be
// called from many goroutines, and end when the context does.
type Operator interface {
	// ClosePinhole closes one pinhole whose connection is not established, and
	// returns when the kernel has acknowledged. It fails with ErrNoPinhole if
	// there is none with the id.
	ClosePinhole(ctx context.Context, id string) error
	// FlushPinholes closes all of them, and says how many they were.
	FlushPinholes(ctx context.Context) (n int, err error)
	// Reload reads the configuration and puts it into effect, or fails with
	// ErrBadConfig and leaves everything as it was.
	Reload(ctx context.Context) error
}

// Flushed is the answer to DELETE /v1/pinholes.
type Flushed struct {
	Closed int `json:"closed"`
}

func (s *Server) closePinhole(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	s.operate(w, r, "close", id, func(ctx context.Context) (any, error) {
		return struct{}{}, s.op.ClosePinhole(ctx, id)
	})
}

func (s *Server) flush(w http.ResponseWriter, r *http.Request) {
	s.operate(w, r, "flush", "", func(ctx context.Context) (any, error) {
		n, err := s.op.FlushPinholes(ctx)
		return Flushed{n}, err
	})
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	s.operate(w, r, "reload", "", func(ctx context.Context) (any, error) {
		return struct{}{}, s.op.Reload(ctx)
	})
}

// operate does what the operator asks, and logs who asked and what came of it.
func (s *Server) operate(w http.ResponseWriter, r *http.Request, what, id string, do func(context.Context) (any, error)) {
	if s.op == nil {
		s.fail(w, http.StatusNotImplemented, errors.New("this daemon cannot be operated over its socket"))
		return
	}
	// It goes on when the client hangs up: half a reload helps nobody.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), operateTime)
	defer cancel()
	answer, err := do(ctx)
	uid, _ := peerOf(r)
	if err != nil {
		s.log.Warn("an operator's request failed", "request", what, "pinhole", id, "uid", uid, "err", err)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("it was not done in %s; look at the daemon's log", operateTime)
		}
		s.fail(w, operatorCode(err), err)
		return
	}
	s.log.Info("an operator's request was carried out", "request", what, "pinhole", id, "uid", uid)
	s.answer(w, answer)
}

// operatorCode is the HTTP status for an Operator's error; refusal is the way
// back.
func operatorCode(err error) int {
	switch {
	case errors.Is(err, ErrNoPinhole):
		return http.StatusNotFound
	case errors.Is(err, ErrBadConfig):
		return http.StatusUnprocessableEntity
	}
	return http.StatusInternalServerError
}
