package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"ftpinhole/cmd/internal/audit"
	"ftpinhole/cmd/internal/control"

	"github.com/spf13/cobra"
)

func newWatch() *cobra.Command {
	format := oneOf("table", "json", "jsonl", "conntrack")
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show what is opened, used, closed and refused, as it happens",
		Long: `Show audit records as they happen, until Ctrl-C. The formats json and jsonl are
both those of the audit file, a record a line. The format conntrack is that of
conntrack -E expect: a pinhole is an expectation.

Where the terminal is slower than the daemon, records are skipped here, not in
the audit file; how many is said on standard error, and in json and jsonl by a
line {"skipped":n}. When the daemon stops, the exit code is 6.`,
		Args: cobra.NoArgs,
	}
	socket := socketFlag(cmd)
	cmd.Flags().VarP(format, "output", "o", "format")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := dial(*socket)
		if err != nil {
			return err
		}
		events, err := client.Events(cmd.Context())
		if err != nil {
			return watchError(err)
		}
		defer events.Close()
		show := showText
		switch format.value {
		case "json", "jsonl":
			show = showJSON
		case "conntrack":
			show = newExpectEvents().show
		}
		for {
			ev, err := events.Next()
			if err != nil {
				return watchError(err)
			}
			if ev.Skipped > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "ftpinhole: %d records are skipped here; the audit file has them\n", ev.Skipped)
			}
			if err := show(cmd.OutOrStdout(), ev); err != nil {
				return err
			}
		}
	}
	return cmd
}

// watchError takes Ctrl-C for the right way to end.
func watchError(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, control.ErrStopped):
		return exitError{exitNoDaemon, errors.New("the daemon has stopped")}
	}
	return err
}

func showJSON(w io.Writer, ev control.Event) error {
	_, err := io.WriteString(w, printable(string(ev.Line))+"\n")
	return err
}

func showText(w io.Writer, ev control.Event) error {
	if ev.Skipped > 0 {
		return nil
	}
	r, err := ev.Record()
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, printable(audit.Text(&r))+"\n")
	return err
}
