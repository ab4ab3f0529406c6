package config

import (
	"errors"
	"fmt"
	"math/bits"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxPorts  = 64
	maxQueues = 64
	// reservedMark are the bits kept for control sessions.
	reservedMark = 0x60000000
	minTimeout   = time.Second
	maxTimeout   = 300 * time.Second
	// maxTimeoutMax is less than the day for which a used pinhole stays used.
	maxTimeoutMax = 3600 * time.Second
	// minNATPorts leaves enough to find a free one by chance.
	minNATPorts = 1000
)

// keyError is a value that will not do. The text begins with what is wrong and
// ends with what to do.
type keyError struct{ key, text string }

func (e keyError) Error() string { return e.key + ": " + e.text }

// Validate checks the values, also those that flags have set since Load. The
// error joins one for each that will not do, beginning with its key.
func (c *Config) Validate() error {
	var errs []error
	for _, e := range c.problems() {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

func (c *Config) problems() []keyError {
	var out []keyError
	bad := func(key, format string, args ...any) {
		out = append(out, keyError{key, fmt.Sprintf(format, args...)})
	}
	c.checkPorts(bad)
	c.checkHooks(bad)
	if c.Queues < 0 || c.Queues > maxQueues {
		bad("queues", "%d is out of range; write 1 to %d, or 0 for one a CPU", c.Queues, maxQueues)
	} else if n := c.QueueCount() + RewriteQueues; int(c.QueueNum)+n > 65536 {
		bad("queue_num", "%d and the %d queues from there (%d of them for rewritten sessions) end at %d; write at most %d",
			c.QueueNum, n, RewriteQueues, int(c.QueueNum)+n-1, 65536-n)
	}
	if !slices.Contains([]string{Auto, Expect, Nft}, c.Backend) {
		bad("backend", `%q is none; write %q, %q or %q`, c.Backend, Auto, Expect, Nft)
	}
	if bits.OnesCount32(c.Mark) != 1 || c.Mark&reservedMark != 0 {
		bad("mark", "%#x is not one bit outside of %#x, which is reserved; write one bit, like 0x10000000", c.Mark, reservedMark)
	}
	for _, p := range []struct{ key, path string }{{"socket", c.Socket}, {"state_dir", c.StateDir}, {"audit_log", c.AuditLog}} {
		if !filepath.IsAbs(p.path) || strings.ContainsRune(p.path, 0) {
			bad(p.key, "%q is not an absolute path; write it from the root on", p.path)
		}
	}
	c.checkMetrics(bad)
	c.checkTimeouts(bad)
	if c.LogFormat != "text" && c.LogFormat != "json" {
		bad("log_format", `%q is none; write "text" or "json"`, c.LogFormat)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		bad("log_level", `%q is none; write "debug", "info", "warn" or "error"`, c.LogLevel)
	}
	if c.Fail != FailOpen && c.Fail != FailClosed {
		bad("fail", `%q is none; write "open" or "closed"`, c.Fail)
	}
	c.NAT.check(bad)
	c.Limits.check(bad)
	c.Audit.check(bad)
	c.checkPolicy(bad)
	return out
}

func (c *Config) checkTimeouts(bad func(key, format string, args ...any)) {
	usual, longest := c.PinholeTimeout.Duration, c.PinholeTimeoutMax.Duration
	switch {
	case usual == 0:
		bad("pinhole_timeout", `this is no time; write "1s" to "300s", in quotes and with the unit`)
	case usual < minTimeout || usual > maxTimeout:
		bad("pinhole_timeout", `%v is out of range; write "1s" to "300s"`, usual)
	}
	switch {
	case longest == 0:
		bad("pinhole_timeout_max", `this is no time; write "1s" to "3600s", in quotes and with the unit`)
	case longest < minTimeout || longest > maxTimeoutMax:
		bad("pinhole_timeout_max", `%v is out of range; write "1s" to "3600s"`, longest)
	case longest < usual && usual <= maxTimeout:
		bad("pinhole_timeout_max", "%v is less than pinhole_timeout, %v; write at least that", longest, usual)
	}
}

func (c *Config) checkPorts(bad func(key, format string, args ...any)) {
	if len(c.Ports) == 0 || len(c.Ports) > maxPorts {
		bad("ports", "there are %d; write 1 to %d ports, like [21]", len(c.Ports), maxPorts)
	}
	for i, p := range c.Ports {
		if p == 0 {
			bad("ports", "0 is no port; write 1 to 65535")
		}
		if slices.Contains(c.Ports[:i], p) {
			bad("ports", "%d is there twice; remove one", p)
		}
	}
}

func (c *Config) checkHooks(bad func(key, format string, args ...any)) {
	if len(c.Hooks) == 0 {
		bad("hooks", `there are none; write at least one of "forward", "input", "output"`)
	}
	for i, h := range c.Hooks {
		if !slices.Contains([]string{"forward", "input", "output"}, h) {
			bad("hooks", `%q is none; write "forward", "input" or "output"`, h)
		}
		if slices.Contains(c.Hooks[:i], h) {
			bad("hooks", "%q is there twice; remove one", h)
		}
	}
}

// checkMetrics wants a host: all addresses of a gateway would be too many by
// mistake.
func (c *Config) checkMetrics(bad func(key, format string, args ...any)) {
	const mend = `write an address and port like "127.0.0.1:9521", "unix:/run/ftpinhole/metrics.sock", or "" for none`
	if path, ok := c.MetricsSocket(); ok {
		if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
			bad("metrics", "%q is not an absolute path; %s", path, mend)
		}
		return
	}
	if c.Metrics == "" {
		return
	}
	host, port, err := net.SplitHostPort(c.Metrics)
	if n, bound := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bound != nil || n == 0 {
		bad("metrics", "%q is no address and port; %s", c.Metrics, mend)
	}
}

func (n *NAT) check(bad func(key, format string, args ...any)) {
	if len(n.Ports) != 2 {
		bad("nat.ports", "there are %d; write two, the lowest and the highest, like [49152, 65535]", len(n.Ports))
		return
	}
	switch low, high := n.Ports[0], n.Ports[1]; {
	case low < 1024:
		bad("nat.ports", "%d is a privileged port; write 1024 or more as the lowest", low)
	case int(high)-int(low)+1 < minNATPorts:
		bad("nat.ports", "%d to %d are less than %d ports; write more, like [49152, 65535]", low, high, minNATPorts)
	}
}

func (l *Limits) check(bad func(key, format string, args ...any)) {
	for _, r := range []struct {
		key               string
		value, least, max int
	}{
		{"line_bytes", l.LineBytes, 512, 65536},
		{"commands_outstanding", l.CommandsOutstanding, 1, 1024},
		{"pinholes_per_client", l.PinholesPerClient, 1, 65536},
		{"pinholes", l.Pinholes, 1, 65536},
		{"sessions", l.Sessions, 1, 1 << 20},
		{"sessions_per_client", l.SessionsPerClient, 1, 1 << 20},
		{"half_open", l.HalfOpen, 1, 65536},
	} {
		if r.value < r.least || r.value > r.max {
			bad("limits."+r.key, "%d is out of range; write %d to %d", r.value, r.least, r.max)
		}
	}
}

func (a *Audit) check(bad func(key, format string, args ...any)) {
	if a.KeepDays < 1 || a.KeepDays > 36500 {
		bad("audit.keep_days", "%d is out of range; write 1 to 36500", a.KeepDays)
	}
	if a.MaxSizeMB < 8 || a.MaxSizeMB > 1<<20 {
		bad("audit.max_size_mb", "%d is out of range; write 8 to %d", a.MaxSizeMB, 1<<20)
	}
}

// checkPolicy asks package rules, whose errors begin with the key.
func (c *Config) checkPolicy(bad func(key, format string, args ...any)) {
	_, err := c.NewPolicy()
	if err == nil {
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		key, text, _ := strings.Cut(line, ": ")
		bad(key, "%s", text)
	}
}
