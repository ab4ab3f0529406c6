package probe

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

// flowtableRules loads a ruleset. Where the kernel has no flowtables, a log
// statement stands in for flow add, and is exchanged in what was read.
func flowtableRules(t *testing.T, rules string) *ruleset {
	t.Helper()
	const chain = `table inet fw {
	FLOWTABLE
	chain forwards { type filter hook forward priority 0; policy accept
		RULES
	}
}
`
	const device = "flowtable fast { hook ingress priority 0; devices = { lo }; }"
	real := strings.NewReplacer("FLOWTABLE", device, "RULES", rules).Replace(chain)
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(real)
	standIn := cmd.Run() != nil
	if standIn {
		t.Log("this kernel has no flowtables: a stand-in")
		nft(t, strings.NewReplacer("FLOWTABLE", "", "RULES", strings.ReplaceAll(rules, "flow add @fast", "log")).Replace(chain))
	}
	k, err := dialKernel()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	rs, err := k.ruleset()
	if err != nil {
		t.Fatal(err)
	}
	// The sets are read when asked for, so now.
	for _, c := range rs.chains {
		for i := range c.rules {
			for j, e := range c.rules[i].exprs {
				if e.name == "lookup" {
					if _, err := rs.elements(c.family, c.table, e.text(unix.NFTA_LOOKUP_SET)); err != nil {
						t.Fatal(err)
					}
				}
				if standIn && e.name == "log" {
					c.rules[i].exprs[j] = expression{name: "flow_offload", attr: map[uint16][]byte{1: []byte("fast\x00")}}
				}
			}
		}
	}
	if standIn {
		rs.flowtables = []flowtable{{unix.NFPROTO_INET, "fw", "fast"}}
	}
	return rs
}

func TestFlowtable(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		level       Level
	}{
		{"no rule", "", OK},
		{"all", "flow add @fast", Error},
		{"all of TCP", "meta l4proto { tcp, udp } flow add @fast", Error},
		{"established", "ct state established flow add @fast", Error},
		{"new only", "ct state new flow add @fast", OK},
		{"UDP", "ip protocol udp flow add @fast\nip6 nexthdr udp flow add @fast", OK},
		{"by interface", `oifname "wan" flow add @fast`, Warning},
		{"excluded both ways", "tcp dport != { 21, 2121 } tcp sport != { 21, 2121 } flow add @fast", OK},
		{"excluded as the mend says", "th dport != { 21, 2121 } th sport != { 21, 2121 } flow add @fast", OK},
		{"excluded one way", "tcp dport != { 21, 2121 } flow add @fast", Error},
		{"one port forgotten", "tcp dport != 21 tcp sport != 21 flow add @fast", Error},
		{"accepted before", "tcp dport { 21, 2121 } accept\ntcp sport { 21, 2121 } accept\nflow add @fast", OK},
		{"web only", "tcp dport { 80, 443 } flow add @fast\ntcp sport 8000-8100 flow add @fast", OK},
		{"a range with ours", "tcp dport 1-1023 flow add @fast", Error},
		{"an interval set with ours", "tcp dport { 1-20, 21-30, 80 } flow add @fast", Error},
		{"an interval set without", "tcp dport { 1-20, 22-30, 80 } flow add @fast", OK},
		{"original direction", "meta l4proto tcp ct original proto-dst 21 flow add @fast", Error},
		{"large transfers", "ct bytes > 100000 flow add @fast", Warning},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNetNS(t)
			row := highest(flowtables(flowtableRules(t, tt.rules), defaults()))
			if row.Level != tt.level {
				t.Errorf("%v (%s), want %v", row.Level, row.Detail, tt.level)
			}
			if tt.level == Error && !strings.HasSuffix(row.Mend, ": th dport != { 21, 2121 } th sport != { 21, 2121 } flow add @fast") {
				t.Errorf("mend %q", row.Mend)
			}
		})
	}
}

func TestKernelHelper(t *testing.T) {
	for _, tt := range []struct {
		name, ruleset, shell string
		level                Level
	}{
		{name: "none", level: OK},
		{name: "object without rule", level: OK, ruleset: `table inet raw { ct helper ftp { type "ftp" protocol tcp
			}
			}`},
		{name: "on our port", level: Error, ruleset: `table inet raw { ct helper std { type "ftp" protocol tcp
			}
			chain pre { type filter hook prerouting priority 0
			tcp dport 21 ct helper set "std"
			}
			}`},
		{name: "on other ports", level: OK, ruleset: `table inet raw { ct helper std { type "ftp" protocol tcp
			}
			chain pre { type filter hook prerouting priority 0
			tcp dport 8021 ct helper set "std"
			}
			}`},
		{name: "for some clients", level: Warning, ruleset: `table inet raw { ct helper std { type "ftp" protocol tcp
			}
			chain pre { type filter hook prerouting priority 0
			ip saddr 10.0.0.0/8 tcp dport 21 ct helper set "std"
			}
			}`},
		{name: "by map", level: Error, ruleset: `table inet raw { ct helper std { type "ftp" protocol tcp
			}
			chain out { type filter hook output priority 0
			ct helper set tcp dport map { 21 : "std", 8021 : "std" }
			}
			}`},
		{name: "by map of other ports", level: OK, ruleset: `table inet raw { ct helper std { type "ftp" protocol tcp
			}
			chain out { type filter hook output priority 0
			ct helper set tcp dport map { 8021 : "std" }
			}
			}`},
		{name: "iptables", level: Error, shell: "iptables-nft -t raw -A PREROUTING -p udp --dport 69 -j ACCEPT; iptables-nft -t raw -A PREROUTING -p tcp --dport 21 -j CT --helper ftp"},
		{name: "iptables, other port", level: OK, shell: "iptables-nft -t raw -A PREROUTING -p tcp --dport 8021 -j CT --helper ftp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNetNS(t)
			if tt.ruleset != "" {
				nft(t, tt.ruleset)
			}
			if tt.shell != "" {
				shell(t, tt.shell)
			}
			row := worst(t, defaults(), "kernel helper")
			if len(modules("nf_conntrack_ftp")) > 0 && tt.level == OK {
				tt.level = Warning // it is loaded on this machine
			}
			if row.Level != tt.level {
				t.Errorf("%v (%s), want %v", row.Level, row.Detail, tt.level)
			}
			if row.Level == Error { // what a mend says must mend
				shell(t, strings.ReplaceAll(row.Mend, "iptables -", "iptables-nft -"))
				if after := worst(t, defaults(), "kernel helper"); after.Level == Error {
					t.Errorf("after %s: %s", row.Mend, after.Detail)
				}
			}
		})
	}
}

// Until Linux 6.0 the kernel attached its helper without any rule.
func TestAttachedByItself(t *testing.T) {
	const sysctl, module, ports = "proc/sys/net/netfilter/nf_conntrack_helper", "sys/module/nf_conntrack_ftp/initstate", "sys/module/nf_conntrack_ftp/parameters/ports"
	for name, tt := range map[string]struct {
		files map[string]string
		want  []uint16
	}{
		"a kernel of today":       {map[string]string{module: "live"}, nil},
		"switched off":            {map[string]string{sysctl: "0\n", module: "live"}, nil},
		"no module":               {map[string]string{sysctl: "1\n"}, nil},
		"its ports are not known": {map[string]string{sysctl: "1\n", module: "live"}, []uint16{21}},
		"its ports are known":     {map[string]string{sysctl: "1\n", ports: "21,2121,8021\n"}, []uint16{21, 2121}},
		"other ports":             {map[string]string{sysctl: "1\n", ports: "8021\n"}, nil},
	} {
		root := make(fstest.MapFS)
		for path, text := range tt.files {
			root[path] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := attachedByItself(root, []uint16{21, 2121}); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestMarks(t *testing.T) {
	const chain = `table inet qos {
	chain c { type filter hook HOOK
		RULES
	}
}
`
	for _, tt := range []struct {
		name, hook, rules, shell string
		level                    Level
	}{
		{name: "none", level: OK},
		{"whole mark", "forward priority 0", "tcp dport 80-65535 ct mark set 0x1", "", Warning},
		{"saved mark", "postrouting priority 0", "ct mark set meta mark", "", Warning},
		{"bits of their own", "forward priority 0", "ct mark set ct mark and 0xffffff00 or 0x1", "", OK},
		{"our bit cleared", "forward priority 0", "ct mark set ct mark and 0x0000ffff", "", Warning},
		{"our bit set", "forward priority 0", "ct mark set ct mark or 0x10000000", "", Warning},
		{"control bit cleared", "forward priority 0", "ct mark set ct mark and 0xdfffffff", "", Warning},
		{"another bit, after ours was looked at", "forward priority 0", "ct mark and 0x10000000 == 0x10000000 ct mark set 0x5", "", Warning},
		{"unmarked only", "forward priority 0", "ct mark 0 ct mark set 0x5", "", Warning},
		{"none of its own bits", "forward priority 0", "ct mark and 0xff == 0 ct mark set ct mark and 0xffffff00 or 0x5", "", OK},
		{"our bits looked at", "forward priority 0", "ct mark and 0x10000000 == 0x10000000 counter\nct mark and 0x30000000 == 0 counter", "", OK},
		{"another's bits with ours", "forward priority 0", "ct mark and 0xff000000 == 0x11000000 drop", "", Warning},
		{"one of several whole marks", "output priority 0", "ct mark { 1, 2 } counter", "", Warning},
		{"a range of whole marks", "forward priority 0", "ct mark 1-5 counter", "", Warning},
		{"by whole mark", "forward priority 0", "ct mark vmap { 1 : accept, 2 : drop }", "", Warning},
		{"whole mark of new ones before us", "prerouting priority -150", "ct state new ct mark 0 counter", "", OK},
		{"new ones before us", "prerouting priority -150", "ct state new ct mark set 0x5", "", OK},
		{"new ones in prerouting", "prerouting priority 0", "ct state new ct mark set 0x5", "", OK},
		{"new ones after us", "forward priority 0", "ct state new ct mark set 0x5", "", Warning},
		{"all before us", "prerouting priority -150", "ct mark set 0x5", "", Warning},
		{"restored mark", "prerouting priority -150", "meta mark set ct mark", "", Warning},
		{"restored bits of their own", "prerouting priority -150", "meta mark set ct mark and 0xff", "", OK},
		{"restored as the mend says", "prerouting priority -150", "meta mark set ct mark and 0xcfffffff", "", OK},
		{"another mark of the packet", "forward priority 0", "ct mark and 0x10000000 == 0x10000000 meta mark set 0x5", "", OK},
		{"iptables save", "", "", "iptables-nft -t mangle -A POSTROUTING -j CONNMARK --save-mark", Warning},
		{"iptables save with a mask", "", "", "iptables-nft -t mangle -A POSTROUTING -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff", OK},
		{"iptables set", "", "", "iptables-nft -t mangle -A FORWARD -p tcp -j CONNMARK --set-mark 7", Warning},
		{"iptables restore", "", "", "iptables-nft -t mangle -A PREROUTING -j CONNMARK --restore-mark", Warning},
		{"iptables restore as the mend says", "", "", "iptables-nft -t mangle -A PREROUTING -j CONNMARK --restore-mark --nfmask 0xcfffffff --ctmask 0xcfffffff", OK},
		{"iptables, whole mark", "", "", "iptables-nft -t mangle -A PREROUTING -m connmark ! --mark 0 -j ACCEPT", Warning},
		{"iptables, other bits", "", "", "iptables-nft -t mangle -A PREROUTING -m connmark ! --mark 0/0xff -j ACCEPT", OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNetNS(t)
			if tt.rules != "" {
				nft(t, strings.NewReplacer("HOOK", tt.hook, "RULES", tt.rules).Replace(chain))
			}
			if tt.shell != "" {
				shell(t, tt.shell)
			}
			if row := worst(t, defaults(), "mark"); row.Level != tt.level {
				t.Errorf("%v (%s), want %v", row.Level, row.Detail, tt.level)
			}
		})
	}
}
