package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"ftpinhole/cmd/internal/cell"
	"ftpinhole/cmd/internal/trail"
	"ftpinhole/conntrack"

	"github.com/spf13/cobra"
)

func newAuditShow() *cobra.Command {
	format := oneOf("table", "json", "jsonl")
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Tell the story of one pinhole",
		Long: `Tell what the audit trail knows of one pinhole and its session. The other formats
print its records.`,
		Args: one("one pinhole by its id; find it: ftpinhole audit"),
	}
	s := trailSettings(cmd)
	cmd.Flags().VarP(format, "output", "o", "format")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := s.open()
		if err != nil {
			return err
		}
		defer r.Close()
		story, err := r.Story(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if format.value != "table" {
			return printRecords(cmd.OutOrStdout(), format.value, story.Records())
		}
		return printStory(cmd.OutOrStdout(), &story)
	}
	return cmd
}

// printStory tells the story in the order of its events, a line each.
func printStory(w io.Writer, s *trail.Story) error {
	r := s.Latest()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name string, parts ...string) {
		var said []string
		for _, p := range parts {
			if p != "" {
				said = append(said, p)
			}
		}
		fmt.Fprintf(t, "%s\t%s\n", name, strings.Join(said, ", "))
	}
	line("pinhole", cell.Of(r.Pinhole.ID), observed(r))
	line("session", endpoint(r.Client)+" > "+endpoint(r.Server), "flow "+strconv.FormatUint(r.FlowID, 10), began(s.Start))
	line("login", login(r))
	line("command", cell.Of(r.Command), r.Mode.String()+" mode", transfer(r))
	line("endpoint", endpoint(r.Pinhole.Dst)+", for "+addr(r.Pinhole.Src), sourcePort(&r.Pinhole))
	if t := translation(&r.Pinhole); t != "" {
		line("translation", t)
	}
	if s.Deny != nil {
		line("refused", stamp(s.Deny), because(s.Deny), cell.Of(string(s.Deny.Reason)))
	}
	if s.Open != nil {
		line("opened", stamp(s.Open), "for "+r.Pinhole.Timeout.String())
	}
	switch {
	case s.Use != nil:
		line("used", stamp(s.Use), after(s.Open, s.Use), "by "+from(&s.Use.Pinhole))
	case s.Close == nil:
	case s.Close.Pinhole.SrcPort != 0: // its record was lost or pruned
		line("used", "by "+from(&s.Close.Pinhole))
	case s.Close.Reason != conntrack.Lost:
		line("used", "never")
	}
	if c := s.Close; c != nil {
		if c.Counted {
			line("bytes", fmt.Sprintf("%d to the server", c.BytesToServer), fmt.Sprintf("%d to the client", c.BytesToClient))
		}
		line("closed", stamp(c), lasted(c), string(c.Reason)+": "+because(c))
	} else if s.Deny == nil {
		line("closed", "not yet, as far as is known")
	}
	if e := s.End; e != nil {
		line("session end", stamp(e), "after "+e.Duration.Round(time.Millisecond).String(),
			fmt.Sprintf("%d pinholes", e.Pinholes), fmt.Sprintf("%d refusals", e.Denied), because(e))
	} else {
		line("session end", "not yet, as far as is known")
	}
	return t.Flush()
}

func stamp(r *conntrack.Record) string {
	s := r.Time.UTC().Format("2006-01-02T15:04:05.000Z")
	if r.Reconstructed {
		s += " or before" // the event was lost: this is when it was noticed
	}
	return s
}

func began(start *conntrack.Record) string {
	if start == nil {
		return "its begin is not in the trail"
	}
	return "since " + stamp(start)
}

func login(r *conntrack.Record) string {
	if r.User == "" {
		return "the user is not known"
	}
	return strconv.Quote(r.User)
}

func transfer(r *conntrack.Record) string {
	switch {
	case r.Transfer == "":
		return "no transfer is known"
	case r.Path == "":
		return "then " + cell.Of(r.Transfer)
	}
	return "then " + cell.Of(r.Transfer) + " " + strconv.Quote(r.Path)
}

func sourcePort(p *conntrack.Pinhole) string {
	if p.FromPort == 0 {
		return ""
	}
	return fmt.Sprintf("from port %d only", p.FromPort)
}

// translation is what the gateway makes of the connection's addresses.
func translation(p *conntrack.Pinhole) string {
	var said []string
	if p.Outside.IsValid() {
		said = append(said, "sent to "+p.Outside.String())
	}
	if p.SeenAs.IsValid() {
		said = append(said, "seen as coming from "+p.SeenAs.String())
	}
	return strings.Join(said, ", ")
}

func observed(r *conntrack.Record) string {
	if !r.Observed {
		return ""
	}
	return "observed only: nothing was opened"
}

func after(open, use *conntrack.Record) string {
	if open == nil {
		return ""
	}
	return use.Time.Sub(open.Time).Round(time.Millisecond).String() + " after it was opened"
}

// lasted is how long the connection lasted, or a pinhole that was never used.
func lasted(c *conntrack.Record) string {
	switch {
	case c.Reason == conntrack.Lost:
		return "it is not known when"
	case c.Pinhole.SrcPort == 0:
		return "after " + c.Duration.Round(time.Millisecond).String()
	}
	return "after a connection of " + c.Duration.Round(time.Millisecond).String()
}

func because(r *conntrack.Record) string {
	if meaning, ok := meanings[r.Reason]; ok {
		return meaning
	}
	return cell.Of(string(r.Reason))
}
