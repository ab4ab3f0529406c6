package probe

import (
	"strings"
	"testing"
)

const rawChain = `table inet early {
	synproxy guard {
		mss 1460
		wscale 7
		timestamp sack-perm
	}
	counter seen {
	}
	chain HOOKS { type filter hook HOOK priority PRIORITY
		RULES
	}
}
`

// chainAt is a table with one chain.
func chainAt(hook, priority, rules string) string {
	return strings.NewReplacer("HOOKS", hook+"s", "HOOK", hook, "PRIORITY", priority, "RULES", rules).Replace(rawChain)
}

func TestNotrack(t *testing.T) {
	for _, tt := range []struct {
		name, ruleset, shell string
		hooks                []string
		level                Level
	}{
		{name: "no rule", level: OK},
		{name: "our port", ruleset: chainAt("prerouting", "-300", "tcp dport 21 notrack"), level: Error},
		{name: "our second port, among others", ruleset: chainAt("prerouting", "-300", "tcp dport { 53, 2121 } notrack"), level: Error},
		{name: "the answers alone", ruleset: chainAt("prerouting", "-300", "tcp sport 21 notrack"), level: Error},
		{name: "SYNs alone", ruleset: chainAt("prerouting", "-300", "tcp dport 21 tcp flags & (fin|syn|rst|ack) == syn notrack"), level: Error},
		{name: "all but SYNs", ruleset: chainAt("prerouting", "-300", "tcp dport 21 tcp flags & (fin|syn|rst|ack) != syn notrack"), level: Error},
		{name: "all of TCP", ruleset: chainAt("prerouting", "-300", "meta l4proto tcp notrack"), level: Error},
		{name: "everything", ruleset: chainAt("prerouting", "-300", "notrack"), level: Error},
		{name: "some clients", ruleset: chainAt("prerouting", "-300", "ip saddr 10.0.0.0/8 tcp dport 21 notrack"), level: Warning},
		{name: "an interface", ruleset: chainAt("prerouting", "-300", `iifname "lan" notrack`), level: Warning},
		{name: "one family", ruleset: chainAt("prerouting", "-300", "meta nfproto ipv6 tcp dport 21 notrack"), level: Error},
		{name: "UDP", ruleset: chainAt("prerouting", "-300", "udp dport { 21, 53 } notrack"), level: OK},
		{name: "the web", ruleset: chainAt("prerouting", "-300", "tcp dport { 80, 443 } notrack\ntcp sport { 80, 443 } notrack"), level: OK},
		{name: "behind conntrack", ruleset: chainAt("prerouting", "-150", "tcp dport 21 notrack"), level: OK},
		{name: "in a filter chain", ruleset: chainAt("forward", "0", "tcp dport 21 notrack"), level: OK},
		{name: "accepted before it", ruleset: chainAt("prerouting", "-300", "tcp dport { 21, 2121 } accept\ntcp sport { 21, 2121 } accept\ntcp dport 1-1023 notrack"), level: OK},
		{name: "left out as the mend says", ruleset: chainAt("prerouting", "-300", "tcp dport != { 21, 2121 } tcp sport != { 21, 2121 } tcp dport 1-1023 notrack"), level: OK},
		{name: "data connections", ruleset: chainAt("prerouting", "-300", "tcp dport 32768-65535 notrack"), level: Error}, // of answers to clients, too
		{name: "data connections alone", ruleset: chainAt("prerouting", "-300", "tcp sport { 21, 2121 } accept\ntcp dport 32768-65535 notrack"), level: Warning},
		{name: "active data connections", ruleset: chainAt("prerouting", "-300", "tcp sport 20 notrack"), level: Warning},

		{name: "output, for hosts behind us", ruleset: chainAt("output", "-300", "tcp dport 21 notrack"), level: OK},
		{name: "output, for clients here", ruleset: chainAt("output", "-300", "tcp dport 21 notrack"), hooks: []string{"output"}, level: Error},
		{name: "output, answers of servers here", ruleset: chainAt("output", "-300", "tcp sport 21 notrack"), hooks: []string{"input"}, level: Error},
		{name: "output, requests where servers are here", ruleset: chainAt("output", "-300", "tcp dport 21 notrack"), hooks: []string{"input"}, level: OK},
		{name: "prerouting, answers to clients here", ruleset: chainAt("prerouting", "-300", "tcp sport 21 notrack"), hooks: []string{"output"}, level: Error},

		{name: "iptables, NOTRACK", shell: "iptables-nft -t raw -A PREROUTING -p udp -j ACCEPT; iptables-nft -t raw -A PREROUTING -p tcp --dport 21 -j NOTRACK", level: Error},
		{name: "iptables, CT --notrack", shell: "ip6tables-nft -t raw -A PREROUTING -p tcp --syn --dport 21 -j CT --notrack", level: Error},
		{name: "iptables, multiport", shell: "iptables-nft -t raw -A PREROUTING -p tcp -m multiport --dports 20,21 -j CT --notrack", level: Error},
		{name: "iptables, a source", shell: "iptables-nft -t raw -A PREROUTING -s 192.0.2.0/24 -p tcp --dport 21 -j CT --notrack", level: Warning},
		{name: "iptables, another CT", shell: "iptables-nft -t raw -A PREROUTING -p tcp --dport 21 -j CT --zone 5", level: OK},
		{name: "iptables, another port", shell: "iptables-nft -t raw -A PREROUTING -p tcp --dport 80 -j CT --notrack", level: OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNetNS(t)
			cfg := defaults()
			if tt.hooks != nil {
				cfg.Hooks = tt.hooks
			}
			if tt.ruleset != "" {
				nft(t, tt.ruleset)
			}
			if tt.shell != "" {
				shell(t, tt.shell)
			}
			hidden(t, cfg, "notrack", tt.level)
		})
	}
}

// hidden wants a row of a level, and that what an error says to do helps.
func hidden(t *testing.T, cfg Config, name string, level Level) {
	t.Helper()
	row := worst(t, cfg, name)
	if row.Level != level {
		t.Errorf("%v (%s), want %v", row.Level, row.Detail, level)
	}
	if row.Level != Error {
		return
	}
	_, deletion, _ := strings.Cut(row.Mend, "delete it: ")
	shell(t, deletion)
	if after := worst(t, cfg, name); after.Level == Error {
		t.Errorf("after %s: %s", deletion, after.Detail)
	}
}

func TestSynproxy(t *testing.T) {
	const (
		options = " mss 1460 wscale 7 timestamp sack-perm"
		syns    = "tcp dport { 21, 80 } tcp flags & (fin|syn|rst|ack) == syn notrack"
		usual   = "tcp dport { 21, 80 } ct state invalid,untracked synproxy" + options
		targets = " -j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460"
	)
	for _, tt := range []struct {
		name, ruleset, shell string
		hooks                []string
		level                Level
	}{
		{name: "no rule", level: OK},
		{name: "as its manual has it", ruleset: chainAt("prerouting", "-300", syns) + chainAt("forward", "0", usual), level: Error},
		{name: "other ports are kept out of conntrack", level: OK, ruleset: chainAt("prerouting", "-300", "tcp dport 80 tcp flags syn notrack") + chainAt("forward", "0", usual)},
		{name: "perhaps kept out of conntrack", level: Warning,
			ruleset: chainAt("prerouting", "-300", `iifname "wan" `+syns) + chainAt("forward", "0", usual)},
		{name: "of all that is new", ruleset: chainAt("forward", "0", "tcp dport 21 synproxy"+options), level: Error},
		{name: "of what is established", ruleset: chainAt("forward", "0", "ct state established synproxy"+options), level: OK},
		{name: "another port", ruleset: chainAt("forward", "0", "tcp dport 80 synproxy"+options), level: OK},
		{name: "some clients", ruleset: chainAt("forward", "0", "ip saddr 10.0.0.0/8 tcp dport 21 synproxy"+options), level: Warning},
		{name: "an object", ruleset: chainAt("forward", "0", `tcp dport 21 synproxy name "guard"`), level: Error},
		{name: "an object, another port", ruleset: chainAt("forward", "0", `tcp dport 80 synproxy name "guard"`), level: OK},
		{name: "a map of objects", ruleset: chainAt("forward", "0", `synproxy name tcp dport map { 21 : "guard", 80 : "guard" }`), level: Error},
		{name: "a map of objects, other ports", ruleset: chainAt("forward", "0", `synproxy name tcp dport map { 80 : "guard" }`), level: OK},
		{name: "a map of other objects", ruleset: chainAt("forward", "0", `counter name tcp dport map { 21 : "seen" }`), level: OK},
		{name: "servers here", ruleset: chainAt("input", "0", "tcp dport 21 synproxy"+options), hooks: []string{"input"}, level: Error},
		{name: "not for servers here", ruleset: chainAt("forward", "0", "tcp dport 21 synproxy"+options), hooks: []string{"input"}, level: OK},
		{name: "iptables", level: Error, shell: "iptables-nft -t raw -A PREROUTING -p tcp --dport 21 --syn -j CT --notrack; " +
			"iptables-nft -A FORWARD -p udp -j ACCEPT; iptables-nft -A FORWARD -p tcp -m conntrack --ctstate INVALID,UNTRACKED" + targets},
		{name: "iptables, another port", level: OK, shell: "iptables-nft -A FORWARD -p tcp --dport 80" + targets},
		{name: "IPv6", level: Error, shell: "ip6tables-nft -A FORWARD -p tcp --dport 2121 --syn" + targets},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNetNS(t)
			cfg := defaults()
			if tt.hooks != nil {
				cfg.Hooks = tt.hooks
			}
			if tt.ruleset != "" {
				nft(t, tt.ruleset)
			}
			if tt.shell != "" {
				shell(t, tt.shell)
			}
			hidden(t, cfg, "synproxy", tt.level)
		})
	}
}

// A data connection that SYNPROXY takes does not pass for sure.
func TestSynproxyOfData(t *testing.T) {
	inNetNS(t)
	nft(t, chainAt("forward", "0", "meta l4proto tcp synproxy mss 1460 wscale 7"))
	if row := worst(t, defaults(), "accept line"); row.Level != Warning {
		t.Errorf("%+v", row)
	}
}
