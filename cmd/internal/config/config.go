package config

import (
	"runtime"
	"strings"
	"time"

	"ftpinhole/rules"
)

// DefaultPath is the file that is read when none is named. It may be missing.
const DefaultPath = "/etc/ftpinhole/ftpinhole.toml"

// What makes the pinholes.
const (
	Auto   = "auto"   // Expect where the kernel can, else Nft
	Expect = "expect" // expectations of conntrack
	Nft    = "nft"    // sets of our own table
)

// Config is all that the daemon can be told. The keys are the names of run's
// flags with underscores; what has no flag is in tables.
type Config struct {
	Ports          []uint16 `toml:"ports"` // control ports of servers
	Hooks          []string `toml:"hooks"` // "forward", "input", "output"
	QueueNum       uint16   `toml:"queue_num"`
	Queues         int      `toml:"queues"`  // 0: see QueueCount
	Backend        string   `toml:"backend"` // Auto, Expect or Nft
	Mark           uint32   `toml:"mark"`    // one bit of the conntrack mark
	Socket         string   `toml:"socket"`
	StateDir       string   `toml:"state_dir"`
	AuditLog       string   `toml:"audit_log"`
	Metrics        string   `toml:"metrics"` // "", "host:port" or "unix:/path"
	PinholeTimeout Duration `toml:"pinhole_timeout"`
	// PinholeTimeoutMax is for pinholes whose transfer command has no final reply.
	PinholeTimeoutMax Duration `toml:"pinhole_timeout_max"`
	LogFormat         string   `toml:"log_format"` // "text" or "json"
	LogLevel          string   `toml:"log_level"`  // "debug", "info", "warn" or "error"
	Observe           bool     `toml:"observe"`
	LocalActive       bool     `toml:"local_active"`
	Fail              string   `toml:"fail"` // "open" or "closed": what becomes of control packets that nobody reads
	// AllowKernelHelper starts beside the kernel's FTP helper.
	AllowKernelHelper bool `toml:"allow_kernel_helper"`

	Policy rules.Config `toml:"policy"`
	NAT    NAT          `toml:"nat"`
	Limits Limits       `toml:"limits"`
	Audit  Audit        `toml:"audit"`
}

// NAT is about sessions whose addresses this machine translates.
type NAT struct {
	// Ports are the lowest and the highest port that is announced in place of one
	// that is taken on the outside address.
	Ports []uint16 `toml:"ports"`
}

// Audit is about the trail that `ftpinhole audit` asks, in the state directory.
type Audit struct {
	Required  bool `toml:"required"`    // open nothing that cannot be recorded
	KeepDays  int  `toml:"keep_days"`   // records that are older are deleted
	MaxSizeMB int  `toml:"max_size_mb"` // and the oldest ones beyond this size
}

// Limits bound what the daemon holds in memory (law 8).
type Limits struct {
	LineBytes           int `toml:"line_bytes"`           // bytes of a control line that are read
	CommandsOutstanding int `toml:"commands_outstanding"` // unanswered commands, a session
	PinholesPerClient   int `toml:"pinholes_per_client"`
	Pinholes            int `toml:"pinholes"`
	Sessions            int `toml:"sessions"`
	SessionsPerClient   int `toml:"sessions_per_client"`
	HalfOpen            int `toml:"half_open"` // sessions whose handshake is not completed
}

// Duration is a time.Duration that the file writes as text, like "30s".
type Duration struct{ time.Duration }

// UnmarshalText reads the form of time.ParseDuration. What has another form
// becomes 0, which Validate refuses: for an error from here, go-toml does not
// always know the line.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		v = 0
	}
	d.Duration = v
	return nil
}

// The values of Config.Fail.
const (
	FailOpen   = "open"
	FailClosed = "closed"
)

// Default is the configuration without any file.
func Default() Config {
	return Config{
		Ports:             []uint16{21},
		Hooks:             []string{"forward"},
		QueueNum:          2100,
		Backend:           Auto,
		Mark:              0x10000000,
		Socket:            "/run/ftpinhole/control.sock",
		StateDir:          "/var/lib/ftpinhole",
		AuditLog:          "/var/log/ftpinhole/audit.json",
		PinholeTimeout:    Duration{30 * time.Second},
		PinholeTimeoutMax: Duration{300 * time.Second},
		LogFormat:         "text",
		LogLevel:          "info",
		Fail:              FailOpen,
		NAT:               NAT{Ports: []uint16{49152, 65535}},
		Limits: Limits{
			LineBytes:           4096,
			CommandsOutstanding: 32,
			PinholesPerClient:   256,
			Pinholes:            4096,
			Sessions:            65536,
			SessionsPerClient:   1024,
			HalfOpen:            1024,
		},
		Audit: Audit{KeepDays: 90, MaxSizeMB: 1024},
	}
}

// QueueCount is how many queues sessions are spread over: one for each CPU, up to
// four, unless the configuration has a number. RewriteQueues follow them.
func (c *Config) QueueCount() int {
	if c.Queues == 0 {
		return min(runtime.NumCPU(), 4)
	}
	return c.Queues
}

// MetricsSocket is the path of the unix socket for metrics, if it is one.
func (c *Config) MetricsSocket() (path string, ok bool) { return strings.CutPrefix(c.Metrics, "unix:") }

// FailsClosed reports whether control packets that nobody reads are dropped.
func (c *Config) FailsClosed() bool { return c.Fail == FailClosed }

// RewriteQueues is how many queues come after the first QueueCount: for sessions
// in which an address was rewritten with another length, one in which their
// acknowledgements are read before conntrack sees them, and one for the rest.
const RewriteQueues = 2

// NewPolicy puts the policy in force, with what it needs of the other keys.
func (c *Config) NewPolicy() (*rules.Policy, error) {
	p := c.Policy
	p.ControlPorts = c.Ports
	p.LocalActive = c.LocalActive
	return rules.NewPolicy(p)
}
