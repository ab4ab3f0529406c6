package probe

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// reaches says how a packet comes to a rule.
type reaches struct {
	chain   *chain
	rule    rule
	port    uint16
	certain bool
}

func (r reaches) String() string { return r.chain.nameOf(r.rule) }

// wherever plays packets through all chains at the hooks and gives the rules
// that they reach, each once, certain ones first.
func wherever(rs *ruleset, cfg Config, hooks []uint32, packets func(family uint8, base *chain) []packet, wanted func(*chain, rule) bool) []reaches {
	type id struct {
		chain  chainKey
		handle uint64
	}
	found := make(map[id]reaches)
	for _, hook := range hooks {
		for _, family := range families {
			for _, c := range rs.base(hook, family) {
				if cfg.own(c) {
					continue
				}
				for _, pkt := range packets(family, c) {
					w := &walk{rs: rs, pkt: pkt}
					w.visit = func(c *chain, r rule, matches answer, certain bool) {
						if !wanted(c, r) {
							return
						}
						key := id{c.chainKey, r.handle}
						this := reaches{c, r, pkt.server(), certain && matches == yes}
						if before, ok := found[key]; !ok || !before.certain && this.certain {
							found[key] = this
						}
					}
					w.through(c)
				}
			}
		}
	}
	all := make([]reaches, 0, len(found))
	for _, r := range found {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b reaches) int {
		if a.certain != b.certain {
			if a.certain {
				return -1
			}
			return 1
		}
		return strings.Compare(a.String(), b.String())
	})
	return all
}

// clientPort stands for any port that a client takes: in every system's range.
const clientPort = 50021

// firstPackets are the SYNs of control connections.
func (cfg Config) firstPackets(family uint8, _ *chain) []packet {
	var all []packet
	for _, port := range cfg.Ports {
		all = append(all, packet{family: family, state: stateNew, sport: clientPort, dport: port, markKnown: ^uint32(0)})
	}
	return all
}

// laterPackets are those of established ones, both ways.
func (cfg Config) laterPackets(family uint8, _ *chain) []packet {
	var all []packet
	for _, port := range cfg.Ports {
		all = append(all,
			packet{family: family, state: stateEstablished, sport: clientPort, dport: port},
			packet{family: family, state: stateEstablished, sport: port, dport: clientPort, reply: true})
	}
	return all
}

func portList(ports []uint16) string {
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = strconv.Itoa(int(p))
	}
	return strings.Join(words, ", ")
}

// flowtables looks for rules that take control connections past the hooks:
// then nobody reads them.
func flowtables(rs *ruleset, cfg Config) []Row {
	const name = "flowtable"
	found := wherever(rs, cfg, []uint32{forward}, cfg.laterPackets, func(_ *chain, r rule) bool {
		return slices.ContainsFunc(r.exprs, func(e expression) bool { return e.name == "flow_offload" })
	})
	var rows []Row
	for _, r := range found {
		row := Row{Name: name, Level: Error,
			Mend: fmt.Sprintf("exclude control connections in that rule: th dport != { %s } th sport != { %[1]s } flow add @%[2]s",
				portList(cfg.Ports), flowtableOf(r.rule)),
			Detail: fmt.Sprintf("%s takes control connections to port %d into a flowtable, unseen", r, r.port)}
		if !r.certain {
			row.Level = Warning
			row.Detail = fmt.Sprintf("%s may take control connections to port %d into a flowtable, unseen", r, r.port)
		}
		rows = append(rows, row)
	}
	switch {
	case len(rows) > 0:
	case len(rs.flowtables) == 0:
		rows = []Row{{Name: name, Detail: "none"}}
	default:
		rows = []Row{{Name: name, Detail: "control connections stay out of " + rs.flowtables[0].name}}
	}
	return rows
}

// flowtableOf names the flowtable that a rule adds connections to.
func flowtableOf(r rule) string {
	const nftaFlowTableName = 1 // NFTA_FLOW_TABLE_NAME
	for _, e := range r.exprs {
		if e.name == "flow_offload" {
			return e.text(nftaFlowTableName)
		}
	}
	return ""
}

// helpers looks for the kernel's own FTP helper on our ports: it would open
// ports of its own, and drop control packets that it dislikes. Where it is meant
// to be there, that is no error.
func helpers(rs *ruleset, cfg Config) []Row {
	const name = "kernel helper"
	found := wherever(rs, cfg, allHooks(), cfg.firstPackets, func(c *chain, r rule) bool {
		return slices.ContainsFunc(r.exprs, func(e expression) bool { return rs.attachesFTP(c, e) })
	})
	var rows []Row
	for _, r := range found {
		row := Row{Name: name, Level: Error, Mend: r.chain.deletion(r.rule),
			Detail: fmt.Sprintf("%s attaches the kernel's FTP helper to port %d", r, r.port)}
		if !r.certain {
			row.Level = Warning
			row.Detail = fmt.Sprintf("%s may attach the kernel's FTP helper to port %d", r, r.port)
			row.Mend = "if it does: " + row.Mend
		}
		rows = append(rows, row)
	}
	loaded := modules("nf_conntrack_ftp", "nf_nat_ftp")
	switch ports := attachedByItself(os.DirFS("/"), cfg.Ports); {
	case len(ports) > 0:
		rows = append(rows, Row{Name: name, Level: Error,
			Detail: sysctl("nf_conntrack_helper") + "=1 attaches the kernel's FTP helper to port " + portList(ports),
			Mend:   setSysctl("nf_conntrack_helper", "0")})
	case len(loaded) > 0:
		rows = append(rows, Row{Name: name, Level: Warning,
			Detail: strings.Join(loaded, " and ") + " loaded; harmless while no rule attaches it",
			Mend:   "modprobe -r nf_nat_ftp nf_conntrack_ftp"})
	}
	if len(rows) == 0 {
		rows = []Row{{Name: name, Detail: "not on port " + portList(cfg.Ports)}}
	}
	for i := range rows {
		if cfg.BesideHelper {
			rows[i].Level = min(rows[i].Level, Warning)
		}
	}
	return rows
}

// attachesFTP reports whether an expression is "ct helper set" with a helper of
// type ftp, or iptables' -j CT --helper ftp.
func (rs *ruleset) attachesFTP(c *chain, e expression) bool {
	const helperAt, helperLen = 12, 16 // struct xt_ct_target_info and _v1
	switch e.name {
	case "objref":
		kind, immediate := e.number(unix.NFTA_OBJREF_IMM_TYPE)
		if immediate {
			key := objectKey{c.family, c.table, e.text(unix.NFTA_OBJREF_IMM_NAME)}
			return kind == unix.NFT_OBJECT_CT_HELPER && rs.helpers[key] == "ftp"
		}
		for key, helper := range rs.helpers { // a map, of objects of this table
			if helper == "ftp" && key.family == c.family && key.table == c.table {
				return true
			}
		}
	case "target":
		info := e.attr[unix.NFTA_TARGET_INFO]
		return e.text(unix.NFTA_TARGET_NAME) == "CT" && len(info) >= helperAt+helperLen &&
			text(info[helperAt:helperAt+helperLen]) == "ftp"
	}
	return false
}

// attachedByItself gives those of our ports to which the kernel attaches its
// helper without a rule: it did so on request until Linux 6.0, on port 21 unless
// the module was told others.
func attachedByItself(root fs.FS, ours []uint16) []uint16 {
	const module = "sys/module/nf_conntrack_ftp" // also where it is built in
	auto, err := fs.ReadFile(root, "proc/sys/net/netfilter/nf_conntrack_helper")
	if err != nil || strings.TrimSpace(string(auto)) != "1" {
		return nil
	}
	if _, err := fs.Stat(root, module); err != nil {
		return nil
	}
	theirs := "21"
	if b, err := fs.ReadFile(root, module+"/parameters/ports"); err == nil { // root's to read
		theirs = strings.TrimSpace(string(b))
	}
	return slices.DeleteFunc(slices.Clone(ours), func(p uint16) bool {
		return !slices.Contains(strings.Split(theirs, ","), strconv.Itoa(int(p)))
	})
}

// modules gives those of the names that are loaded.
func modules(names ...string) []string {
	b, err := os.ReadFile("/proc/modules")
	if err != nil {
		return nil // a kernel without modules
	}
	var loaded []string
	for line := range strings.Lines(string(b)) {
		if name, _, _ := strings.Cut(line, " "); slices.Contains(names, name) {
			loaded = append(loaded, name)
		}
	}
	return loaded
}
