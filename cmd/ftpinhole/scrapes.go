package main

import (
	"context"
	"log/slog"

	"ftpinhole/cmd/internal/metrics"
)

// scrapes answers Prometheus, if the configuration has an address for that.
type scrapes struct {
	server *metrics.Server // nil: there is none
	log    *slog.Logger
}

func listenMetrics(at string, src metrics.Source, log *slog.Logger) (scrapes, error) {
	if at == "" {
		return scrapes{}, nil
	}
	b := thisBuild()
	server, err := metrics.Listen(at, src, metrics.Build{Version: b.Version, Commit: b.Commit, Go: b.Go}, log)
	return scrapes{server, log}, err
}

// serve answers until ctx is done. The daemon goes on when that fails.
func (s scrapes) serve(ctx context.Context) {
	if s.server == nil {
		return
	}
	if err := s.server.Serve(ctx); err != nil {
		s.log.Error("Prometheus is not answered any more; restart the daemon to have it again", "err", err)
	}
}

// close is for when serve is not to be called.
func (s scrapes) close() error {
	if s.server == nil {
		return nil
	}
	return s.server.Close()
}
