package probe

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inLegacyNetNS is inNetNS on a machine that has the old iptables.
func inLegacyNetNS(t *testing.T) {
	t.Helper()
	inNetNS(t)
	if _, err := exec.LookPath("iptables-legacy"); err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command("iptables-legacy", "-S").CombinedOutput(); err != nil {
		t.Skipf("no iptables-legacy here: %s", out)
	}
}

const usual = `iptables-legacy -P FORWARD DROP
	iptables-legacy -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
	iptables-legacy -A FORWARD -p udp -j ACCEPT
	iptables-legacy -A FORWARD -p tcp --dport 21 -m conntrack --ctstate NEW -j ACCEPT
	`

const legacyLine = "iptables-legacy -A FORWARD -m connmark --mark 0x10000000/0x10000000 -j ACCEPT\n"

func TestLegacyAcceptLine(t *testing.T) {
	for _, tt := range []struct {
		name, shell string
		level       Level
		detail      string
	}{
		{"nothing", "", OK, ""},
		{"policy", usual, Error, "the policy of chain FORWARD of table filter of iptables-legacy drops"},
		{"with the line", usual + legacyLine, OK, "chain FORWARD of table filter of iptables-legacy"},
		{"behind a final reject", usual + "iptables-legacy -A FORWARD -j REJECT\n" + legacyLine, Error, "rule 4 of chain FORWARD"},
		{"another bit", usual + strings.ReplaceAll(legacyLine, "0x1", "0x2"), Error, "policy"},
		{"the line for an interface", usual + strings.Replace(legacyLine, "-m", "-i lan0 -m", 1), Warning, "accepts the mark, but only under conditions"},
		{"the line for an address", usual + strings.Replace(legacyLine, "-m", "-d 10.0.0.0/8 -m", 1), Warning, "accepts the mark"},
		{"the line for TCP", usual + strings.Replace(legacyLine, "-m", "-p tcp -m", 1), OK, ""},
		{"the line for UDP", usual + strings.Replace(legacyLine, "-m", "-p udp -m", 1), Error, "policy"},
		{"the line for all but TCP", usual + strings.Replace(legacyLine, "-m", "! -p tcp -m", 1), Error, "policy"},
		{"the line for all but UDP", usual + strings.Replace(legacyLine, "-m", "! -p udp -m", 1), OK, ""},
		{"in a chain of its own", usual + "iptables-legacy -N mine; iptables-legacy -A FORWARD -p tcp -j mine; iptables-legacy -A mine -p udp -j DROP\n" +
			strings.Replace(legacyLine, "FORWARD", "mine", 1), OK, ""},
		{"dropped in a chain of its own", "iptables-legacy -N mine; iptables-legacy -A mine -p udp -j DROP; iptables-legacy -A mine -m state --state NEW -j DROP; iptables-legacy -A FORWARD -j mine\n" + legacyLine,
			Error, "rule 2 of chain mine"},
		{"back from a chain", "iptables-legacy -N mine; iptables-legacy -A mine -j RETURN; iptables-legacy -A mine -j DROP; iptables-legacy -A FORWARD -j mine\n", OK, ""},
		{"gone to a chain", usual + "iptables-legacy -N mine; iptables-legacy -A mine -p udp -j DROP; iptables-legacy -A FORWARD -g mine\n" + legacyLine, Error, "the policy"},
		{"a rule without target", usual + "iptables-legacy -A FORWARD -p tcp\n" + legacyLine, OK, ""},
		{"mangle", "iptables-legacy -t mangle -A FORWARD -m conntrack --ctstate NEW -j DROP\n", Error, "rule 1 of chain FORWARD of table mangle of iptables-legacy"},
		{"mangle, behind us", "iptables-legacy -t mangle -P POSTROUTING DROP\n", Error, "the policy of chain POSTROUTING of table mangle of iptables-legacy"},
		{"raw", "iptables-legacy -t raw -A PREROUTING -p tcp -j DROP\n", Error, "rule 1 of chain PREROUTING of table raw of iptables-legacy drops data connections at prerouting"},
		{"only input", "iptables-legacy -P INPUT DROP\n", OK, ""},
		{"IPv6", "ip6tables-legacy -P FORWARD DROP\n", Error, "the policy of chain FORWARD of table filter of ip6tables-legacy"},
		{"IPv6 with the line", "ip6tables-legacy -P FORWARD DROP; ip6tables-legacy -A FORWARD -p udp -j DROP; ip6tables-legacy -A FORWARD -s fd00::/8 -p tcp --dport 22 -j DROP\nip6" + strings.TrimPrefix(legacyLine, "ip"),
			OK, ""},
		{"beside nft", usual + legacyLine + "nft add table inet fw; nft 'add chain inet fw f { type filter hook forward priority 0; policy drop; }'", Error, "chain f of table inet fw"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLegacyNetNS(t)
			shell(t, tt.shell)
			row := worst(t, defaults(), "accept line")
			if row.Level != tt.level || !strings.Contains(row.Detail, tt.detail) {
				t.Errorf("%v, detail %q, mend %q; want %v, %q", row.Level, row.Detail, row.Mend, tt.level, tt.detail)
			}
		})
	}
}

// What a mend says must mend, also in a table that is not filter.
func TestLegacyMends(t *testing.T) {
	inLegacyNetNS(t)
	shell(t, usual+"ip6tables-legacy -A FORWARD -j REJECT; iptables-legacy -t mangle -A FORWARD -j DROP; iptables-legacy -t mangle -P POSTROUTING DROP")
	for range 5 {
		row := worst(t, defaults(), "accept line")
		if row.Level == OK {
			return
		}
		if row.Level == Error && !strings.Contains(row.Detail, "priority -150, before they are marked") {
			shell(t, row.Mend)
			continue
		}
		shell(t, "iptables-legacy -t mangle -F FORWARD") // no line helps there
	}
	t.Errorf("after its own mends: %+v", worst(t, defaults(), "accept line"))
}

func TestLegacyOtherRows(t *testing.T) {
	for _, tt := range []struct {
		name, shell, row string
		level            Level
		detail           string
	}{
		{"helper", "iptables-legacy -t raw -A PREROUTING -p udp -j ACCEPT; iptables-legacy -t raw -A PREROUTING -p tcp --dport 21 -j CT --helper ftp", "kernel helper", Error, "rule 2 of chain PREROUTING of table raw of iptables-legacy attaches"},
		{"helper on another port", "iptables-legacy -t raw -A PREROUTING -p tcp --dport 8021 -j CT --helper ftp", "kernel helper", OK, ""},
		{"mark saved", "iptables-legacy -t mangle -A POSTROUTING -j CONNMARK --save-mark", "mark", Warning, "chain POSTROUTING of table mangle of iptables-legacy"},
		{"mark restored", "iptables-legacy -t mangle -A PREROUTING -j CONNMARK --restore-mark", "mark", Warning, "chain PREROUTING of table mangle of iptables-legacy copies bits 0x30000000"},
		{"mark compared", "iptables-legacy -t mangle -A PREROUTING -m connmark --mark 7 -j ACCEPT", "mark", Warning, "rule 1 of chain PREROUTING of table mangle of iptables-legacy compares"},
		{"notrack", "iptables-legacy -t raw -A PREROUTING -p udp -j ACCEPT; iptables-legacy -t raw -A PREROUTING -p tcp --dport 21 -j NOTRACK", "notrack", Error, "rule 2 of chain PREROUTING of table raw of iptables-legacy takes"},
		{"CT --notrack, IPv6", "ip6tables-legacy -t raw -A PREROUTING -p tcp --dport 21 --syn -j CT --notrack", "notrack", Error, "rule 1 of chain PREROUTING of table raw of ip6tables-legacy takes"},
		{"notrack of all but SYNs", "iptables-legacy -t raw -A PREROUTING -p tcp --dport 21 ! --syn -j CT --notrack", "notrack", Error, "rule 1"},
		{"notrack in output", "iptables-legacy -t raw -A OUTPUT -p tcp --dport 21 -j NOTRACK", "notrack", OK, ""},
		{"synproxy", "iptables-legacy -t raw -A PREROUTING -p tcp --dport 21 --syn -j CT --notrack; iptables-legacy -A FORWARD -p tcp -m conntrack --ctstate INVALID,UNTRACKED -j SYNPROXY --mss 1460", "synproxy", Error, "rule 1 of chain FORWARD of table filter of iptables-legacy answers"},
		{"synproxy of another port", "iptables-legacy -A FORWARD -p tcp --dport 80 -j SYNPROXY --mss 1460", "synproxy", OK, ""},
		{"a range is open", "iptables-legacy -P FORWARD DROP; iptables-legacy -A FORWARD -p tcp -m multiport --dports 50000:51000 -j ACCEPT", "open ports", Warning, "50000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLegacyNetNS(t)
			shell(t, tt.shell)
			if row := worst(t, defaults(), tt.row); row.Level != tt.level || !strings.Contains(row.Detail, tt.detail) {
				t.Errorf("%+v, want %v, %q", row, tt.level, tt.detail)
			} else if row.Level == Error {
				_, deletion, found := strings.Cut(row.Mend, "delete it: ")
				if !found {
					deletion = row.Mend
				}
				shell(t, deletion)
				if after := worst(t, defaults(), tt.row); after.Level == Error {
					t.Errorf("after %s: %s", row.Mend, after.Detail)
				}
			}
		})
	}
}

// Nothing is made by being looked for, and others than root are told what they
// cannot see.
func TestLegacyLooksOnly(t *testing.T) {
	inNetNS(t)
	Run(context.Background(), defaults())
	if out, err := exec.Command("cat", "/proc/thread-self/net/ip_tables_names").Output(); err == nil && len(out) > 0 {
		t.Errorf("tables were made: %s", out)
	}
	if _, err := os.Stat("/proc/thread-self/net/ip_tables_names"); err != nil {
		t.Skip(err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, 65534, 65534, 65534); errno != 0 { // this thread only
		t.Fatal(errno)
	}
	becomeNobody(t)
	row := worst(t, defaults(), "accept line")
	if row.Level != Warning || !strings.Contains(row.Mend, "root") {
		t.Errorf("as nobody: %+v", row)
	}
}

// Whatever the bytes are, they are taken apart or refused.
func FuzzLegacyTable(f *testing.F) {
	entry := func(verdict int32) []byte {
		b := make([]byte, 112+40)
		b[88], b[90] = 112, 112+40
		b[112] = 40
		b[144], b[145], b[146], b[147] = byte(verdict), byte(verdict>>8), byte(verdict>>16), byte(verdict>>24)
		return b
	}
	f.Add(append(entry(-2), entry(152)...), uint32(0), uint32(152), false)
	f.Add(entry(-1), uint32(0), uint32(0), true)
	f.Fuzz(func(t *testing.T, b []byte, begins, policy uint32, six bool) {
		l := legacyFamilies()[0]
		if six {
			l = legacyFamilies()[1]
		}
		rs := &ruleset{chains: make(map[chainKey]*chain), sets: make(map[objectKey][]element)}
		info := legacyInfo{hooks: 1 << forward}
		info.entry[forward], info.underflow[forward] = begins, policy
		if rs.addLegacyTable(l, "filter", info, b) != nil {
			return
		}
		for _, c := range rs.all() {
			w := &walk{rs: rs, pkt: packet{family: unix.NFPROTO_IPV4, state: stateNew, markKnown: ^uint32(0)}}
			w.through(c)
		}
	})
}
