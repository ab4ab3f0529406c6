package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"ftpinhole/cmd/internal/config"
	"ftpinhole/cmd/internal/probe"
	"ftpinhole/rules/nft"

	"github.com/spf13/cobra"
)

func newCheck() *cobra.Command {
	format := oneOf("table", "json")
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look for what the daemon lacks and for what stands in its way",
		Long: `Look at the configuration, the kernel and the firewall: what the daemon lacks,
and what stands in its way. Each row is ok, a warning or an error, with what to
do about it. Nothing is changed. The exit code is 0 without errors, 3 if the
configuration is wrong, 4 if a capability is missing, 5 if the kernel lacks a
feature, and 1 for other errors.`,
		Args: cobra.NoArgs,
	}
	s := newSettings(cmd)
	cmd.Flags().VarP(format, "output", "o", "format")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := s.load()
		rows := []probe.Row{{Name: "config", Detail: "fine"}}
		if err != nil {
			rows[0] = probe.Row{Name: "config", Level: probe.Error, Cause: probe.BadConfig, Detail: err.Error(),
				Mend: "man 5 ftpinhole.toml has every key, its values and its default"}
		} else {
			rows = append(rows, probe.Run(cmd.Context(), probeConfig(c))...)
		}
		show := printRows
		if format.value == "json" {
			show = printRowsJSON
		}
		if err := show(cmd.OutOrStdout(), rows); err != nil {
			return err
		}
		if err != nil {
			return err
		}
		return verdict(rows)
	}
	return cmd
}

func probeConfig(c config.Config) probe.Config {
	return probe.Config{
		Ports: c.Ports, Hooks: c.Hooks, QueueNum: c.QueueNum, Queues: c.QueueCount() + config.RewriteQueues,
		Mark: c.Mark, Table: nft.TableName, Backend: c.Backend, BesideHelper: c.Observe || c.AllowKernelHelper,
	}
}

// verdict is the error that the rows amount to. The cause that decides the exit
// code is the first one that has a code: what comes after may be its effect.
func verdict(rows []probe.Row) error {
	code, n := exitFailed, 0
	for _, r := range rows {
		if r.Level != probe.Error {
			continue
		}
		n++
		if c, ok := causeCode(r.Cause); ok && code == exitFailed {
			code = c
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return exitError{code, errors.New("one error is to be mended")}
	}
	return exitError{code, fmt.Errorf("%d errors are to be mended", n)}
}

func causeCode(c probe.Cause) (code int, ok bool) {
	switch c {
	case probe.BadConfig:
		return exitConfig, true
	case probe.Permission:
		return exitNotPermitted, true
	case probe.Missing:
		return exitKernel, true
	}
	return 0, false
}

// printRows prints a line for each row, and an indented one with its mend.
func printRows(w io.Writer, rows []probe.Row) error {
	width := len(slices.MaxFunc(rows, func(a, b probe.Row) int { return len(a.Name) - len(b.Name) }).Name)
	for _, r := range rows {
		if _, err := fmt.Fprintf(w, "%-7s  %-*s  %s\n", r.Level, width, r.Name, printable(r.Detail)); err != nil {
			return err
		}
		if r.Mend == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%7s  %*s  -> %s\n", "", width, "", printable(r.Mend)); err != nil {
			return err
		}
	}
	return nil
}

func printRowsJSON(w io.Writer, rows []probe.Row) error {
	type row struct {
		Name   string `json:"name"`
		Level  string `json:"level"`
		Detail string `json:"detail"`
		Mend   string `json:"mend,omitempty"`
	}
	all := make([]row, len(rows))
	for i, r := range rows {
		all[i] = row{r.Name, r.Level.String(), r.Detail, r.Mend}
	}
	return printJSON(w, all)
}
