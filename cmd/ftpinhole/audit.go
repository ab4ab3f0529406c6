package main

import (
	"fmt"
	"path/filepath"
	"time"

	"ftpinhole/cmd/internal/config"
	"ftpinhole/cmd/internal/trail"

	"github.com/spf13/cobra"
)

// maxAudited bounds --limit: the records are held in memory, so that a pager
// does not hold the database.
const maxAudited = 100000

func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Ask who opened which data port, and what came of it",
		Long: `Ask the audit trail: which data ports were opened, used, closed or refused, for
whom and why. The newest records are listed, the newest last. All filters must
match. Of --client, --server and --reason there may be several, with commas
between them or each with its flag, and one of them must match; the other filters
may be given once.

Times are a length of time before now, like 90m, 1h or 2d, or a date or a time
as 2026-11-20, 2026-11-20T10:00:00Z; without a zone they are UTC.

The trail is a database in the daemon's state directory, which root and the
group of its directory may read; no daemon need run.`,
		Args: cobra.NoArgs,
	}
	a := newAuditing(cmd)
	format := oneOf("table", "json", "jsonl", "csv")
	cmd.Flags().VarP(format, "output", "o", "format")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.ask(func(r *trail.Reader, f trail.Filter) error {
			limit := f.Limit
			f.Limit++
			records, err := r.Find(cmd.Context(), f)
			if err != nil {
				return err
			}
			more := len(records) > limit
			if more {
				records = records[1:] // the oldest
			}
			err = printRecords(cmd.OutOrStdout(), format.value, records)
			if err == nil && more {
				fmt.Fprintf(cmd.ErrOrStderr(), "ftpinhole: only the newest %d are listed; see --limit, --until\n", limit)
			}
			return err
		})
	}
	cmd.AddCommand(newAuditSummary(), newAuditShow())
	return cmd
}

// auditing are the flags of a verb that asks the audit trail by a filter.
type auditing struct {
	*settings
	since, until     moment
	clients, servers prefixes
	user             userName
	port             int
	action           *choice
	reasons          words
	limit            int
}

func newAuditing(cmd *cobra.Command) *auditing {
	a := &auditing{settings: trailSettings(cmd), action: oneOf(append([]string{""}, actionWords...)...), limit: 1000}
	f := cmd.Flags()
	f.Var(&once{Value: &a.since}, "since", "from this time on")
	f.Var(&once{Value: &a.until}, "until", "before this time, which is not in it")
	f.Var(&a.clients, "client", "client of the control session, addresses or prefixes")
	f.Var(&a.servers, "server", "its server, addresses or prefixes")
	f.Var(&once{Value: &a.user}, "user", "name that was logged in with")
	f.Var(&once{Value: bounded{&a.port, 1, 65535}}, "port", "data port, also as it is from outside, before NAT")
	f.Var(&once{Value: named{a.action, "word"}}, "action", "open, use, close, deny, start or end")
	f.Var(&a.reasons, "reason", "why it was closed, refused or ended, like expired,blocked")
	f.Var(bounded{&a.limit, 1, maxAudited}, "limit", fmt.Sprintf("how many are listed at most, 1 to %d", maxAudited))
	return a
}

// trailSettings are the flags by which a verb finds the audit trail.
func trailSettings(cmd *cobra.Command) *settings {
	s := newSettings(cmd)
	cmd.Flags().StringVar(&s.given.StateDir, "state-dir", s.given.StateDir, "the daemon's state `directory`")
	s.keys["state-dir"] = func(c, given *config.Config) { c.StateDir = given.StateDir }
	return s
}

// ask opens the trail and calls f with the filter of the flags.
func (a *auditing) ask(f func(*trail.Reader, trail.Filter) error) error {
	filter, err := a.filter(time.Now())
	if err != nil {
		return exitError{exitUsage, fmt.Errorf("%w; see: %s --help", err, a.cmd.CommandPath())}
	}
	r, err := a.open()
	if err != nil {
		return err
	}
	defer r.Close()
	return f(r, filter)
}

// open opens the trail in the state directory.
func (s *settings) open() (*trail.Reader, error) {
	c, err := s.load()
	if err != nil {
		return nil, err
	}
	return trail.OpenReader(filepath.Join(c.StateDir, trail.FileName))
}

func (a *auditing) filter(now time.Time) (trail.Filter, error) {
	f := trail.Filter{
		Since: a.since.before(now), Until: a.until.before(now),
		Clients: a.clients, Servers: a.servers, User: string(a.user), Port: uint16(a.port),
		Action: actionOf(a.action.value), Reasons: a.reasons, Limit: a.limit,
	}
	switch {
	case f.Since.IsZero() || f.Until.IsZero() || f.Since.Before(f.Until):
	case f.Since.Equal(f.Until):
		return f, fmt.Errorf("--since %s --until %s is no time at all, for --until is not in it; give --until %s", &a.since, &a.until, a.until.next(now))
	default:
		return f, fmt.Errorf("--since %s is not before --until %s; exchange them", &a.since, &a.until)
	}
	return f, nil
}
