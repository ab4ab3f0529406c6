package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ftpinhole/rules"

	"github.com/google/go-cmp/cmp"
)

// files writes name and content pairs to a directory and returns it.
func files(t *testing.T, pairs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(pairs); i += 2 {
		path := filepath.Join(dir, pairs[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(pairs[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoad(t *testing.T) {
	dir := files(t, "f.toml", `
ports = [21, 2121]
hooks = ["forward", "input", "output"]
queue_num = 7
queues = 2
backend = "nft"
mark = 0x01000000
socket = "/tmp/s"
state_dir = "/tmp/d"
audit_log = "/tmp/a"
pinhole_timeout = "1m30s"
pinhole_timeout_max = "10m"
log_format = "json"
log_level = "debug"
observe = true
local_active = true
fail = "closed"
[policy]
modes = ["passive"]
[[policy.rule]]
clients = ["10.0.0.0/8"]
wait_for_2xx = true
[nat]
ports = [20000, 29999]
[limits]
sessions = 10
[audit]
required = true
keep_days = 7
max_size_mb = 64
`)
	passive, yes := []string{"passive"}, true
	want := Config{
		Ports: []uint16{21, 2121}, Hooks: []string{"forward", "input", "output"}, QueueNum: 7, Queues: 2, Backend: "nft",
		Mark: 0x01000000, Socket: "/tmp/s", StateDir: "/tmp/d", AuditLog: "/tmp/a", PinholeTimeout: Duration{90 * time.Second}, PinholeTimeoutMax: Duration{10 * time.Minute},
		LogFormat: "json", LogLevel: "debug", Observe: true, LocalActive: true, Fail: FailClosed,
		Policy: rules.Config{
			Settings: rules.Settings{Modes: passive},
			Rules:    []rules.Rule{{Clients: []string{"10.0.0.0/8"}, Settings: rules.Settings{WaitFor2xx: &yes}}},
		},
		NAT:    NAT{Ports: []uint16{20000, 29999}},
		Limits: Default().Limits,
		Audit:  Audit{Required: true, KeepDays: 7, MaxSizeMB: 64},
	}
	want.Limits.Sessions = 10
	got, err := Load(filepath.Join(dir, "f.toml"), true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := got.NewPolicy(); err != nil {
		t.Error(err)
	}
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.toml")
	got, err := Load(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := Load(path, true); err == nil || !strings.Contains(err.Error(), "none.toml") || !strings.Contains(err.Error(), "--config") {
		t.Errorf("a missing named file: %v", err)
	}
}

// Later files win, in lexical order; lists are replaced, rules add up.
func TestConfD(t *testing.T) {
	for _, explicit := range []bool{true, false} {
		dir := files(t,
			"f.toml", "ports = [1, 2]\nqueue_num = 1\n[[policy.rule]]\nclients = ['10.0.0.1']\n[limits]\nsessions = 5\n",
			"conf.d/20.toml", "queue_num = 20\n[[policy.rule]]\nclients = ['10.0.0.20']\n",
			"conf.d/10.toml", "queue_num = 10\nports = [3]\n[limits]\npinholes = 6\n[[policy.rule]]\nclients = ['10.0.0.10']\n",
			"conf.d/30.toml.bak", "nonsense",
			"conf.d/99", "nonsense")
		got, err := Load(filepath.Join(dir, "f.toml"), explicit)
		if err != nil {
			t.Fatal(err)
		}
		want := Default()
		want.Ports, want.QueueNum, want.Limits.Sessions, want.Limits.Pinholes = []uint16{3}, 20, 5, 6
		want.Policy.Rules = []rules.Rule{{Clients: []string{"10.0.0.1"}}, {Clients: []string{"10.0.0.10"}}, {Clients: []string{"10.0.0.20"}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// Each error has file and line, the key, what is wrong and what to do.
func TestErrors(t *testing.T) {
	tests := []struct{ name, doc, want string }{
		{"unknown key", "\nportz = [21]", `f.toml:2: unknown key "portz"; correct its spelling, or remove it`},
		{"unknown keys", "a = 1\nb = 2", "f.toml:1: unknown key \"a\"; correct its spelling, or remove it\nf.toml:2: unknown key \"b\"; correct its spelling, or remove it"},
		{"unknown key in a table", "[policy]\n\nx = 1", `f.toml:3: unknown key "policy.x"; correct its spelling, or remove it`},
		{"unknown key in a rule", "[[policy.rule]]\nx = 1", `f.toml:2: unknown key "policy.rule.x"; correct its spelling, or remove it`},
		{"unknown table", "[polizei]", `f.toml:1: unknown key "polizei"; correct its spelling, or remove it`},
		{"capitals", "queue_num = 1\nPorts = [21]", `f.toml:2: unknown key "Ports"; correct its spelling, or remove it`},
		{"moved key", "[policy]\nlocal_active = true", `f.toml:2: unknown key "policy.local_active"; correct its spelling, or remove it`},
		{"not TOML", "ports = [21]\nhooks", `f.toml:2:5: not TOML: expected '=' after key; correct that line`},
		{"twice", "queues = 1\nqueues = 2", `f.toml:2: queues: key queues is already defined; correct that line`},
		{"text for a number", "\n\nqueue_num = 'x'", `f.toml:3: queue_num: this is of type string; write a number from 0 to 65535`},
		{"number for a text", "socket = 1", `f.toml:1: socket: this is of type integer; write text in quotes`},
		{"number for a list", "ports = 21", `f.toml:1: ports: this is of type integer; write a list of numbers, like [21, 2121]`},
		{"text in a list", "ports = [21, 'x']", `f.toml:1: ports: this is of type string; write a number from 0 to 65535`},
		{"text for a truth", "observe = 'yes'", `f.toml:1: observe: this is of type string; write true or false`},
		{"text for a truth in the policy", "[policy]\nallow = 'yes'", `f.toml:2: policy.allow: this is of type string; write true or false`},
		{"number for a table", "limits = 3", `f.toml:1: limits: this is of type integer; write a table, as the reference configuration has it`},
		{"number for a duration", "pinhole_timeout = 30", `f.toml:1: pinhole_timeout: this is no time; write "1s" to "300s", in quotes and with the unit`},
		{"truth for a duration", "pinhole_timeout = true", `f.toml:1: pinhole_timeout: this is no time; write "1s" to "300s", in quotes and with the unit`},
		{"list for a duration", "pinhole_timeout = [1]", `f.toml:1: pinhole_timeout: this is of type array; write a duration in quotes, like "30s"`},
		{"duration without unit", "pinhole_timeout = '30'", `f.toml:1: pinhole_timeout: this is no time; write "1s" to "300s", in quotes and with the unit`},
		{"port over 16 bits", "ports = [70000]", `f.toml:1: ports: integer value 70000 is out of range; write a number from 0 to 65535`},
		{"negative queue", "queue_num = -1", `f.toml:1: queue_num: negative integer value -1 is out of range; write a number from 0 to 65535`},

		{"no port", "ports = []", `f.toml:1: ports: there are 0; write 1 to 64 ports, like [21]`},
		{"port 0", "\nports = [21, 0]", `f.toml:2: ports: 0 is no port; write 1 to 65535`},
		{"port twice", "ports = [21, 21]", `f.toml:1: ports: 21 is there twice; remove one`},
		{"no hook", "hooks = []", `f.toml:1: hooks: there are none; write at least one of "forward", "input", "output"`},
		{"hook", "hooks = ['prerouting']", `f.toml:1: hooks: "prerouting" is none; write "forward", "input" or "output"`},
		{"hook twice", "hooks = ['input', 'input']", `f.toml:1: hooks: "input" is there twice; remove one`},
		{"queues", "queues = 65", `f.toml:1: queues: 65 is out of range; write 1 to 64, or 0 for one a CPU`},
		{"last queue", "queue_num = 65533\nqueues = 2", `f.toml:1: queue_num: 65533 and the 4 queues from there (2 of them for rewritten sessions) end at 65536; write at most 65532`},
		{"backend", "backend = 'pf'", `f.toml:1: backend: "pf" is none; write "auto", "expect" or "nft"`},
		{"mark of two bits", "mark = 3", `f.toml:1: mark: 0x3 is not one bit outside of 0x60000000, which is reserved; write one bit, like 0x10000000`},
		{"mark 0", "mark = 0", `f.toml:1: mark: 0x0 is not one bit outside of 0x60000000, which is reserved; write one bit, like 0x10000000`},
		{"reserved mark", "mark = 0x20000000", `f.toml:1: mark: 0x20000000 is not one bit outside of 0x60000000, which is reserved; write one bit, like 0x10000000`},
		{"relative path", "audit_log = 'a'", `f.toml:1: audit_log: "a" is not an absolute path; write it from the root on`},
		{"metrics without a host", "metrics = ':9521'", `f.toml:1: metrics: ":9521" is no address and port; write an address and port like "127.0.0.1:9521", "unix:/run/ftpinhole/metrics.sock", or "" for none`},
		{"metrics without a port", "metrics = 'localhost'", `f.toml:1: metrics: "localhost" is no address and port; write an address and port like "127.0.0.1:9521", "unix:/run/ftpinhole/metrics.sock", or "" for none`},
		{"metrics port 0", "metrics = '[::1]:0'", `f.toml:1: metrics: "[::1]:0" is no address and port; write an address and port like "127.0.0.1:9521", "unix:/run/ftpinhole/metrics.sock", or "" for none`},
		{"metrics socket", "metrics = 'unix:m.sock'", `f.toml:1: metrics: "m.sock" is not an absolute path; write an address and port like "127.0.0.1:9521", "unix:/run/ftpinhole/metrics.sock", or "" for none`},
		{"timeout too short", "pinhole_timeout = '999ms'", `f.toml:1: pinhole_timeout: 999ms is out of range; write "1s" to "300s"`},
		{"longest timeout no duration", "pinhole_timeout_max = 300", `f.toml:1: pinhole_timeout_max: this is no time; write "1s" to "3600s", in quotes and with the unit`},
		{"longest timeout too short", "pinhole_timeout_max = '999ms'", `f.toml:1: pinhole_timeout_max: 999ms is out of range; write "1s" to "3600s"`},
		{"longest timeout too long", "pinhole_timeout_max = '3601s'", `f.toml:1: pinhole_timeout_max: 1h0m1s is out of range; write "1s" to "3600s"`},
		{"longest timeout below the usual one", "pinhole_timeout_max = '29s'", `f.toml:1: pinhole_timeout_max: 29s is less than pinhole_timeout, 30s; write at least that`},
		{"timeout too long", "pinhole_timeout = '301s'", `f.toml:1: pinhole_timeout: 5m1s is out of range; write "1s" to "300s"`},
		{"log format", "log_format = 'xml'", `f.toml:1: log_format: "xml" is none; write "text" or "json"`},
		{"log level", "log_level = 'loud'", `f.toml:1: log_level: "loud" is none; write "debug", "info", "warn" or "error"`},
		{"fail", "fail = 'shut'", `f.toml:1: fail: "shut" is none; write "open" or "closed"`},
		{"no ports for NAT", "[nat]\nports = []", `f.toml:2: nat.ports: there are 0; write two, the lowest and the highest, like [49152, 65535]`},
		{"one port for NAT", "[nat]\nports = [49152]", `f.toml:2: nat.ports: there are 1; write two, the lowest and the highest, like [49152, 65535]`},
		{"three ports for NAT", "nat.ports = [2000, 3000, 4000]", `f.toml:1: nat.ports: there are 3; write two, the lowest and the highest, like [49152, 65535]`},
		{"privileged ports for NAT", "[nat]\nports = [1023, 65535]", `f.toml:2: nat.ports: 1023 is a privileged port; write 1024 or more as the lowest`},
		{"few ports for NAT", "[nat]\nports = [2000, 2998]", `f.toml:2: nat.ports: 2000 to 2998 are less than 1000 ports; write more, like [49152, 65535]`},
		{"ports for NAT the wrong way", "[nat]\nports = [65535, 49152]", `f.toml:2: nat.ports: 65535 to 49152 are less than 1000 ports; write more, like [49152, 65535]`},
		{"address of a 227", "[[policy.rule]]\npasv_address = 'any'", `f.toml:2: policy.rule[0].pasv_address: "any" is none: write "own", "peer" or "keep"`},
		{"address of PORT", "[policy]\nport_address = 'peer'", `f.toml:2: policy.port_address: "peer" is none: write "own" or "keep"`},
		{"line_bytes", "[limits]\nline_bytes = 511", `f.toml:2: limits.line_bytes: 511 is out of range; write 512 to 65536`},
		{"limits, dotted", "limits.half_open = 0", `f.toml:1: limits.half_open: 0 is out of range; write 1 to 65536`},
		{"keep_days", "[audit]\nkeep_days = 0", `f.toml:2: audit.keep_days: 0 is out of range; write 1 to 36500`},
		{"keep_days as a duration", "[audit]\nkeep_days = '90d'", `f.toml:2: audit.keep_days: this is of type string; write a number`},
		{"max_size_mb", "[audit]\nmax_size_mb = 7", `f.toml:2: audit.max_size_mb: 7 is out of range; write 8 to 1048576`},
		{"policy", "[policy]\n# the\n# mode\nmodes = ['x']", `f.toml:4: policy.modes: "x" is not a mode: write "active", "passive" or both`},
		{"second rule", "[[policy.rule]]\nclients = ['10.0.0.1']\n[[policy.rule]]\nclients = ['10.0.0.1', 'bob']",
			`f.toml:4: policy.rule[1].clients[1]: "bob" is neither a prefix nor an address: write 192.0.2.0/24, 2001:db8::/32 or 192.0.2.1`},
		{"two at once", "queues = 99\nlog_level = 'x'", "f.toml:1: queues: 99 is out of range; write 1 to 64, or 0 for one a CPU\n" +
			`f.toml:2: log_level: "x" is none; write "debug", "info", "warn" or "error"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := files(t, "f.toml", tt.doc)
			_, err := Load(filepath.Join(dir, "f.toml"), true)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, strings.ReplaceAll(err.Error(), dir+"/", "")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorsInConfDNameTheirFile(t *testing.T) {
	dir := files(t, "f.toml", "queues = 1\n[[policy.rule]]\nallow = false\n",
		"conf.d/a.toml", "\nqueues = 99\n", "conf.d/b.toml", "\n\n[[policy.rule]]\nlowest_port = 0\n")
	_, err := Load(filepath.Join(dir, "f.toml"), true)
	for _, want := range []string{"conf.d/a.toml:2: queues:", "conf.d/b.toml:4: policy.rule[1].lowest_port:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
}

func TestUnreadable(t *testing.T) {
	dir := files(t, "dir/x", "", "big.toml", strings.Repeat("# comment\n", maxFile/10+1),
		"fine.toml", strings.Repeat("#\n", maxFile/2), "other/f.toml", "", "other/conf.d", "a file")
	for name, want := range map[string]string{
		"dir":          "it must be a readable file",
		"big.toml":     "more than 1048576 bytes; split it",
		"other/f.toml": "make it readable",
	} {
		if _, err := Load(filepath.Join(dir, name), true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load(filepath.Join(dir, "fine.toml"), true); err != nil {
		t.Errorf("a file of just the greatest size: %v", err)
	}
}

func TestValidateAfterFlags(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	c.Mark = 0x40000000
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "mark: ") {
		t.Errorf("error %v", err)
	}
}

// What just fits is taken.
func TestBounds(t *testing.T) {
	c := Default()
	c.Queues, c.QueueNum = 2, 65532
	c.NAT.Ports = []uint16{1024, 2023}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// The policy knows what stands outside of [policy].
func TestNewPolicy(t *testing.T) {
	client, server := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	c := Default()
	c.Ports = []uint16{21, 2121}
	for _, local := range []bool{false, true} {
		c.LocalActive = local
		p, err := c.NewPolicy()
		if err != nil {
			t.Fatal(err)
		}
		r := rules.Request{Client: client, Server: server, ServerPort: 21, Endpoint: netip.AddrPortFrom(server, 2121)}
		if got := p.Decide(r); got != rules.DeniedPort {
			t.Errorf("a control port: %q", got)
		}
		r = rules.Request{Client: client, Server: server, ServerPort: 21, Active: true, ClientLocal: true, Endpoint: netip.AddrPortFrom(client, 5000)}
		if got := p.Decide(r); (got == "") != local {
			t.Errorf("local_active = %v: %q", local, got)
		}
	}
}

func TestQueueCount(t *testing.T) {
	c := Default()
	if n := c.QueueCount(); n < 1 || n > 4 {
		t.Errorf("%d queues by default", n)
	}
	c.Queues = 9
	if n := c.QueueCount(); n != 9 {
		t.Errorf("%d queues, want 9", n)
	}
}

// mend is what each error ends with.
var mend = regexp.MustCompile(`[;:,] (write|correct|remove|or write) `)

// Error xor a valid configuration, whatever the bytes.
func FuzzLoad(f *testing.F) {
	reference, err := os.ReadFile("reference.toml")
	if err != nil {
		f.Fatal(err)
	}
	// One seed for each key: the fuzzer takes a minute to minimize a large one.
	for line := range strings.Lines(string(uncommented(string(reference)))) {
		if !strings.HasPrefix(line, "#") {
			f.Add([]byte(line))
		}
	}
	for _, doc := range []string{"ports = [21", "[[policy.rule]]\nclients = ['::1']", "a.b.c = {d = 1}", "[policy]\n[policy]", "\"\\u0000\" = 1"} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		l := loader{config: Default()}
		err := l.document("f.toml", doc)
		if err == nil {
			err = l.validate()
		}
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !mend.MatchString(line) {
					t.Errorf("%q does not say what to do", line)
				}
			}
			return
		}
		c := l.config
		if err := c.Validate(); err != nil {
			t.Errorf("loaded, but %v", err)
		}
		if _, err := c.NewPolicy(); err != nil {
			t.Errorf("loaded, but %v", err)
		}
		if len(c.Ports) == 0 || len(c.Hooks) == 0 || c.Mark&0x60000000 != 0 || c.Mark == 0 || c.PinholeTimeout.Duration <= 0 || c.PinholeTimeoutMax.Duration < c.PinholeTimeout.Duration ||
			len(c.NAT.Ports) != 2 || c.Limits.LineBytes < 512 || c.QueueCount() < 1 || strings.Contains(fmt.Sprint(c.Ports), "[0") {
			t.Errorf("valid, but %+v", c)
		}
	})
}
