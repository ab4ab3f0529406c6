package flows

import "golang.org/x/net/bpf"

// attributesAt is where a ctnetlink message's attributes begin: after nlmsghdr
// and nfgenmsg.
const attributesAt = 16 + 4

// markFilter is run by the kernel on each event before it takes room in our
// buffer: only flows with a bit of mask in their mark get through.
func markFilter(mask uint32) ([]bpf.RawInstruction, error) {
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadConstant{Dst: bpf.RegA, Val: attributesAt},
		bpf.LoadConstant{Dst: bpf.RegX, Val: ctaMark},
		bpf.LoadExtension{Num: bpf.ExtNetlinkAttr}, // A: offset of CTA_MARK, or 0
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 4},
		bpf.TAX{},
		bpf.LoadIndirect{Off: 4, Size: 4}, // behind the attribute's header
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: mask, SkipTrue: 1},
		bpf.RetConstant{Val: 1<<32 - 1},
		bpf.RetConstant{Val: 0},
	})
}
