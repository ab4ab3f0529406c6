package rules

import "fmt"

// The kinds of firewall that OperatorRules words its line for.
const (
	Nft      = "nft"
	Iptables = "iptables"
)

// OperatorRules returns the line that the operator's own firewall needs, for
// kind Nft or Iptables, with a short explanation in comments. Connections that
// a pinhole let in carry the bits of mark in their conntrack mark.
//
// The text for nft is valid input of nft -f, and adds the line to a chain
// "inet filter forward"; where none exists it does nothing. The text for
// iptables is valid input of a shell.
func OperatorRules(kind string, mark uint32) (string, error) {
	if mark == 0 {
		return "", fmt.Errorf("mark is 0, which every connection carries: give the bit that the daemon runs with, by default 0x10000000")
	}
	switch kind {
	case Nft:
		return fmt.Sprintf(nftText, mark), nil
	case Iptables:
		return fmt.Sprintf(iptablesText, mark), nil
	}
	return "", fmt.Errorf("no rules for %q: ask for %s or %s", kind, Nft, Iptables)
}

const nftText = `# ftpinhole marks each FTP data connection that both sides agreed on. Your
# firewall has to let that mark pass: one line, in each base chain that drops
# (policy drop, or rules that drop or reject), above the rules that drop:
#
#   forward          sessions through this machine
#   input, output    only with hooks = ["input"] or ["output"]
#
# Write the line into your own /etc/nftables.conf. As it stands here it is added
# to the end of the chain forward of Debian's table inet filter.
table inet filter {
	chain forward {
		ct mark and %#[1]x == %#[1]x accept
	}
}
`

const iptablesText = `# ftpinhole marks each FTP data connection that both sides agreed on. Your
# firewall has to let that mark pass: one line, in each chain that drops
# (policy DROP, or rules that DROP or REJECT), above the rules that drop:
#
#   FORWARD          sessions through this machine
#   INPUT, OUTPUT    only with hooks = ["input"] or ["output"]
#
# Keep it with what loads your rules at boot (iptables-save writes it down).
iptables  -I FORWARD -m connmark --mark %#[1]x/%#[1]x -j ACCEPT
ip6tables -I FORWARD -m connmark --mark %#[1]x/%#[1]x -j ACCEPT
`
