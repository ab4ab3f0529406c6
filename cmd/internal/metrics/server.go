package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"ftpinhole/cmd/internal/socket"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
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
	lc := net.ListenConfig{Control: freebind}
	l, err := lc.Listen(context.Background(), "tcp", at)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, fmt.Errorf("metrics: %w; the unit's sandbox allows a unix: path only: name one (metrics, --metrics), or add RestrictAddressFamilies=AF_INET AF_INET6 with systemctl edit", err)
	}
	if err != nil {
		return nil, fmt.Errorf("metrics: %w; name another address (metrics, --metrics)", err)
	}
	return l, nil
}

// freebind lets a socket have an address that the machine has not got yet
// (ip(7), IP_FREEBIND): the daemon starts before the network.
func freebind(network, _ string, c syscall.RawConn) error {
	level, option := unix.IPPROTO_IP, unix.IP_FREEBIND
	if network == "tcp6" {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
	}
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, failed)
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
