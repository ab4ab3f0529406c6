package main

import (
	"fmt"
	"path/filepath"

	"ftpinhole/cmd/internal/config"

	"github.com/spf13/cobra"
)

// settings are a verb's flags that stand over keys of the configuration file.
type settings struct {
	cmd  *cobra.Command
	path string
	// given has the flags' values; keys says which key each flag sets.
	given config.Config
	keys  map[string]func(c, given *config.Config)
}

// newSettings adds --config to the verb.
func newSettings(cmd *cobra.Command) *settings {
	s := &settings{cmd: cmd, given: config.Default(), keys: make(map[string]func(c, given *config.Config))}
	cmd.Flags().StringVar(&s.path, "config", config.DefaultPath, "configuration `file`")
	return s
}

// ports adds --ports.
func (s *settings) ports() {
	s.cmd.Flags().Var((*portList)(&s.given.Ports), "ports", "control ports of FTP servers")
	s.keys["ports"] = func(c, given *config.Config) { c.Ports = given.Ports }
}

// mark adds --mark.
func (s *settings) mark() {
	s.cmd.Flags().Var((*markBit)(&s.given.Mark), "mark", "bit of the conntrack mark that data connections carry")
	s.keys["mark"] = func(c, given *config.Config) { c.Mark = given.Mark }
}

// all adds every flag of run.
func (s *settings) all() {
	s.ports()
	s.mark()
	f, g := s.cmd.Flags(), &s.given
	f.StringSliceVar(&g.Hooks, "hooks", g.Hooks, "where sessions are read: forward, input, output")
	s.keys["hooks"] = func(c, given *config.Config) { c.Hooks = given.Hooks }
	f.Uint16Var(&g.QueueNum, "queue-num", g.QueueNum, "`number` of the first netfilter queue")
	s.keys["queue-num"] = func(c, given *config.Config) { c.QueueNum = given.QueueNum }
	f.IntVar(&g.Queues, "queues", g.Queues, "how many queues; 0: one for each CPU, up to 4")
	s.keys["queues"] = func(c, given *config.Config) { c.Queues = given.Queues }
	f.StringVar(&g.Backend, "backend", g.Backend, "what makes the pinholes: auto, expect, nft")
	s.keys["backend"] = func(c, given *config.Config) { c.Backend = given.Backend }
	f.StringVar(&g.Socket, "socket", g.Socket, "control `socket`")
	s.keys["socket"] = func(c, given *config.Config) { c.Socket = given.Socket }
	f.StringVar(&g.StateDir, "state-dir", g.StateDir, "`directory` for what is kept between runs")
	s.keys["state-dir"] = func(c, given *config.Config) { c.StateDir = given.StateDir }
	f.StringVar(&g.AuditLog, "audit-log", g.AuditLog, "audit `file`")
	s.keys["audit-log"] = func(c, given *config.Config) { c.AuditLog = given.AuditLog }
	f.StringVar(&g.Metrics, "metrics", g.Metrics, "`address` for Prometheus: host:port or unix:/path; none by default")
	s.keys["metrics"] = func(c, given *config.Config) { c.Metrics = given.Metrics }
	f.DurationVar(&g.PinholeTimeout.Duration, "pinhole-timeout", g.PinholeTimeout.Duration, "how long a pinhole waits for its connection, 1s to 300s")
	s.keys["pinhole-timeout"] = func(c, given *config.Config) { c.PinholeTimeout = given.PinholeTimeout }
	f.StringVar(&g.LogFormat, "log-format", g.LogFormat, "the daemon's own log: text, json")
	s.keys["log-format"] = func(c, given *config.Config) { c.LogFormat = given.LogFormat }
	f.StringVar(&g.LogLevel, "log-level", g.LogLevel, "debug, info, warn or error")
	s.keys["log-level"] = func(c, given *config.Config) { c.LogLevel = given.LogLevel }
	f.BoolVar(&g.Observe, "observe", g.Observe, "decide and record, but open nothing")
	s.keys["observe"] = func(c, given *config.Config) { c.Observe = given.Observe }
}

// load reads the configuration and puts the flags that were given over it. A
// path in a flag may be relative to where the verb was started.
func (s *settings) load() (config.Config, error) {
	c, err := config.Load(s.path, s.cmd.Flags().Changed("config"))
	if err != nil {
		return config.Config{}, exitError{exitConfig, err}
	}
	for _, path := range []*string{&s.given.Socket, &s.given.StateDir, &s.given.AuditLog} {
		if *path, err = filepath.Abs(*path); err != nil {
			return config.Config{}, fmt.Errorf("%w; name paths from the root on", err)
		}
	}
	for flag, set := range s.keys {
		if s.cmd.Flags().Changed(flag) {
			set(&c, &s.given)
		}
	}
	if err := c.Validate(); err != nil { // the file was fine: it is the flags
		return config.Config{}, exitError{exitUsage, fmt.Errorf("%w; see: %s --help", err, s.cmd.CommandPath())}
	}
	return c, nil
}
