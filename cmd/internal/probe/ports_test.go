package probe

import (
	"strings"
	"testing"
)

func TestOpenRanges(t *testing.T) {
	const usual = "ct state established,related accept\ntcp dport { 21, 22 } ct state new accept\n"
	for _, tt := range []struct {
		name    string
		ruleset string // of nft
		shell   string
		detail  string // part of it
		level   Level
	}{
		{name: "no rules", level: OK, detail: "drops no new connections"},
		{name: "policy accept", ruleset: strings.Replace(base("inet", "forward", "tcp dport 50000-51000 accept"), "policy drop", "policy accept", 1),
			level: OK, detail: "drops no new connections"},
		{name: "all shut", ruleset: base("inet", "forward", usual+line), level: OK, detail: "no range"},
		{name: "a service", ruleset: base("inet", "forward", usual+"tcp dport 8080 accept"), level: OK, detail: "no range"},
		{name: "the range of the guides", ruleset: base("inet", "forward", usual+"tcp dport 50000-51000 accept"), level: Warning, detail: "port 50000"},
		{name: "new ones only", ruleset: base("inet", "forward", usual+"ct state new tcp dport 5000-6000 accept"), level: Warning, detail: "port 5000"},
		{name: "in a set", ruleset: base("inet", "forward", usual+"tcp dport { 80, 50000-50010 } accept"), level: Warning, detail: "port 50000"},
		{name: "all high ports", ruleset: base("inet", "forward", usual+"tcp dport >= 1024 accept"), level: Warning, detail: "port 1024"},
		{name: "over 1023", ruleset: base("inet", "forward", usual+"tcp dport > 1023 accept"), level: Warning, detail: "port 1024"},
		{name: "in a chain jumped to", level: Warning, detail: "chain ftp of table inet fw", ruleset: `table inet fw {
			chain ftp { tcp dport 50000-51000 accept
			}
			chain forwards { type filter hook forward priority 0; policy drop
				jump ftp
			}
		}`},
		{name: "dropped before", ruleset: base("inet", "forward", "tcp dport 49000-52000 drop\n"+usual+"tcp dport 50000-51000 accept"), level: OK, detail: "no range"},
		{name: "dropped by another chain", level: OK, detail: "no range",
			ruleset: base("inet", "forward", "tcp dport 50000-51000 accept") + base("ip", "forward", usual) + base("ip6", "forward", usual)},
		{name: "for some only", ruleset: base("inet", "forward", usual+"ip saddr 10.0.0.0/8 tcp dport 50000-51000 accept"), level: OK, detail: "no range"},
		{name: "marked ones only", ruleset: base("inet", "forward", usual+"tcp dport 50000-51000 "+line), level: OK, detail: "no range"},
		{name: "UDP", ruleset: base("inet", "forward", usual+"udp dport 50000-51000 accept"), level: OK, detail: "no range"},
		{name: "iptables", level: Warning, detail: "port 50000", shell: `
			iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP
			iptables-nft -A FORWARD -p tcp --match multiport --dports 50000:51000 -j ACCEPT`},
		{name: "iptables, IPv6 only", level: Warning, detail: "ip6", shell: `
			iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP
			ip6tables-nft -A FORWARD -p tcp --dport 40000:40100 -j ACCEPT`},
		{name: "iptables, shut", level: OK, detail: "no range", shell: `
			iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP
			iptables-nft -A FORWARD -p tcp --match multiport --dports 21,990,8021 -j ACCEPT`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNetNS(t)
			nft(t, tt.ruleset)
			if tt.shell != "" {
				shell(t, tt.shell)
			}
			row := worst(t, defaults(), "open ports")
			if row.Level != tt.level || !strings.Contains(row.Detail, tt.detail) {
				t.Errorf("got %v %q, want %v and %q", row.Level, row.Detail, tt.level, tt.detail)
			}
		})
	}
}
