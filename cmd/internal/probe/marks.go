package probe

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// controlMark is the bit that control connections carry.
const controlMark = 0x20000000

// marks looks for rules of others that overwrite our bits of the ct mark.
func marks(rs *ruleset, cfg Config) []Row {
	const name = "mark"
	var rows []Row
	for _, r := range overwriters(rs, cfg, cfg.Mark) {
		rows = append(rows, Row{Name: name, Level: Warning,
			Detail: fmt.Sprintf("%s overwrites bit %#x of the ct mark of data connections", r, cfg.Mark),
			Mend:   fmt.Sprintf("leave the bit alone there (nft: ct mark set ct mark and %#x or …; iptables: --set-xmark with a mask), or choose another with mark", cfg.Mark)})
	}
	if len(rows) > 0 {
		return rows // whoever overwrites that one mostly overwrites all
	}
	for _, r := range overwriters(rs, cfg, controlMark) {
		rows = append(rows, Row{Name: name, Level: Warning,
			Detail: fmt.Sprintf("%s overwrites bit %#x of the ct mark of control connections: their ends are noticed late", r, uint32(controlMark)),
			Mend:   fmt.Sprintf("leave the bit alone there (nft: ct mark set ct mark and %#x or …; iptables: --set-xmark with a mask)", uint32(controlMark))})
	}
	if len(rows) == 0 {
		rows = []Row{{Name: name, Detail: fmt.Sprintf("nobody else writes bit %#x", cfg.Mark)}}
	}
	return rows
}

// overwriters are the rules of others that overwrite a bit of connections that
// carry it.
func overwriters(rs *ruleset, cfg Config, bit uint32) []reaches {
	return wherever(rs, cfg, allHooks(), func(family uint8, c *chain) []packet {
		pkt := packet{family: family, state: stateEstablished, mark: bit, markKnown: bit}
		all := []packet{pkt}
		// What is written before we mark the first packet is no harm.
		if c.priority > markedAt && c.hook != prerouting {
			pkt.state = stateNew
			all = append(all, pkt)
		}
		return all
	}, func(_ *chain, r rule) bool { return overwrites(r, bit) })
}

// overwrites reports whether a rule writes the ct mark without keeping bit.
func overwrites(r rule, bit uint32) bool {
	kept := make(map[uint32]bool) // registers that hold the ct mark, our bit intact
	for _, e := range r.exprs {
		switch e.name {
		case "ct":
			key, _ := e.number(unix.NFTA_CT_KEY)
			if key != unix.NFT_CT_MARK {
				continue
			}
			if dreg, ok := e.number(unix.NFTA_CT_DREG); ok {
				kept[dreg] = true
			}
			if sreg, ok := e.number(unix.NFTA_CT_SREG); ok && !kept[sreg] {
				return true
			}
		case "bitwise":
			sreg, _ := e.number(unix.NFTA_BITWISE_SREG)
			dreg, _ := e.number(unix.NFTA_BITWISE_DREG)
			mask, xor := dataValue(e.attr[unix.NFTA_BITWISE_MASK]), dataValue(e.attr[unix.NFTA_BITWISE_XOR])
			kept[dreg] = kept[sreg] && len(mask) == 4 && len(xor) == 4 &&
				binary.NativeEndian.Uint32(mask)&bit != 0 && binary.NativeEndian.Uint32(xor)&bit == 0
		case "target":
			// struct xt_connmark_tginfo1: ctmark, ctmask, nfmask, mode;
			// tginfo2 has two bytes more before mode.
			info := e.attr[unix.NFTA_TARGET_INFO]
			if e.text(unix.NFTA_TARGET_NAME) != "CONNMARK" || len(info) < 15 {
				continue
			}
			mode := info[12]
			if rev, _ := e.number(unix.NFTA_TARGET_REV); rev == 2 {
				mode = info[14]
			}
			const restore = 2 // XT_CONNMARK_RESTORE: to the packet's mark
			if mode != restore && native32(info, 4)&bit != 0 {
				return true
			}
		}
	}
	return false
}
