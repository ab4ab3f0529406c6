package main

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"ftpinhole/cmd/internal/audit"
	"ftpinhole/cmd/internal/trail"

	"github.com/spf13/cobra"
)

func newAuditSummary() *cobra.Command {
	by, format := oneOf("client", "server", "user", "reason"), oneOf("table", "json", "jsonl", "csv")
	cmd := &cobra.Command{
		Use:   "summary",
		Short: "Add up pinholes, bytes and refusals by client, server, user or reason",
		Long: `Add up what the audit trail has, by client, server, user or reason: the pinholes
that were opened (by reason: closed for it), the bytes of their data connections
as far as they were counted, the refusals, and how long the longest was open.
The filters are those of audit; --limit is for the lines, the largest first.`,
		Args: cobra.NoArgs,
	}
	a := newAuditing(cmd)
	cmd.Flags().Var(by, "by", "what each line is for")
	cmd.Flags().VarP(format, "output", "o", "format")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.ask(func(r *trail.Reader, f trail.Filter) error {
			limit := f.Limit
			f.Limit++
			lines, err := r.Summary(cmd.Context(), f, trail.By(by.value))
			if err != nil {
				return err
			}
			more := len(lines) > limit
			if more {
				lines = lines[:limit]
			}
			err = printSummary(cmd.OutOrStdout(), format.value, by.value, lines)
			if err == nil && more {
				fmt.Fprintf(cmd.ErrOrStderr(), "ftpinhole: only the %d largest are listed; see --limit\n", limit)
			}
			return err
		})
	}
	return cmd
}

// summaryLine is a line of a summary as JSON; the key's name is that of --by.
type summaryLine struct {
	Client        string  `json:"client,omitempty"`
	Server        string  `json:"server,omitempty"`
	User          string  `json:"user,omitempty"`
	Reason        string  `json:"reason,omitempty"`
	Pinholes      int     `json:"pinholes"`
	BytesToServer uint64  `json:"bytes_toserver"`
	BytesToClient uint64  `json:"bytes_toclient"`
	Refusals      int     `json:"refusals"`
	Longest       float64 `json:"longest_s"`
}

func printSummary(w io.Writer, format, by string, lines []trail.Line) error {
	out := bufio.NewWriter(w)
	var err error
	switch format {
	case "json", "jsonl":
		err = printList(out, format, summaryJSON(by, lines), nil)
	case "csv":
		summaryCSV(out, by, lines)
	default:
		rows := [][]string{{strings.ToUpper(by), "PINHOLES", "TO SERVER", "TO CLIENT", "REFUSALS", "LONGEST"}}
		for _, l := range lines {
			openFor := ""
			if l.Longest > 0 {
				openFor = l.Longest.Round(time.Millisecond).String()
			}
			rows = append(rows, shorter(cells(l.Key, strconv.Itoa(l.Pinholes), strconv.FormatUint(l.BytesToServer, 10), strconv.FormatUint(l.BytesToClient, 10),
				strconv.Itoa(l.Refusals), openFor), 0))
		}
		err = printAligned(out, rows, 1, 2, 3, 4)
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

func summaryJSON(by string, lines []trail.Line) []summaryLine {
	out := make([]summaryLine, 0, len(lines)) // none is [], not null
	for _, l := range lines {
		j := summaryLine{Pinholes: l.Pinholes, BytesToServer: l.BytesToServer, BytesToClient: l.BytesToClient, Refusals: l.Refusals, Longest: l.Longest.Seconds()}
		switch trail.By(by) {
		case trail.ByClient:
			j.Client = l.Key
		case trail.ByServer:
			j.Server = l.Key
		case trail.ByUser:
			j.User = l.Key
		case trail.ByReason:
			j.Reason = l.Key
		}
		out = append(out, j)
	}
	return out
}

func summaryCSV(w io.Writer, by string, lines []trail.Line) {
	c := csv.NewWriter(w)
	c.Write([]string{by, "pinholes", "bytes_toserver", "bytes_toclient", "refusals", "longest_s"})
	for _, l := range lines {
		c.Write([]string{audit.CSVText(l.Key), strconv.Itoa(l.Pinholes), strconv.FormatUint(l.BytesToServer, 10), strconv.FormatUint(l.BytesToClient, 10),
			strconv.Itoa(l.Refusals), strconv.FormatFloat(l.Longest.Seconds(), 'f', -1, 64)})
	}
	c.Flush()
}
