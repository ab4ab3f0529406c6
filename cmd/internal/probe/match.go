package probe

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// answer is whether a packet matches.
type answer int8

const (
	no    answer = iota - 1
	maybe        // it depends on what is not known of the packet
	yes
)

func (a answer) not() answer { return -a }

func sure(b bool) answer {
	if b {
		return yes
	}
	return no
}

// equal compares with what a rule names.
func (b bits) equal(want []byte) answer {
	if len(want) > len(b.value) {
		return maybe
	}
	whole := true
	for i, w := range want {
		if (b.value[i]^w)&b.known[i] != 0 {
			return no
		}
		whole = whole && b.known[i] == 0xff
	}
	if !whole {
		return maybe
	}
	return yes
}

// compare is the cmp expression.
func compare(r *registers, e expression) answer {
	reg, _ := e.number(unix.NFTA_CMP_SREG)
	op, _ := e.number(unix.NFTA_CMP_OP)
	want := dataValue(e.attr[unix.NFTA_CMP_DATA])
	have := r.load(reg, len(want))
	switch op {
	case unix.NFT_CMP_EQ:
		return have.equal(want)
	case unix.NFT_CMP_NEQ:
		return have.equal(want).not()
	}
	if !have.whole() {
		return maybe
	}
	c := bytes.Compare(have.value, want)
	switch op {
	case unix.NFT_CMP_LT:
		return sure(c < 0)
	case unix.NFT_CMP_LTE:
		return sure(c <= 0)
	case unix.NFT_CMP_GT:
		return sure(c > 0)
	case unix.NFT_CMP_GTE:
		return sure(c >= 0)
	}
	return maybe
}

// inRange is the range expression.
func inRange(r *registers, e expression) answer {
	reg, _ := e.number(unix.NFTA_RANGE_SREG)
	op, _ := e.number(unix.NFTA_RANGE_OP)
	from, to := dataValue(e.attr[unix.NFTA_RANGE_FROM_DATA]), dataValue(e.attr[unix.NFTA_RANGE_TO_DATA])
	have := r.load(reg, len(from))
	if !have.whole() || len(from) != len(to) {
		return maybe
	}
	in := sure(bytes.Compare(have.value, from) >= 0 && bytes.Compare(have.value, to) <= 0)
	if op == unix.NFT_RANGE_NEQ {
		return in.not()
	}
	return in
}

// bitwise is the bitwise expression: (source & mask) ^ xor. Others of its
// operations leave an unknown value.
func bitwise(r *registers, e expression) {
	const op = 6 // NFTA_BITWISE_OP; 0 is NFT_BITWISE_MASK_XOR
	sreg, _ := e.number(unix.NFTA_BITWISE_SREG)
	dreg, _ := e.number(unix.NFTA_BITWISE_DREG)
	n, _ := e.number(unix.NFTA_BITWISE_LEN)
	if n > 64 {
		r.forget()
		return
	}
	mask, xor := dataValue(e.attr[unix.NFTA_BITWISE_MASK]), dataValue(e.attr[unix.NFTA_BITWISE_XOR])
	if o, _ := e.number(op); o != 0 || len(mask) != int(n) || len(xor) != int(n) {
		r.store(dreg, unknown(int(n)))
		return
	}
	b := r.load(sreg, int(n))
	for i := range b.value {
		b.value[i] = b.value[i]&mask[i] ^ xor[i]
		b.known[i] |= ^mask[i] // what is masked away is known to be 0
	}
	r.store(dreg, b)
}

// contains looks a value up among a set's elements; i is the element's index
// when the answer is yes, which may be -1 for an interval.
func contains(elems []element, have func(n int) bits) (a answer, i int) {
	a, i = no, -1
	var start []byte // of the interval with the highest start that is not above
	inside := false
	intervals := false
	for j, e := range elems {
		b := have(len(e.key))
		if e.end != nil {
			if !b.whole() || len(e.end) != len(e.key) {
				a = max(a, maybe)
				continue
			}
			// Concatenations have a range for each part, at four bytes each;
			// one that is a point shows as from = to.
			in := true
			for k := 0; k < len(e.key); k += 4 {
				to := min(k+4, len(e.key))
				in = in && bytes.Compare(b.value[k:to], e.key[k:to]) >= 0 && bytes.Compare(b.value[k:to], e.end[k:to]) <= 0
			}
			if in {
				return yes, j
			}
			continue
		}
		intervals = intervals || e.intervalEnd
		switch m := b.equal(e.key); {
		case m == yes && !e.intervalEnd:
			return yes, j
		case m == maybe:
			a = maybe
		}
		if b.whole() && bytes.Compare(e.key, b.value) <= 0 &&
			(start == nil || bytes.Compare(e.key, start) > 0 || bytes.Equal(e.key, start) && !e.intervalEnd) {
			start, inside = e.key, !e.intervalEnd
			i = j
		}
	}
	if intervals && a == no && inside {
		return yes, i
	}
	return a, -1
}

// native reads a number of an xt match, in host order.
func native16(b []byte, at int) uint16 { return binary.NativeEndian.Uint16(b[at:]) }
func native32(b []byte, at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
