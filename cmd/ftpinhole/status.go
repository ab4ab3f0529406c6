package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"ftpinhole/cmd/internal/cell"
	"ftpinhole/cmd/internal/config"
	"ftpinhole/cmd/internal/control"

	"github.com/spf13/cobra"
)

func newStatus() *cobra.Command {
	format := oneOf("table", "json")
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the daemon is",
		Long: `Show how the daemon is. The exit code is 0 if it is ready, 1 if it runs but is
not ready, 6 if there is none.`,
		Args: cobra.NoArgs,
	}
	socket := socketFlag(cmd)
	cmd.Flags().VarP(format, "output", "o", "format")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := dial(*socket)
		if err != nil {
			return err
		}
		s, err := client.Status(cmd.Context())
		if err != nil {
			return err
		}
		if format.value == "json" {
			err = printJSON(cmd.OutOrStdout(), s)
		} else {
			err = printStatus(cmd.OutOrStdout(), s, time.Now())
		}
		if err == nil && !s.Ready {
			err = exitError{exitFailed, errors.New("not ready: " + cellOr(s.Reason, "look at the daemon's log"))}
		}
		return err
	}
	return cmd
}

// socketFlag adds --socket to a verb that asks the daemon.
func socketFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("socket", config.Default().Socket, "the daemon's control `socket`")
}

func dial(socket string) (*control.Client, error) {
	path, err := filepath.Abs(socket)
	if err != nil {
		return nil, fmt.Errorf("%w; name the socket from the root on", err)
	}
	return control.Dial(path)
}

func printStatus(w io.Writer, s control.Status, now time.Time) error {
	state := "ready"
	if !s.Ready {
		state = "not ready: " + cellOr(s.Reason, "no reason is known")
	}
	if s.Observe {
		state += " (observes only)"
	}
	ports := portList(s.Ports)
	queues := fmt.Sprintf("%d", s.QueueNum)
	if s.Queues > 1 {
		queues = fmt.Sprintf("%d to %d", s.QueueNum, s.QueueNum+s.Queues-1)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"state", state},
		{"since", fmt.Sprintf("%s (%s)", s.Since.UTC().Format(time.RFC3339), now.Sub(s.Since).Round(time.Second))},
		{"daemon", fmt.Sprintf("version %s, pid %d", cell.Of(s.Version), s.PID)},
		{"backend", fmt.Sprintf("%s, table %s", cell.Of(s.Backend), cellOr(s.Table, "unknown"))},
		{"confined", cellOr(s.Confined, "unknown")},
		{"reads", fmt.Sprintf("port %s in %s, queue %s", ports.String(), cell.Of(strings.Join(s.Hooks, ",")), queues)},
		{"sessions", fmt.Sprintf("%d, and %d half open", s.Sessions, s.HalfOpen)},
		{"pinholes", fmt.Sprintf("%d open; since the start %d opened, %d used, %d refused", s.Pinholes.Open, s.Pinholes.Opened, s.Pinholes.Used, s.Pinholes.Refused)},
		{"packets", fmt.Sprintf("%d read, %d verdict errors, %d overruns", s.Packets, s.VerdictErrors, s.Overruns)},
		{"audit", recordsLine(s)},
	} {
		fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
	}
	return t.Flush()
}

// recordsLine is how records are written: first why they are not, if so.
func recordsLine(s control.Status) string {
	counts := fmt.Sprintf("%d records wait, %d lost", s.RecordsWaiting, s.RecordsLost)
	if s.AuditTrouble == "" {
		return counts
	}
	return printable(s.AuditTrouble) + " (" + counts + ")"
}

// cellOr is a sentence of the daemon's, on one printable line.
func cellOr(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return printable(s)
}
