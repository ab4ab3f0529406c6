package nft_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ftpinhole/rules/nft"
)

// golden reads what `nft list` prints for a table, in testdata.
func golden(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// statements takes the queue statement out of a listing, which depends on the
// kernel: "queue flags bypass to N", or what nft makes of an iptables target.
func statements(listing string) string {
	var out strings.Builder
	for line := range strings.Lines(listing) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, queue := range []string{" queue ", " xt target"} {
			if before, _, ok := strings.Cut(line, queue); ok {
				line = before + " QUEUE\n"
			}
		}
		out.WriteString(line)
	}
	return out.String()
}

func TestListing(t *testing.T) {
	for _, test := range []struct {
		file   string
		config nft.Config
		// The queues of sessions, of acknowledgements and of rewritten sessions.
		queues, acks, rewritten string
	}{
		{"forward.nft", forward(), "2100-2101", "2102", "2103"},
		{"input.nft", nft.Config{Ports: []uint16{21, 2121}, Hooks: []nft.Hook{nft.Input}, Mark: 0x8, ControlMark: 0x4, SetSize: 100, AckQueue: 77, RewriteQueue: 78}, " 0", "77", "78"},
		{"helper.nft", nft.Config{Ports: []uint16{21}, Hooks: []nft.Hook{nft.Forward, nft.Input}, Helper: "ftp"}, " 0", "1", "2"},
		{"all.nft", nft.Config{Ports: []uint16{21}, Hooks: []nft.Hook{nft.Forward, nft.Input, nft.Output}, Queues: 4, SourcePorts: true}, " 0-3", "4", "5"},
	} {
		t.Run(test.file, func(t *testing.T) {
			ns := newNamespace(t, "list")
			table := ns.installed(t, test.config)
			for _, again := range []string{"", ", installed again"} {
				listing := ns.run(t, "nft list table inet ftpinhole", "")
				for line := range strings.Lines(listing) {
					bypass := strings.Contains(line, "bypass")
					switch {
					case !strings.Contains(line, "queue"):
					case !strings.Contains(line, "@rewritten"):
						if !bypass || !strings.Contains(line, test.queues) {
							t.Errorf("no bypass, or not queues %s: %s", test.queues, line)
						}
					case strings.Contains(line, "ct mark set"):
						if bypass || !strings.HasSuffix(line, " "+test.rewritten+"\n") {
							t.Errorf("bypass, or not queue %s: %s", test.rewritten, line)
						}
					default:
						if bypass || !strings.HasSuffix(line, " "+test.acks+"\n") {
							t.Errorf("bypass, or not queue %s: %s", test.acks, line)
						}
					}
				}
				got := statements(listing)
				if diff := cmp.Diff(golden(t, test.file), got); diff != "" {
					t.Errorf("-want +got%s:\n%s", again, diff)
				}
				if err := table.Install(time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			if got := ns.run(t, "nft -j list ruleset", ""); !json.Valid([]byte(got)) {
				t.Errorf("nft -j list ruleset: no JSON: %s", got)
			}
		})
	}
}

func TestUninstallLeavesNothing(t *testing.T) {
	ns := newNamespace(t, "gone")
	table := ns.installed(t, forward())
	add(t, table, pinhole("a-1", "10.0.1.2", "10.0.2.2:50055"))
	for range 2 { // the second time it is gone already
		if err := table.Uninstall(); err != nil {
			t.Fatal(err)
		}
		if got := ns.run(t, "nft list ruleset", ""); got != "" {
			t.Errorf("left behind:\n%s", got)
		}
	}
	if ok, err := table.Verify(); ok || err != nil {
		t.Errorf("Verify of nothing: %v, %v", ok, err)
	}
	// What was open is not opened again.
	if err := table.Install(time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := ns.elements(t); got != "" {
		t.Errorf("opened again:\n%s", got)
	}
}

// Others never see a moment without the table while it is being replaced.
func TestInstallLeavesNoWindow(t *testing.T) {
	ns := newNamespace(t, "window")
	table, other := ns.installed(t, forward()), ns.table(t, forward())
	stop, looked := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				looked <- n
				return
			default:
			}
			// A question that is asked at the very moment may be about the
			// old table and be answered by the new one. The next is not.
			_, err := nft.Print(other)
			if errors.Is(err, unix.ENOENT) {
				_, err = nft.Print(other)
			}
			if errors.Is(err, unix.ENOENT) {
				t.Errorf("no table: %v", err)
			}
		}
	}()
	for range 100 {
		if err := table.Install(time.Now()); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	t.Logf("looked %d times", <-looked)
}

func TestVerify(t *testing.T) {
	for _, test := range []struct {
		name string
		do   string // by somebody else
		want bool
	}{
		{"nothing", ``, true},
		{"another table", `nft add table inet other; nft add chain inet other c`, true},
		{"an element", `nft flush set inet ftpinhole pinholes4`, true},
		{"flush ruleset", `nft flush ruleset`, false},
		{"delete table", `nft delete table inet ftpinhole`, false},
		{"a rewritten session", `nft flush set inet ftpinhole rewritten4`, true},
		{"flush chain of translations", `nft flush chain inet ftpinhole translate_prerouting`, false},
		{"insert rule before conntrack", `nft insert rule inet ftpinhole acks_prerouting accept`, false},
		{"map made anew", `nft flush chain inet ftpinhole translate_postrouting; nft delete map inet ftpinhole snat6`, false},
		{"set of rewritten sessions made anew", `nft flush chain inet ftpinhole acks_prerouting; nft flush chain inet ftpinhole control_forward; nft delete set inet ftpinhole rewritten6`, false},
		{"dormant table", `nft 'table inet ftpinhole { flags dormant; }'`, false},
		{"flush chain", `nft flush chain inet ftpinhole control_forward`, false},
		{"delete chain", `nft flush chain inet ftpinhole control_forward; nft delete chain inet ftpinhole control_forward`, false},
		{"delete rule", `nft delete rule inet ftpinhole control_forward handle $(nft -a list chain inet ftpinhole control_forward | sed -n 's/.*reply.*handle //p')`, false},
		{"insert rule", `nft insert rule inet ftpinhole pinholes_forward accept`, false},
		{"replace rule", `nft replace rule inet ftpinhole control_forward handle $(nft -a list chain inet ftpinhole control_forward | sed -n 's/.*invalid.*handle //p') accept`, false},
		{"chain policy", `nft 'chain inet ftpinhole control_forward { policy drop; }'`, false},
		{"set made anew", `nft flush chain inet ftpinhole pinholes_forward; nft delete set inet ftpinhole pinholes6`, false},
		{"table made anew", `nft list table inet ftpinhole 2>/dev/null | grep -v '^#' | sed 's/ queue .*/ accept/' > /tmp/$$; nft delete table inet ftpinhole; nft -f /tmp/$$; rm /tmp/$$`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			ns := newNamespace(t, "verify")
			table := ns.installed(t, forward())
			add(t, table, pinhole("a-1", "10.0.1.2", "10.0.2.2:50055"))
			ns.run(t, test.do, "")
			if ok, err := table.Verify(); ok != test.want || err != nil {
				t.Errorf("got %v, %v, want %v", ok, err, test.want)
			}
			if err := table.Install(time.Now()); err != nil {
				t.Fatal(err)
			}
			if ok, err := table.Verify(); !ok || err != nil {
				t.Errorf("mended: %v, %v", ok, err)
			}
			if got := ns.elements(t); !strings.Contains(got, `comment "a-1"`) {
				t.Errorf("mended without the pinhole: %q", got)
			}
		})
	}
}

func TestDialErrors(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*nft.Config)
		want   string
	}{
		{"no port", func(c *nft.Config) { c.Ports = nil }, "at least one"},
		{"port 0", func(c *nft.Config) { c.Ports = []uint16{0} }, "1 to 65535"},
		{"port twice", func(c *nft.Config) { c.Ports = []uint16{21, 21} }, "once"},
		{"no hook", func(c *nft.Config) { c.Hooks = nil }, "forward, input, output"},
		{"unknown hook", func(c *nft.Config) { c.Hooks = []nft.Hook{"prerouting"} }, `"prerouting"`},
		{"queues", func(c *nft.Config) { c.QueueNum, c.Queues = 65533, 2 }, "65535"},
		{"queue of acknowledgements", func(c *nft.Config) { c.AckQueue = 2101 }, "2101 is used for two things"},
		{"queue of rewritten sessions", func(c *nft.Config) { c.AckQueue, c.RewriteQueue = 7, 7 }, "7 is used for two things"},
		{"marks", func(c *nft.Config) { c.Mark = 0x30000000 }, "0x20000000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := forward()
			test.change(&c)
			if _, err := nft.Dial(c); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want something with %q", err, test.want)
			}
		})
	}
}

// Without CAP_NET_ADMIN the error says so, and what to do.
func TestPermission(t *testing.T) {
	ns := newNamespace(t, "perm")
	table := ns.table(t, forward())
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its capabilities
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			done <- err
			return
		}
		done <- table.Install(time.Now())
	}()
	err := <-done
	if !errors.Is(err, nft.ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("got %v", err)
	}
	if err := table.Install(time.Now()); err != nil {
		t.Errorf("with it again: %v", err)
	}
}
