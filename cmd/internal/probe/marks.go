package probe

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// controlMark is the bit that control connections carry.
const controlMark = 0x20000000

// marks looks for other users of our bits of the ct mark: rules that overwrite
// them, and those that take them for a part of a mark of their own.
func marks(rs *ruleset, cfg Config) []Row {
	const name = "mark"
	var rows []Row
	add := func(found []reaches, detail, mend string) {
		for _, r := range found {
			rows = append(rows, Row{Name: name, Level: Warning, Detail: r.String() + " " + detail, Mend: mend})
		}
	}
	add(markUsers(rs, cfg, cfg.Mark, func(u markUse) bool { return u.overwrites }),
		fmt.Sprintf("overwrites bit %#x of the ct mark of data connections", cfg.Mark),
		fmt.Sprintf("leave the bit alone there (nft: ct mark set ct mark and %#x or …; iptables: --set-xmark with a mask), or choose another with mark", cfg.Mark))
	if len(rows) == 0 { // whoever overwrites that one mostly overwrites all
		add(markUsers(rs, cfg, controlMark, func(u markUse) bool { return u.overwrites }),
			fmt.Sprintf("overwrites bit %#x of the ct mark of control connections: their ends are noticed late", uint32(controlMark)),
			fmt.Sprintf("leave the bit alone there (nft: ct mark set ct mark and %#x or …; iptables: --set-xmark with a mask)", uint32(controlMark)))
	}
	ours := cfg.Mark | controlMark
	add(markUsers(rs, cfg, ours, func(u markUse) bool { return u.copies }),
		fmt.Sprintf("copies bits %#x of the ct mark to packets too: rules and routes (ip rule … fwmark) that compare whole marks do not know those of FTP connections", ours),
		fmt.Sprintf("leave the bits out there (nft: meta mark set ct mark and %#x; iptables: --restore-mark --nfmask %#[1]x --ctmask %#[1]x)", ^ours))
	add(markUsers(rs, cfg, ours, func(u markUse) bool { return u.compares }),
		fmt.Sprintf("compares bits %#x of the ct mark together with others: FTP connections, which carry one of them, match otherwise than without", ours),
		fmt.Sprintf("compare the other bits only (nft: ct mark and %#x == …; iptables: -m connmark --mark …/%#[1]x)", ^ours))
	if len(rows) == 0 {
		rows = []Row{{Name: name, Detail: fmt.Sprintf("nobody else uses bits %#x", ours)}}
	}
	return rows
}

// markUsers are the rules of others that use bits of the ct mark of connections
// that may carry them.
func markUsers(rs *ruleset, cfg Config, bits uint32, wanted func(markUse) bool) []reaches {
	return wherever(rs, cfg, allHooks(), func(family uint8, c *chain) []packet {
		// A rule that overwrites one bit is asked for those that surely carry it.
		// One that compares several is not to be passed by for what they are.
		pkt := packet{family: family, state: stateEstablished}
		if bits&(bits-1) == 0 {
			pkt.mark, pkt.markKnown = bits, bits
		}
		all := []packet{pkt}
		// What is done before we mark the first packet is no harm.
		if c.priority > markedAt && c.hook != prerouting {
			pkt.state = stateNew
			all = append(all, pkt)
		}
		return all
	}, func(_ *chain, r rule) bool { return wanted(useOf(r, bits)) })
}

// markUse is what a rule does with some bits of the ct mark.
type markUse struct {
	overwrites bool // writes them, and not as they were
	copies     bool // to the mark of the packet
	compares   bool // together with others
}

// held says which bits of a register are those of the ct mark, as they were.
type held map[uint32]uint32

// useOf follows the ct mark through a rule.
func useOf(r rule, bits uint32) (u markUse) {
	regs := make(held)
	compared := func(mask uint32) bool { return mask&bits != 0 && mask&^bits != 0 }
	for _, e := range r.exprs {
		switch e.name {
		case "ct":
			key, _ := e.number(unix.NFTA_CT_KEY)
			sreg, writes := e.number(unix.NFTA_CT_SREG)
			u.overwrites = u.overwrites || writes && key == unix.NFT_CT_MARK && regs[sreg]&bits != bits
			if dreg, reads := e.number(unix.NFTA_CT_DREG); reads {
				regs[dreg] = 0
				if key == unix.NFT_CT_MARK {
					regs[dreg] = ^uint32(0)
				}
			}
		case "meta":
			key, _ := e.number(unix.NFTA_META_KEY)
			sreg, writes := e.number(unix.NFTA_META_SREG)
			u.copies = u.copies || writes && key == unix.NFT_META_MARK && regs[sreg]&bits != 0
			if dreg, reads := e.number(unix.NFTA_META_DREG); reads {
				regs[dreg] = 0
			}
		case "bitwise":
			regs.bitwise(e)
		case "byteorder": // before a range
			sreg, _ := e.number(unix.NFTA_BYTEORDER_SREG)
			dreg, _ := e.number(unix.NFTA_BYTEORDER_DREG)
			regs[dreg] = regs[sreg]
		case "immediate":
			dreg, _ := e.number(unix.NFTA_IMMEDIATE_DREG)
			regs[dreg] = 0
		case "payload":
			dreg, _ := e.number(unix.NFTA_PAYLOAD_DREG)
			regs[dreg] = 0
		case "cmp":
			sreg, _ := e.number(unix.NFTA_CMP_SREG)
			u.compares = u.compares || compared(regs[sreg])
		case "range":
			sreg, _ := e.number(unix.NFTA_RANGE_SREG)
			u.compares = u.compares || compared(regs[sreg])
		case "lookup":
			sreg, _ := e.number(unix.NFTA_LOOKUP_SREG)
			u.compares = u.compares || compared(regs[sreg])
			if dreg, isMap := e.number(unix.NFTA_LOOKUP_DREG); isMap {
				regs[dreg] = 0
			}
		case "match":
			// struct xt_connmark_mtinfo1: mark, mask, invert.
			if info := e.attr[unix.NFTA_MATCH_INFO]; e.text(unix.NFTA_MATCH_NAME) == "connmark" && len(info) >= 9 {
				u.compares = u.compares || compared(native32(info, 4))
			}
		case "target":
			overwrites, copies := connmark(e, bits)
			u.overwrites, u.copies = u.overwrites || overwrites, u.copies || copies
		case "counter", "log", "limit", "verdict", "objref", "reject", "queue", "masq", "nat", "redir", "flow_offload":
		default: // it may have loaded anything
			clear(regs)
		}
	}
	return u
}

// bitwise is what a register holds after the bitwise expression.
func (regs held) bitwise(e expression) {
	sreg, _ := e.number(unix.NFTA_BITWISE_SREG)
	dreg, _ := e.number(unix.NFTA_BITWISE_DREG)
	mask, xor := dataValue(e.attr[unix.NFTA_BITWISE_MASK]), dataValue(e.attr[unix.NFTA_BITWISE_XOR])
	if len(mask) != 4 || len(xor) != 4 {
		regs[dreg] = 0
		return
	}
	regs[dreg] = regs[sreg] & native32(mask, 0) &^ native32(xor, 0)
}

// connmark is iptables' -j CONNMARK (struct xt_connmark_tginfo1: ctmark, ctmask,
// nfmask, mode; tginfo2 has two bytes more before mode).
func connmark(e expression, bits uint32) (overwrites, copies bool) {
	info := e.attr[unix.NFTA_TARGET_INFO]
	if e.text(unix.NFTA_TARGET_NAME) != "CONNMARK" || len(info) < 15 {
		return false, false
	}
	mode := info[12]
	if rev, _ := e.number(unix.NFTA_TARGET_REV); rev == 2 {
		mode = info[14]
	}
	const restore = 2 // XT_CONNMARK_RESTORE: to the packet's mark
	used := native32(info, 4)&bits != 0
	return used && mode != restore, used && mode == restore
}
