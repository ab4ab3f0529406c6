package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"text/tabwriter"
	"time"

	"ftpinhole/cmd/internal/cell"
	"ftpinhole/cmd/internal/control"

	"github.com/spf13/cobra"
)

func newList() *cobra.Command {
	format := oneOf("table", "json", "jsonl", "conntrack")
	cmd := &cobra.Command{
		Use:   "list [pinholes|sessions]",
		Short: "List open pinholes, or control sessions",
		Long: `List open pinholes, or control sessions. The format conntrack, for pinholes only,
is that of conntrack -L expect: a pinhole that waits is an expectation.`,
		ValidArgs: []string{"pinholes", "sessions"},
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
	}
	socket := socketFlag(cmd)
	cmd.Flags().VarP(format, "output", "o", "format")
	limit := 1000
	cmd.Flags().Var(bounded{&limit, 1, control.MaxListed}, "limit", fmt.Sprintf("how many are listed at most, 1 to %d", control.MaxListed))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		list := listPinholes
		if len(args) == 1 && args[0] == "sessions" {
			list = listSessions
			if format.value == "conntrack" {
				return exitError{exitUsage, errors.New("-o conntrack is for pinholes; list sessions as table, json or jsonl")}
			}
		}
		client, err := dial(*socket)
		if err != nil {
			return err
		}
		shown, total, err := list(cmd, client, limit, format.value)
		if err == nil && shown < total {
			fmt.Fprintf(cmd.ErrOrStderr(), "ftpinhole: %d of %d are listed; see --limit\n", shown, total)
		}
		return err
	}
	return cmd
}

func listPinholes(cmd *cobra.Command, client *control.Client, limit int, format string) (shown, total int, err error) {
	l, err := client.Pinholes(cmd.Context(), limit)
	if err != nil {
		return 0, 0, err
	}
	if format == "conntrack" {
		return len(l.Pinholes), l.Total, printExpectations(cmd.OutOrStdout(), l.Pinholes)
	}
	return len(l.Pinholes), l.Total, printList(cmd.OutOrStdout(), format, l.Pinholes, pinholesTable)
}

func listSessions(cmd *cobra.Command, client *control.Client, limit int, format string) (shown, total int, err error) {
	l, err := client.Sessions(cmd.Context(), limit)
	if err != nil {
		return 0, 0, err
	}
	return len(l.Sessions), l.Total, printList(cmd.OutOrStdout(), format, l.Sessions, sessionsTable)
}

// printList prints one array, an object a line, or a table.
func printList[T any](w io.Writer, format string, list []T, table func(io.Writer, []T)) error {
	switch format {
	case "json":
		return printJSON(w, list)
	case "jsonl":
		for _, v := range list {
			if err := printJSON(w, v); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(t, list)
	return t.Flush()
}

func pinholesTable(w io.Writer, list []control.PinholeInfo) {
	fmt.Fprintln(w, "ID\tMODE\tCOMMAND\tFROM\tTO\tSTATE\tEXPIRES\tCLIENT\tSERVER\tUSER")
	for _, p := range list {
		from, expires := p.Src, "-"
		if p.SrcPort != 0 {
			from = net.JoinHostPort(p.Src, strconv.Itoa(int(p.SrcPort)))
		}
		if p.ExpiresIn > 0 {
			expires = time.Duration(p.ExpiresIn * float64(time.Second)).Round(100 * time.Millisecond).String()
		}
		row(w, p.ID, p.Mode, p.Command, from, net.JoinHostPort(p.Dst, strconv.Itoa(int(p.DstPort))), p.State, expires, p.Client, p.Server, p.User)
	}
}

func sessionsTable(w io.Writer, list []control.SessionInfo) {
	fmt.Fprintln(w, "FLOW\tCLIENT\tSERVER\tSTATE\tSINCE\tPINHOLES\tDENIED\tUSER")
	for _, s := range list {
		row(w, strconv.FormatUint(s.FlowID, 10), s.Client, s.Server, s.State, s.Since.UTC().Format(time.RFC3339),
			strconv.Itoa(s.Pinholes), strconv.Itoa(s.Denied), s.User)
	}
}

func row(w io.Writer, cells ...string) {
	for i, c := range cells {
		if i > 0 {
			io.WriteString(w, "\t")
		}
		io.WriteString(w, cell.Of(c))
	}
	io.WriteString(w, "\n")
}
