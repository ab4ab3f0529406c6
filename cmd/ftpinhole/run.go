package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"ftpinhole/cmd/internal/config"
	"ftpinhole/cmd/internal/confine"
	"ftpinhole/cmd/internal/control"
	"ftpinhole/cmd/internal/gateway"
	"ftpinhole/cmd/internal/probe"
	"ftpinhole/cmd/internal/queue"
	"ftpinhole/cmd/internal/socket"
	"ftpinhole/rules/expect"
	"ftpinhole/rules/nft"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
)

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground. It reads FTP control packets from a netfilter
queue, and opens each data port that client and server agree on, for one
connection and for seconds.

INT and TERM stop it and take everything of it out of the kernel. HUP reads the
configuration again and keeps sessions and pinholes; USR1 opens the audit log
anew, for logrotate.`,
		Args: cobra.NoArgs,
	}
	s := newSettings(cmd)
	s.all()
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := s.load()
		if err != nil {
			return confine.No.Explain(err)
		}
		if err := refuseKernelHelper(c); err != nil {
			return err
		}
		return confine.No.Explain(runError(run(cmd.Context(), c, s, cmd.ErrOrStderr())))
	}
	return cmd
}

// refuseKernelHelper keeps the daemon from working beside the kernel's helper
// on the same ports, unless it was told to or only observes.
func refuseKernelHelper(c config.Config) error {
	if c.Observe || c.AllowKernelHelper || len(c.Ports) == 0 {
		return nil
	}
	rows, err := probe.Helpers(probeConfig(c))
	if err != nil {
		return nil // whatever is wrong, opening the daemon will say it better
	}
	for _, r := range rows {
		if r.Level == probe.Error {
			return exitError{exitFailed, fmt.Errorf("%s; %s; or set allow_kernel_helper = true", r.Detail, r.Mend)}
		}
	}
	return nil
}

// operator is the gateway, as the administrator sees and changes it.
type operator struct {
	*gateway.Gateway
	load     func() (config.Config, error) // reads the configuration again
	level    *slog.LevelVar                // of the daemon's own log
	confined confine.How
	reload   sync.Mutex // one after the other: what was read last is in effect last
	ports    []uint16   // that are in effect
}

// Status says also how the process is confined.
func (o *operator) Status() control.Status {
	st := o.Gateway.Status()
	st.Confined = string(o.confined)
	return st
}

// Reload reads the configuration again.
func (o *operator) Reload(context.Context) error {
	o.reload.Lock()
	defer o.reload.Unlock()
	c, err := o.load()
	if err != nil {
		return fmt.Errorf("%w: %w", control.ErrBadConfig, o.confined.Explain(err))
	}
	added := c
	added.Ports = slices.DeleteFunc(slices.Clone(c.Ports), func(p uint16) bool { return slices.Contains(o.ports, p) })
	if err := refuseKernelHelper(added); err != nil {
		return fmt.Errorf("%w: %w", control.ErrBadConfig, err)
	}
	if err := o.Gateway.Reload(c); err != nil {
		return err
	}
	o.ports = c.Ports
	setLevel(o.level, c)
	return nil
}

// ReopenLogs opens the audit log anew, for logrotate.
func (o *operator) ReopenLogs() error { return o.confined.Explain(o.Gateway.ReopenLogs()) }

// run runs the daemon until ctx is done. It logs to w.
func run(ctx context.Context, c config.Config, s *settings, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var level slog.LevelVar
	setLevel(&level, c)
	log := newLogger(c, w, &level)
	g, err := gateway.Open(ctx, c, thisBuild().Version, log)
	if err != nil {
		return err
	}
	op := &operator{Gateway: g, load: s.load, level: &level, ports: c.Ports}
	server, err := control.Listen(c.Socket, op, log, control.WithOperator(op), control.WithFeed(g.Feed()))
	if err != nil {
		return errors.Join(err, g.Close())
	}
	scrapes, err := listenMetrics(c.Metrics, g, log)
	if err != nil {
		return errors.Join(err, server.Close(), g.Close())
	}
	// All is open, and nothing was read from the wire yet.
	if op.confined, err = confineDaemon(c, s.path, log); err != nil {
		return errors.Join(err, scrapes.close(), server.Close(), g.Close())
	}
	// Who watches is served until the last record.
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	served, scraped := make(chan error, 1), make(chan struct{})
	go func() {
		served <- server.Serve(serving)
		cancel()
	}()
	go func() {
		scrapes.serve(serving)
		close(scraped)
	}()
	go signals(ctx, op, log)
	err = g.Run(ctx, func() {
		log.Info("reading FTP control sessions", "ports", c.Ports, "hooks", c.Hooks,
			"queue", c.QueueNum, "queues", c.QueueCount(), "observe", c.Observe)
		notify(daemon.SdNotifyReady+"\n"+statusText(op.Status()), log)
		go feedWatchdog(ctx, g.Turning, op.Status, log)
	})
	notify(daemon.SdNotifyStopping, log)
	stopServing()
	err = errors.Join(err, <-served)
	<-scraped
	if errors.Is(err, gateway.ErrStalled) {
		return err // what hangs cannot be closed either
	}
	err = errors.Join(err, g.Close())
	if err == nil {
		log.Info("stopped; nothing is left in the kernel")
	}
	return err
}

// signals serves HUP and USR1.
func signals(ctx context.Context, op *operator, log *slog.Logger) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGUSR1, syscall.SIGHUP)
	defer signal.Stop(ch)
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-ch:
			if sig == syscall.SIGHUP {
				if err := op.Reload(ctx); err != nil {
					log.Error("the configuration was not reloaded; the old one stays in effect", "err", err)
				}
				continue
			}
			if err := op.ReopenLogs(); err != nil {
				log.Error("the audit log could not be opened anew; the old file stays in use", "err", err)
			}
		}
	}
}

// newLogger logs to w; under systemd, which knows the time, without it.
func newLogger(c config.Config, w io.Writer, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if os.Getenv("JOURNAL_STREAM") != "" {
		opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// setLevel sets from which level on the daemon logs.
func setLevel(v *slog.LevelVar, c config.Config) {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // config has checked it
	v.Set(level)
}

// runError gives an error of the daemon its exit code.
func runError(err error) error {
	switch {
	case errors.Is(err, queue.ErrTaken), errors.Is(err, socket.ErrInUse):
		return exitError{exitFailed, err}
	case errors.Is(err, queue.ErrPermission), errors.Is(err, nft.ErrPermission), errors.Is(err, expect.ErrPermission):
		return exitError{exitNotPermitted, err}
	case errors.Is(err, queue.ErrUnsupported), errors.Is(err, nft.ErrUnsupported), errors.Is(err, expect.ErrUnsupported):
		return exitError{exitKernel, err}
	}
	return err
}
