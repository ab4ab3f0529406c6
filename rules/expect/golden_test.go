package expect

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"

	"ftpinhole/rules"
)

// The golden bytes are what Debian 12's libnetfilter_cthelper 1.0.1
// (nfct_helper_nlmsg_build_payload) and libnetfilter_conntrack 1.0.9
// (nfexp_nlmsg_build) build, printed by a C program that linked them: all after
// struct nlmsghdr. What translates (NAT, FN) neither of them writes; it is
// written down from ctnetlink_parse_expect_nat of the kernel, and tried in
// TestTranslated.
const (
	ftpinhole4 = `00000000
		0e000100667470696e686f6c65000000
		0800030000000834
		0800050000000000
		14000280 0600010000020000 0500020006000000
		30000480 24000280 0e000100667470696e686f6c65000000 0800020000000004 080003000000001e 0800010000000001
		0800060000000000`

	plainTuple4  = `34000280 14000180 080001000a000102 080002000a000202 1c000280 0500010006000000 0600020000000000 06000300c3870000`
	plainMaster4 = `34000180 14000180 080001000a000102 080002000a000202 1c000280 0500010006000000 060002009c400000 0600030000150000`
	plainMask4   = `34000380 14000180 08000100ffffffff 08000200ffffffff 1c000280 0500010006000000 0600020000000000 06000300ffff0000`
	thirty       = `080004000000001e`
)

var ftpinhole6 = strings.Replace(ftpinhole4, "0600010000020000", "06000100000a0000", 1)

func TestGolden(t *testing.T) {
	addr, addrPort := netip.MustParseAddr, netip.MustParseAddrPort
	helper := Helper{Name: "ftpinhole", Queue: 2100, Max: 4, Timeout: 30}
	helper6 := helper
	helper6.IPv6 = true
	plain := rules.Pinhole{
		Src: addr("10.0.1.2"), Dst: addrPort("10.0.2.2:50055"), Timeout: 30 * time.Second,
		Control: rules.Tuple{Src: addrPort("10.0.1.2:40000"), Dst: addrPort("10.0.2.2:21")},
	}
	plain6 := rules.Pinhole{
		Src: addr("fd00:0:0:1::2"), Dst: addrPort("[fd00:0:0:2::2]:50055"), Timeout: 30 * time.Second,
		Control: rules.Tuple{Src: addrPort("[fd00:0:0:1::2]:40000"), Dst: addrPort("[fd00:0:0:2::2]:21")},
	}
	// A client behind masquerade: the server sees it as 10.0.2.1, and its data
	// connection from port 20 to 10.0.2.1:50055 goes to 10.0.1.2:3762.
	active := rules.Pinhole{
		Src: addr("10.0.2.2"), SrcPort: 20, Dst: addrPort("10.0.1.2:3762"), Timeout: 30 * time.Second,
		Outside: addrPort("10.0.2.1:50055"), Control: plain.Control,
	}
	// A server behind DNAT: what the client sends to 10.0.2.9:50055 goes to
	// 10.0.2.2:3762.
	passive := rules.Pinhole{
		Src: addr("10.0.1.2"), Dst: addrPort("10.0.2.2:3762"), Timeout: 30 * time.Second,
		Outside: addrPort("10.0.2.9:50055"),
		Control: rules.Tuple{Src: addrPort("10.0.1.2:40000"), Dst: addrPort("10.0.2.9:21")},
	}
	const excl = netlink.Create | netlink.Excl
	for _, test := range []struct {
		name  string
		build func() (netlink.Message, error)
		kind  uint16
		flags netlink.HeaderFlags // as libmnl's header has them
		want  string
	}{
		{"helper", helper.create, 0x900, 0x405, ftpinhole4},
		{"helper, IPv6", helper6.create, 0x900, 0x405, ftpinhole6},
		{"delete helper", helper.remove, 0x902, 5, `00000000 0e000100667470696e686f6c65000000 14000280 0600010000020000 0500020006000000`},
		{"delete helper, IPv6", helper6.remove, 0x902, 5, `00000000 0e000100667470696e686f6c65000000 14000280 06000100000a0000 0500020006000000`},
		{"expectation", func() (netlink.Message, error) { return create(plain, excl, 30) }, 0x200, 0x605,
			"02000000" + plainTuple4 + plainMaster4 + plainMask4 + thirty},
		{"expectation, IPv6", func() (netlink.Message, error) { return create(plain6, excl, 30) }, 0x200, 0x605, `0a000000
			4c000280 2c000180 14000300fd000000000000010000000000000002 14000400fd000000000000020000000000000002 1c000280 0500010006000000 0600020000000000 06000300c3870000
			4c000180 2c000180 14000300fd000000000000010000000000000002 14000400fd000000000000020000000000000002 1c000280 0500010006000000 060002009c400000 0600030000150000
			4c000380 2c000180 14000300ffffffffffffffffffffffffffffffff 14000400ffffffffffffffffffffffffffffffff 1c000280 0500010006000000 0600020000000000 06000300ffff0000
			080004000000001e`},
		{"refresh", func() (netlink.Message, error) { return create(plain, 0, 30) }, 0x200, 5,
			"02000000" + plainTuple4 + plainMaster4 + plainMask4 + thirty},
		{"delete expectation", func() (netlink.Message, error) { return remove(expected(plain), 0) }, 0x202, 5, "02000000" + plainTuple4},
		{"delete expectation by id", func() (netlink.Message, error) { return remove(expected(plain), 7) }, 0x202, 5, "02000000" + plainTuple4 + "0800050000000007"},
		{"active, translated", func() (netlink.Message, error) { return create(active, excl, 30) }, 0x200, 0x605, "02000000" +
			`34000280 14000180 080001000a000202 080002000a000201 1c000280 0500010006000000 0600020000140000 06000300c3870000` + plainMaster4 +
			`34000380 14000180 08000100ffffffff 08000200ffffffff 1c000280 0500010006000000 06000200ffff0000 06000300ffff0000` + thirty +
			`40000a80 0800010000000001
				34000280 14000180 080001000a000102 080002000a000202 1c000280 0500010006000000 060002000eb20000 0600030000000000
			16000b006e61742d666f6c6c6f772d6d617374657200 0000`},
		{"passive, translated", func() (netlink.Message, error) { return create(passive, excl, 30) }, 0x200, 0x605, "02000000" +
			`34000280 14000180 080001000a000102 080002000a000209 1c000280 0500010006000000 0600020000000000 06000300c3870000
			34000180 14000180 080001000a000102 080002000a000209 1c000280 0500010006000000 060002009c400000 0600030000150000` + plainMask4 + thirty +
			`40000a80 0800010000000000
				34000280 14000180 080001000a000202 080002000a000102 1c000280 0500010006000000 060002000eb20000 0600030000000000
			16000b006e61742d666f6c6c6f772d6d617374657200 0000`},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := test.build()
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(strings.Join(strings.Fields(test.want), ""))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(hex.Dump(want), hex.Dump(m.Data)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if uint16(m.Header.Type) != test.kind || m.Header.Flags != test.flags {
				t.Errorf("type %#x, flags %#x, want %#x, %#x", m.Header.Type, m.Header.Flags, test.kind, test.flags)
			}
		})
	}
}

// FuzzRead: what the kernel or anybody else sends is read, or refused, and never
// panics. What is read of an expectation can be asked for.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{ftpinhole4, "02000000" + plainTuple4 + plainMaster4 + plainMask4 + thirty, "0200", "02000000 04000280"} {
		data, err := hex.DecodeString(strings.Join(strings.Fields(seed), ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _, _ = readHelper(netlink.Message{Data: data})
		e, ok, err := read(netlink.Message{Data: data})
		if err != nil || !ok {
			return
		}
		if _, err := remove(e.Tuple, e.ID); err != nil {
			t.Error(err)
		}
	})
}

// What is sent to make something is, read back, what was asked for.
func TestReadBack(t *testing.T) {
	want := Helper{Name: "ftpinhole", IPv6: true, Queue: 2100, Max: 4, Timeout: 30}
	m, err := want.create()
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := readHelper(m)
	if err != nil || !ok || got != want {
		t.Errorf("%+v, %v, %v, want %+v", got, ok, err, want)
	}
	p := rules.Pinhole{
		Src: netip.MustParseAddr("10.0.1.2"), Dst: netip.MustParseAddrPort("10.0.2.2:50055"),
		Control: rules.Tuple{Src: netip.MustParseAddrPort("10.0.1.2:40000"), Dst: netip.MustParseAddrPort("10.0.2.2:21")},
	}
	m, err = create(p, 0, 30)
	if err != nil {
		t.Fatal(err)
	}
	e, ok, err := read(m)
	if wantE := (Expectation{Control: p.Control, Tuple: expected(p), Timeout: 30}); err != nil || !ok || e != wantE {
		t.Errorf("%+v, %v, %v, want %+v", e, ok, err, wantE)
	}
}
