package main

import (
	"bufio"
	"errors"
	"io"
	"net/netip"
	"os"

	"ftpinhole/cmd/internal/audit"
	"ftpinhole/cmd/internal/capture"
	"ftpinhole/cmd/internal/config"
	"ftpinhole/cmd/internal/gateway"
	"ftpinhole/cmd/internal/replay"
	"ftpinhole/conntrack"

	"github.com/spf13/cobra"
)

func newReplay() *cobra.Command {
	format := oneOf("table", "json")
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Show what the daemon would have done with a capture",
		Long: `Lead the packets of a pcap or pcapng file through the same tracker and policy as
live ones, and print the audit records that would have been written, with the
capture's times. Needs no rights and changes nothing. FILE - is standard input.

A session whose handshake is not in the capture is joined in the middle, and
opens nothing until a command other than PORT and EPRT was answered.`,
		Args: one("one capture, or - for standard input"),
	}
	s := newSettings(cmd)
	s.ports()
	cmd.Flags().VarP(format, "output", "o", "format")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := s.load()
		if err != nil {
			return err
		}
		src, err := openCapture(cmd.InOrStdin(), args[0])
		if err != nil {
			return err
		}
		defer src.Close()
		out := bufio.NewWriter(cmd.OutOrStdout())
		err = replayCapture(c, src, out, format.value == "json")
		return errors.Join(err, out.Flush())
	}
	return cmd
}

func openCapture(stdin io.Reader, path string) (*capture.Reader, error) {
	if path == "-" {
		return capture.NewReader(stdin)
	}
	r, err := capture.Open(path)
	if errors.Is(err, os.ErrPermission) { // a file's, not the daemon's rights
		return nil, exitError{exitFailed, err}
	}
	return r, err
}

func replayCapture(c config.Config, src *capture.Reader, out io.Writer, asJSON bool) error {
	policy, err := c.NewPolicy()
	if err != nil {
		return exitError{exitConfig, err}
	}
	limits := gateway.Limits(c.Limits)
	tracker := conntrack.New(conntrack.Config{
		Ports: c.Ports, Timeout: c.PinholeTimeout.Duration, TimeoutMax: c.PinholeTimeoutMax.Duration, Limits: limits,
		Observe: c.Observe, Join: func(_, _ netip.AddrPort) bool { return true },
	}, gateway.Policy{Policy: policy}, conntrack.NewQuota(limits))
	var line []byte
	var failed error
	err = replay.Run(src, tracker, func(r *conntrack.Record) {
		if asJSON {
			line = audit.Append(line[:0], r)
		} else {
			line = append(append(line[:0], audit.Text(r)...), '\n')
		}
		if _, err := out.Write(line); err != nil && failed == nil {
			failed = err
		}
	})
	return errors.Join(err, failed)
}
