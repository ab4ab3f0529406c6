package probe

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestContains(t *testing.T) {
	set := []element{{key: []byte{0, 20}}, {key: []byte{0, 22}, intervalEnd: true}, {key: []byte{0, 80}}, {key: []byte{0, 81}, intervalEnd: true}}
	plain := []element{{key: []byte{0, 21}}, {key: []byte{0, 80}}}
	ranges := []element{{key: []byte{0, 20}, end: []byte{0, 22}}}
	for _, tt := range []struct {
		name  string
		elems []element
		have  bits
		want  answer
	}{
		{"plain", plain, known([]byte{0, 21}), yes},
		{"not in plain", plain, known([]byte{0, 22}), no},
		{"unknown", plain, unknown(2), maybe},
		{"half known, out", plain, bits{[]byte{1, 0}, []byte{0xff, 0}}, no},
		{"empty", nil, unknown(2), no},
		{"interval's start", set, known([]byte{0, 20}), yes},
		{"interval's inside", set, known([]byte{0, 21}), yes},
		{"interval's end", set, known([]byte{0, 22}), no},
		{"between", set, known([]byte{0, 50}), no},
		{"below", set, known([]byte{0, 1}), no},
		{"above", set, known([]byte{1, 1}), no},
		{"in range", ranges, known([]byte{0, 22}), yes},
		{"out of range", ranges, known([]byte{0, 23}), no},
		{"range, unknown", ranges, unknown(2), maybe},
	} {
		if got, _ := contains(tt.elems, func(int) bits { return tt.have }); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// An answer about a value of which some bits are unknown is yes or no only if
// it is the answer for every value that it may have.
func TestMaybeIsHonest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "value")
		mask := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "known")
		other := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "other")
		want := rapid.OneOf(rapid.Just(value), rapid.SliceOfN(rapid.Byte(), 4, 4)).Draw(t, "want")
		actual := make([]byte, 4) // one value that it may have
		for i := range actual {
			actual[i] = value[i]&mask[i] | other[i]&^mask[i]
		}
		b := bits{value: append([]byte(nil), value...), known: mask}
		switch b.equal(want) {
		case yes:
			if !bytes.Equal(actual, want) {
				t.Errorf("yes, but %x is not %x", actual, want)
			}
		case no:
			if bytes.Equal(actual, want) {
				t.Errorf("no, but %x is %x", actual, want)
			}
		}
	})
}
