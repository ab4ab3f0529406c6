package socket

import (
	"context"
	"net"
	"net/http"
	"time"
)

// StopTime is how long running requests have to end when serving stops.
const StopTime = time.Second

// Serve lets s answer on l until ctx is done, and gives running requests a
// second to end. It closes l.
func Serve(ctx context.Context, s *http.Server, l net.Listener) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		within, cancel := context.WithTimeout(context.Background(), StopTime)
		defer cancel()
		if s.Shutdown(within) != nil {
			s.Close()
		}
	})
	err := s.Serve(l)
	if !stop() {
		<-stopped
		return nil
	}
	return err
}
