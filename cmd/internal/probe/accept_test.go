package probe

import (
	"fmt"
	"strings"
	"testing"
)

const line = "ct mark and 0x10000000 == 0x10000000 accept"

// base is an nft table with one base chain that drops by policy.
func base(family, hook, rules string) string {
	return fmt.Sprintf(`table %s fw {
	chain forwards {
		type filter hook %s priority 0; policy drop
		%s
	}
}
`, family, hook, rules)
}

func TestAcceptLine(t *testing.T) {
	for _, tt := range []struct {
		name    string
		ruleset string // of nft
		shell   string
		hooks   string // "" is forward
		level   Level
		mend    string // part of it
	}{
		{name: "no rules", level: OK},
		{name: "policy accept", ruleset: strings.Replace(base("inet", "forward", ""), "policy drop", "policy accept", 1), level: OK},
		{name: "policy drop, nothing else", ruleset: base("inet", "forward", ""), level: Error,
			mend: "nft insert rule inet fw forwards ct mark and 0x10000000 == 0x10000000 accept"},
		{name: "the line", ruleset: base("inet", "forward", line), level: OK},
		{name: "the line after the usual ones", level: OK, ruleset: base("inet", "forward", `
			ct state vmap { established : accept, related : accept, invalid : drop }
			ip saddr 10.0.0.0/8 tcp dport 22 accept
			tcp dport { 21, 80 } ct state new accept
			meta l4proto udp drop
			icmpv6 type nd-neighbor-solicit accept
			`+line)},
		{name: "only the usual ones", level: Error, mend: "nft insert", ruleset: base("inet", "forward", `
			ct state established,related accept
			ct state invalid drop
			tcp dport { 21, 80 } ct state new accept
			tcp dport 50000-51000 accept
			iifname "lan" accept`)},
		{name: "the line after a final drop", ruleset: base("inet", "forward", "drop\n"+line), level: Error, mend: "nft insert"},
		{name: "the line after new is dropped", ruleset: base("inet", "forward", "ct state new drop\n"+line), level: Error, mend: "nft insert"},
		{name: "the line after some are dropped", ruleset: base("inet", "forward", "ip saddr 10.9.0.0/16 drop\nct state new tcp dport 22 drop\n"+line), level: OK},
		{name: "the line of another bit", ruleset: base("inet", "forward", "ct mark and 0x20000000 == 0x20000000 accept"), level: Error, mend: "nft insert"},
		{name: "the line with conditions", ruleset: base("inet", "forward", `iifname "lan" `+line), level: Warning, mend: "nft insert"},
		{name: "whole mark", ruleset: base("inet", "forward", "ct mark 0x10000000 accept"), level: Warning, mend: "nft insert"},
		{name: "policy accept, final reject", level: Error, mend: "nft insert",
			ruleset: strings.Replace(base("inet", "forward", "tcp dport 21 accept\nreject with icmpx admin-prohibited"), "policy drop", "policy accept", 1)},
		{name: "line for IPv4 only", ruleset: base("inet", "forward", "meta nfproto ipv4 "+line), level: Error, mend: "nft insert"},
		{name: "table ip6", ruleset: base("ip", "forward", line) + base("ip6", "forward", ""), level: Error, mend: "insert rule ip6 fw"},
		{name: "in a chain jumped to", level: OK, ruleset: `table inet fw {
			chain pinholes { ` + line + "\n" + ` }
			chain more { counter jump pinholes
				drop
			}
			chain forwards { type filter hook forward priority 0; policy drop
				ct state established accept
				meta l4proto tcp goto more
			}
		}`},
		{name: "jumped to by interface", level: Warning, mend: "nft insert", ruleset: `table inet fw {
			chain lan { ` + line + "\n" + ` }
			chain forwards { type filter hook forward priority 0; policy drop
				iifname vmap { "lan0" : jump lan, "lan1" : jump lan }
			}
		}`},
		{name: "chain dropped in by jump", level: Error, mend: "nft insert", ruleset: `table inet fw {
			chain rest { log prefix "no " drop
			}
			chain forwards { type filter hook forward priority 0; policy accept
				jump rest
				` + line + `
			}
		}`},
		{name: "gone to another chain", level: Error, mend: "nft insert", ruleset: `table inet fw {
			chain rest { tcp dport 22 accept
			}
			chain forwards { type filter hook forward priority 0; policy drop
				ct state new goto rest
				` + line + `
			}
		}`},
		{name: "jumped to another chain", level: OK, ruleset: `table inet fw {
			chain rest { tcp dport 22 accept
			}
			chain forwards { type filter hook forward priority 0; policy drop
				ct state new jump rest
				` + line + `
			}
		}`},
		{name: "return before it", level: Error, mend: "nft insert", ruleset: base("inet", "forward", "ct state new return\n"+line)},
		{name: "before the mark is set", level: Error, mend: "priority above -90",
			ruleset: strings.Replace(base("inet", "forward", line), "priority 0", "priority -150", 1)},
		{name: "after it, at mangle", level: OK,
			ruleset: strings.Replace(base("inet", "forward", line), "priority 0", "priority -89", 1)},
		{name: "before the mark is set, for some", level: Warning, mend: "priority above -90",
			ruleset: strings.Replace(base("inet", "forward", `iifname "lan" accept`), "priority 0", "priority -150", 1)},
		{name: "prerouting", ruleset: base("inet", "prerouting", line), level: Error, mend: "drop in a chain at forward"},
		{name: "prerouting that lets them pass", ruleset: base("inet", "prerouting", "tcp dport >= 1024 accept"), level: OK},
		{name: "prerouting that lets some pass", ruleset: base("inet", "prerouting", "tcp dport 50000-51000 accept"), level: Warning, mend: "drop in a chain at forward"},
		{name: "prerouting that lets new ones pass", ruleset: base("inet", "prerouting", "ct state new,established accept"), level: OK},
		{name: "prerouting that knows no connections yet", level: Error, mend: "drop in a chain at forward",
			ruleset: strings.Replace(base("inet", "prerouting", "ct state new,established accept"), "priority 0", "priority -300", 1)},
		{name: "prerouting against spoofing", level: OK,
			ruleset: strings.Replace(base("inet", "prerouting", "fib saddr . iif oif missing drop\nct state invalid drop"), "policy drop", "policy accept", 1)},
		{name: "prerouting of traffic that does not come in", ruleset: base("inet", "prerouting", ""), hooks: "output", level: OK},
		{name: "postrouting", ruleset: base("inet", "postrouting", "ct state established accept"), level: Error, mend: "nft insert rule inet fw forwards ct mark"},
		{name: "postrouting with the line", ruleset: base("inet", "postrouting", line), level: OK},
		{name: "postrouting of what the gateway sends", ruleset: base("inet", "postrouting", ""), hooks: "output", level: Error, mend: "nft insert"},
		{name: "postrouting of what stays here", ruleset: base("inet", "postrouting", ""), hooks: "input", level: OK},
		{name: "iptables, mangle", level: Error, mend: "iptables-nft -t mangle -I POSTROUTING -m connmark",
			shell: "iptables-nft -t mangle -P POSTROUTING DROP"},
		{name: "iptables, an IPS", level: Warning, mend: "what reads that queue",
			shell: "iptables-nft -t mangle -A PREROUTING -j NFQUEUE --queue-num 7"},
		{name: "iptables, raw", level: Error, mend: "drop in a chain at forward",
			shell: "iptables-nft -t raw -A PREROUTING -p tcp -j DROP"},
		{name: "second chain drops", level: Error, mend: "insert rule inet late forwards",
			ruleset: base("inet", "forward", line) + strings.Replace(strings.Replace(base("inet", "forward", ""), "fw {", "late {", 1), "priority 0", "priority 10", 1)},
		{name: "firewalld", level: Error, mend: "firewalld takes no line",
			ruleset: strings.Replace(base("inet", "forward", "ct state established accept"), "fw {", "firewalld {", 1)},
		{name: "input not asked for", ruleset: base("inet", "input", ""), level: OK},
		{name: "input", ruleset: base("inet", "input", `iif lo accept`), hooks: "forward,input,output", level: Error, mend: "nft insert"},
		{name: "input with it", ruleset: base("inet", "input", `iif lo accept`+"\n"+line), hooks: "forward,input,output", level: OK},
		{name: "output", ruleset: base("inet", "output", ""), hooks: "forward,output", level: Error, mend: "nft insert"},
		{name: "our own table", ruleset: strings.Replace(base("inet", "forward", ""), "fw {", "ftpinhole {", 1), level: OK},
		{name: "udp dropped only", level: OK,
			ruleset: strings.Replace(base("inet", "forward", "ip protocol udp drop\nip6 nexthdr udp drop\nmeta l4proto { udp, sctp } drop"), "policy drop", "policy accept", 1)},
		{name: "limited", level: Warning, mend: "nft insert", ruleset: base("inet", "forward", "limit rate 5/second "+line)},
		{name: "iptables without", level: Error, mend: "iptables-nft -I FORWARD -m connmark --mark 0x10000000/0x10000000 -j ACCEPT",
			shell: "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; iptables-nft -A FORWARD -p tcp --dport 21 -j ACCEPT"},
		{name: "iptables with", level: OK,
			shell: "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -m conntrack --ctstate INVALID -j DROP; iptables-nft -A FORWARD -m connmark --mark 0x10000000/0x10000000 -j ACCEPT"},
		{name: "iptables, final reject", level: Error, mend: "iptables-nft -I FORWARD",
			shell: "iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables-nft -A FORWARD -j REJECT"},
		{name: "iptables, line behind the reject", level: Error, mend: "iptables-nft -I FORWARD",
			shell: "iptables-nft -A FORWARD -j REJECT; iptables-nft -A FORWARD -m connmark --mark 0x10000000/0x10000000 -j ACCEPT"},
		{name: "iptables, not the mark", level: Error, mend: "iptables-nft -I FORWARD",
			shell: "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -m connmark ! --mark 0x10000000/0x10000000 -j ACCEPT"},
		{name: "ip6tables without", level: Error, mend: "ip6tables-nft -I FORWARD", shell: "ip6tables-nft -P FORWARD DROP"},
		{name: "iptables, new is dropped in a chain of its own", level: Error, mend: "iptables-nft -I FORWARD",
			shell: "iptables-nft -N mine; iptables-nft -A mine -m state --state NEW -j DROP; iptables-nft -A FORWARD -p tcp -j mine; iptables-nft -A FORWARD -m connmark --mark 0x10000000/0x10000000 -j ACCEPT"},
		{name: "iptables, ports that are not ours are dropped", level: OK,
			shell: "iptables-nft -A FORWARD -p udp -m multiport --dports 1,2:9 -j DROP; iptables-nft -A FORWARD -p tcp -m multiport --dports 135,445 -j DROP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNetNS(t)
			if tt.ruleset != "" {
				nft(t, tt.ruleset)
			}
			if tt.shell != "" {
				shell(t, tt.shell)
			}
			cfg := defaults()
			if tt.hooks != "" {
				cfg.Hooks = strings.Split(tt.hooks, ",")
			}
			row := worst(t, cfg, "accept line")
			if row.Level != tt.level || !strings.Contains(row.Mend, tt.mend) {
				t.Errorf("%v, mend %q, detail %q; want %v, %q", row.Level, row.Mend, row.Detail, tt.level, tt.mend)
			}
		})
	}
}

// What a mend says must mend.
func TestAcceptLineMends(t *testing.T) {
	for _, before := range []func(*testing.T){
		func(t *testing.T) {
			nft(t, base("inet", "forward", "ct state established accept")+base("ip6", "forward", "drop"))
		},
		func(t *testing.T) { shell(t, "iptables-nft -A FORWARD -j REJECT; ip6tables-nft -P FORWARD DROP") },
		func(t *testing.T) { shell(t, "iptables-nft -t mangle -P POSTROUTING DROP") },
	} {
		inNetNS(t)
		before(t)
		for range 3 {
			row := worst(t, defaults(), "accept line")
			if row.Level == OK {
				break
			}
			shell(t, strings.ReplaceAll(row.Mend, "tables -", "tables-nft -"))
		}
		if row := worst(t, defaults(), "accept line"); row.Level != OK {
			t.Errorf("after its own mends: %+v", row)
		}
	}
}
