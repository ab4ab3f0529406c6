package probe

import (
	"context"
	"fmt"
)

// Level says how bad a row is.
type Level uint8

// The levels. Only an Error keeps sessions from working.
const (
	OK Level = iota
	Warning
	Error
)

// String gives the word that check prints.
func (l Level) String() string { return [...]string{"ok", "warning", "error"}[min(l, Error)] }

// Cause sorts errors for the exit code.
type Cause uint8

// The causes. A row that has none of them is about the ruleset or the system.
const (
	Other      Cause = iota
	BadConfig        // the configuration is wrong
	Permission       // CAP_NET_ADMIN is missing
	Missing          // the kernel lacks a feature
)

// Row is one finding.
type Row struct {
	Name   string
	Level  Level
	Cause  Cause
	Detail string
	Mend   string // what to do; empty if nothing
}

// Config is what is to be looked at.
type Config struct {
	Ports    []uint16 // control ports
	Hooks    []string // "forward", "input", "output"
	QueueNum uint16
	Queues   int
	Mark     uint32 // the ct mark bit of pinholes
	Table    string // our own table, family inet; not judged
	// Backend is what is to make the pinholes: "auto", "expect" or "nft".
	Backend string
	// BesideHelper: the kernel's FTP helper on our ports is meant to be there.
	BesideHelper bool
}

// Run gives all rows, in the order in which one would mend them. It takes a
// second or so, and no longer than the kernel takes for each answer.
func Run(ctx context.Context, cfg Config) []Row {
	rows := []Row{capabilities()}
	if rows[0].Level == Error {
		return rows // all else would fail for the same reason
	}
	k, err := dialKernel()
	if err != nil {
		return append(rows, Row{
			Name: "nft", Level: Error, Cause: Missing, Detail: err.Error(),
			Mend: "the kernel needs CONFIG_NETFILTER_NETLINK",
		})
	}
	defer k.Close()
	rs, err := k.ruleset()
	if err != nil {
		rows = append(rows, Row{
			Name: "nft", Level: Error, Cause: Missing, Detail: fmt.Sprintf("the ruleset cannot be read: %v", err),
			Mend: "the kernel needs nf_tables (Linux 5.11 or later): modprobe nf_tables",
		})
	} else {
		rows = append(rows, k.nft()...)
	}
	rows = append(rows, k.queue(cfg, rs))
	backend, expects := expectations(cfg)
	rows = append(rows, backend)
	rows = append(rows, k.conntrackRows(ctx)...)
	rows = append(rows, accounting(), window(), forgotten(), landlocked(), kernelVersion(expects))
	if rs != nil {
		rows = append(rows, acceptLines(rs, cfg, expects)...)
		rows = append(rows, openRanges(rs, cfg)...)
		rows = append(rows, helpers(rs, cfg)...)
		rows = append(rows, flowtables(rs, cfg)...)
		rows = append(rows, untracked(rs, cfg)...)
		rows = append(rows, marks(rs, cfg)...)
	}
	return rows
}

// Helpers looks only for the kernel's FTP helper on our ports: two helpers of
// one session would both open ports, and rewrite addresses twice.
func Helpers(cfg Config) ([]Row, error) {
	k, err := dialKernel()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	rs, err := k.ruleset()
	if err != nil {
		return nil, err
	}
	return helpers(rs, cfg), nil
}
