package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"ftpinhole/cmd/internal/control"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd (sd_notify(3)); without it, it does nothing.
func notify(state string, log *slog.Logger) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd could not be told", "state", state, "err", err)
	}
}

// feedWatchdog tells systemd twice in each WatchdogSec of the unit that the
// packet path turns, and how the daemon is, until ctx is done. When it does not
// turn within a quarter of that time, nothing is said, and systemd ends the
// daemon. Without a watchdog it returns at once.
func feedWatchdog(ctx context.Context, turning func(ctx context.Context, within time.Duration) error, status func() control.Status, log *slog.Logger) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog is not fed: start the daemon with the unit that came with it", "err", err)
	}
	if interval == 0 {
		return
	}
	ticker := time.NewTicker(interval / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := turning(ctx, interval/4); err != nil {
			log.Error("systemd's watchdog is not fed", "err", err)
			continue
		}
		notify(daemon.SdNotifyWatchdog+"\n"+statusText(status()), log)
	}
}

// statusText is what `systemctl status` shows.
func statusText(st control.Status) string {
	if !st.Ready {
		return "STATUS=not ready: " + cellOr(st.Reason, "no reason is known")
	}
	return fmt.Sprintf("STATUS=ready: %d sessions, %d pinholes open", st.Sessions, st.Pinholes.Open)
}
