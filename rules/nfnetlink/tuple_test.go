package nfnetlink

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"

	"ftpinhole/rules"
)

func TestTuple(t *testing.T) {
	const kind = 7
	for _, want := range []rules.Tuple{
		{Src: netip.MustParseAddrPort("192.0.2.1:40000"), Dst: netip.MustParseAddrPort("198.51.100.1:21")},
		{Src: netip.MustParseAddrPort("[2001:db8::1]:65535"), Dst: netip.MustParseAddrPort("[2001:db8::2]:1")},
	} {
		ae := netlink.NewAttributeEncoder()
		ae.ByteOrder = binary.BigEndian
		PutTuple(ae, kind, want)
		data, err := ae.Encode()
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		m := netlink.Message{Data: append(make([]byte, 4), data...)}
		if err := Attributes(m, func(ad *netlink.AttributeDecoder) {
			seen++
			if got := ReadTuple(ad); ad.Type() != kind || got != want {
				t.Errorf("type %d: %v, want %v", ad.Type(), got, want)
			}
		}); err != nil || seen != 1 {
			t.Errorf("%d attributes, %v", seen, err)
		}
		m.Data = m.Data[:len(m.Data)-1]
		if err := Attributes(m, func(ad *netlink.AttributeDecoder) { ReadTuple(ad) }); err == nil {
			t.Error("a message that is cut short has no error")
		}
	}
	if err := Attributes(netlink.Message{Data: []byte{2, 0, 0}}, func(*netlink.AttributeDecoder) {}); err == nil {
		t.Error("a message without its header has no error")
	}
}
