package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"ftpinhole/cmd/internal/socket"
)

// MaxListed is how many entries a list has at most.
const MaxListed = 65536

const (
	usualListed = 1000     // entries of a list, if the request has no limit
	maxHeader   = 8 << 10  // bytes of a request's header
	maxBody     = 64 << 10 // bytes of a request's body
)

// Server answers on the control socket.
type Server struct {
	src  Source
	op   Operator // nil: nothing can be changed
	feed *Feed    // nil: nothing can be watched
	log  *slog.Logger
	ln   *peers
	http *http.Server
	mux  *http.ServeMux

	lists    *turns // of those who may only read
	watchers places
	beat     time.Duration // between signs of life for watchers
	stall    time.Duration // how long a watcher may take nothing
	stopping chan struct{} // closed when Serve's context is done
}

// Option is something that the daemon can do besides showing itself.
type Option func(*Server)

// WithOperator lets those who may do all close pinholes and reload.
func WithOperator(op Operator) Option { return func(s *Server) { s.op = op } }

// WithFeed lets audit records be watched. When Serve's context is done,
// watchers get what was published until then, and the end of the stream.
func WithFeed(f *Feed) Option { return func(s *Server) { s.feed = f } }

// place is where the control socket is.
func place(path string) socket.Place {
	return socket.Place{Path: path, Name: "control socket", Set: "socket, --socket"}
}

// Listen makes the socket, so that whoever connects is answered once Serve
// runs. It fails with socket.ErrInUse if another daemon answers on it.
func Listen(path string, src Source, log *slog.Logger, with ...Option) (*Server, error) {
	l, err := place(path).Listen()
	if err != nil {
		return nil, err
	}
	s := &Server{
		src: src, log: log, ln: newPeers(l), mux: http.NewServeMux(),
		lists:    newTurns(),
		watchers: places{most: maxWatchers, mostReaders: maxReadingWatchers},
		beat:     beatEvery, stall: stallAfter, stopping: make(chan struct{}),
	}
	for _, option := range with {
		option(s)
	}
	s.routes()
	s.http = &http.Server{
		Handler:           s.guard(s.mux),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       5 * time.Second,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ConnState:         changed,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			peer, _ := c.(*conn) // nil may do nothing
			return context.WithValue(ctx, peerKey{}, peer)
		},
	}
	return s, nil
}

// peerKey is the context key of a request's connection, a *conn.
type peerKey struct{}

func peerOf(r *http.Request) (uid uint32, privileged bool) {
	if c, _ := r.Context().Value(peerKey{}).(*conn); c != nil {
		return c.uid, c.privileged
	}
	return 0, false
}

// routes has a line for each thing that can be asked. GET only reads; every
// other method is for uid 0 and the daemon's own uid.
func (s *Server) routes() {
	s.mux.HandleFunc("GET /v1/status", s.status)
	s.mux.HandleFunc("GET /v1/pinholes", s.pinholes)
	s.mux.HandleFunc("GET /v1/sessions", s.sessions)
	s.mux.HandleFunc("GET /v1/events", s.events)
	s.mux.HandleFunc("DELETE /v1/pinholes/{id}", s.closePinhole)
	s.mux.HandleFunc("DELETE /v1/pinholes", s.flush)
	s.mux.HandleFunc("POST /v1/reload", s.reload)
}

// Serve answers until ctx is done, then removes the socket. It gives running
// requests a second to end. It may be called once.
func (s *Server) Serve(ctx context.Context) error {
	s.http.RegisterOnShutdown(func() { close(s.stopping) })
	if err := socket.Serve(ctx, s.http, s.ln); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// Close removes the socket of a server whose Serve is not to be called.
func (s *Server) Close() error { return s.ln.Close() }

// guard lets those who may only read do nothing else, and bounds the body.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, privileged := peerOf(r)
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !privileged {
			s.fail(w, http.StatusForbidden, errors.New("only root and the daemon's user may do that; use sudo"))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, s.src.Status())
}

func (s *Server) pinholes(w http.ResponseWriter, r *http.Request) {
	n, err := limit(r)
	if err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	all, err := listed(s, r, s.src.Pinholes)
	if err != nil {
		s.fail(w, http.StatusServiceUnavailable, err)
		return
	}
	s.answer(w, PinholeList{Total: len(all), Pinholes: append([]PinholeInfo{}, all[:min(n, len(all))]...)})
}

func (s *Server) sessions(w http.ResponseWriter, r *http.Request) {
	n, err := limit(r)
	if err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	all, err := listed(s, r, s.src.Sessions)
	if err != nil {
		s.fail(w, http.StatusServiceUnavailable, err)
		return
	}
	s.answer(w, SessionList{Total: len(all), Sessions: append([]SessionInfo{}, all[:min(n, len(all))]...)})
}

// listed asks the daemon for a list. Those who may do all need not wait for
// others.
func listed[T any](s *Server, r *http.Request, list func() ([]T, error)) (all []T, err error) {
	if _, privileged := peerOf(r); privileged {
		return list()
	}
	if gone := s.lists.take(r.Context(), func() { all, err = list() }); gone != nil {
		return nil, gone
	}
	return all, err
}

// limit is how many entries the request wants at most.
func limit(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return usualListed, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > MaxListed {
		return 0, fmt.Errorf("limit %q is not a number from 1 to %d", text, MaxListed)
	}
	return n, nil
}

// failure is the body of an answer that is none.
type failure struct {
	Error string `json:"error"`
}

func (s *Server) fail(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	s.write(w, failure{Error: err.Error()})
}

func (s *Server) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	s.write(w, v)
}

func (s *Server) write(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug("control client went away", "err", err)
	}
}
