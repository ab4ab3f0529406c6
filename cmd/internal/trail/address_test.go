package trail

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestKeyRange(t *testing.T) {
	tests := []struct{ prefix, least, greatest string }{
		{"10.0.0.0/8", "10.0.0.0", "10.255.255.255"},
		{"0.0.0.0/0", "0.0.0.0", "255.255.255.255"},
		{"192.0.2.7/32", "192.0.2.7", "192.0.2.7"},
		{"192.0.2.7/31", "192.0.2.6", "192.0.2.7"},
		{"::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"2001:db8::/64", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"},
		{"2001:db8::/65", "2001:db8::", "2001:db8::7fff:ffff:ffff:ffff"},
		{"2001:db8::1/128", "2001:db8::1", "2001:db8::1"},
	}
	for _, tt := range tests {
		least, greatest := keyRange(netip.MustParsePrefix(tt.prefix))
		if a, b := addrOf(least), addrOf(greatest); a.String() != tt.least && !a.Is4() || b != netip.MustParseAddr(tt.greatest) {
			t.Errorf("%s: %v to %v", tt.prefix, a, b)
		}
	}
}

// An address is in the range of a prefix if and only if it is in the prefix.
func TestKeyRangeIsThePrefix(t *testing.T) {
	address := rapid.Custom(func(t *rapid.T) netip.Addr {
		n := rapid.SampledFrom([]int{4, 16}).Draw(t, "family")
		// Few bytes, so that many are in the prefixes.
		a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 127, 128, 255}), n, n).Draw(t, "bytes"))
		return a.Unmap()
	})
	rapid.Check(t, func(t *rapid.T) {
		in, a := address.Draw(t, "prefix"), address.Draw(t, "address")
		p := netip.PrefixFrom(in, rapid.IntRange(0, in.BitLen()).Draw(t, "bits"))
		if in.Is4() != a.Is4() && p.Bits() >= 96 { // ::ffff:10.0.0.0/104 are IPv4 addresses
			return
		}
		key := addrKey(a)
		got := slices.ContainsFunc(rangesOf([]netip.Prefix{p}), func(k keys) bool {
			return bytes.Compare(key, k.low) >= 0 && bytes.Compare(key, k.high) <= 0
		})
		if got != p.Contains(a) {
			t.Errorf("%v in %v: %v", a, p, got)
		}
		if addrOf(key) != a.Unmap() {
			t.Errorf("%v came back as %v", a, addrOf(key))
		}
	})
}
