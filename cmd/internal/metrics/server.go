package metrics

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"ftpinhole/cmd/internal/socket"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

const (
	maxConns  = 32 // at once; more wait for a place
	maxHeader = 8 << 10
	// gatherTime is how long an answer may take to be made.
	gatherTime = 5 * time.Second
)

// Server answers scrapes.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen listens at an address, host:port or unix:/path, so that who connects
// is answered once Serve runs.
func Listen(at string, src Source, build Build, log *slog.Logger) (*Server, error) {
	l, err := listen(at)
	if err != nil {
		return nil, err
	}
	return &Server{
		listener: netutil.LimitListener(l, maxConns),
		http: &http.Server{
			Handler:           handler(src, build, log),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       5 * time.Second,
			WriteTimeout:      10 * time.Second,
			IdleTimeout:       5 * time.Second,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		},
	}, nil
}

func listen(at string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(at, "unix:"); ok {
		return socket.Place{Path: path, Name: "metrics socket", Set: "metrics, --metrics"}.Listen()
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w; name another address (metrics, --metrics)", err)
	}
	return l, nil
}

// handler answers GET. However many ask at once, the daemon is asked by one,
// and the answer is made before it is sent: who reads slowly holds up nobody.
func handler(src Source, build Build, log *slog.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(src, build), src.Acknowledgements())
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:           slog.NewLogLogger(log.Handler(), slog.LevelError),
		DisableCompression: true,
		CoalesceGather:     true,
		Timeout:            gatherTime,
	}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, "ftpinhole: the metrics are at /metrics\n")
	})
	return mux
}

// Close lets go of the address of a server whose Serve is not to be called.
func (s *Server) Close() error { return s.listener.Close() }

// Serve answers until ctx is done, and gives running requests a second to end.
// It may be called once.
func (s *Server) Serve(ctx context.Context) error {
	if err := socket.Serve(ctx, s.http, s.listener); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
