package decode

import (
	"testing"

	"ftpinhole/conntrack"
)

func TestLink(t *testing.T) {
	ip4 := v4(6, "", segmentBytes(0x18, "", "PASV\r\n"))
	ip6 := v6(6, segmentBytes(0x18, "", "PASV\r\n"))
	mac := make([]byte, 12)
	tests := []struct {
		name string
		link LinkType
		raw  []byte
		ok   bool
	}{
		{"ethernet", Ethernet, join(mac, []byte{8, 0}, ip4, make([]byte, 6)), true},
		{"ethernet IPv6", Ethernet, join(mac, []byte{0x86, 0xdd}, ip6), true},
		{"VLAN", Ethernet, join(mac, []byte{0x81, 0, 0, 5, 8, 0}, ip4), true},
		{"QinQ", Ethernet, join(mac, []byte{0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x86, 0xdd}, ip6), true},
		{"PPPoE", Ethernet, join(mac, []byte{0x88, 0x64, 0x11, 0, 0, 1, 0, 48, 0, 0x21}, ip4), true},
		{"PPPoE discovery", Ethernet, join(mac, []byte{0x88, 0x63, 0x11, 9, 0, 1, 0, 0}), false},
		{"ARP", Ethernet, join(mac, []byte{8, 6}, ip4), false},
		{"802.3 length", Ethernet, join(mac, []byte{0, 46}, ip4), false},
		{"ethernet cut", Ethernet, mac[:11], false},
		{"VLAN cut", Ethernet, join(mac, []byte{0x81, 0, 0, 5, 8}), false},
		{"raw", Raw, ip4, true},
		{"raw of BSD", RawBSD, ip6, true},
		{"raw of OpenBSD", RawOpenBSD, ip6, true},
		{"IPv4", IPv4, ip4, true},
		{"IPv6", IPv6, ip6, true},
		{"null", Null, join([]byte{2, 0, 0, 0}, ip4), true},
		{"null, FreeBSD's IPv6", Null, join([]byte{28, 0, 0, 0}, ip6), true},
		{"loop", Loop, join([]byte{0, 0, 0, 24}, ip6), true},
		{"loop cut", Loop, []byte{0, 0, 0}, false},
		{"SLL", LinuxSLL, join(make([]byte, 14), []byte{8, 0}, ip4), true},
		{"SLL with an address length that is not there", LinuxSLL, join([]byte{0, 0, 0, 1, 0xff, 0xff}, make([]byte, 8), []byte{8, 0}, ip4), true},
		{"SLL VLAN", LinuxSLL, join(make([]byte, 14), []byte{0x81, 0, 0, 5, 8, 0}, ip4), true},
		{"SLL cut", LinuxSLL, make([]byte, 15), false},
		{"SLL2", LinuxSLL2, join([]byte{0x86, 0xdd}, make([]byte, 18), ip6), true},
		{"SLL2 cut", LinuxSLL2, []byte{8, 0, 0}, false},
		{"PPP", PPP, join([]byte{0xff, 3, 0, 0x21}, ip4), true},
		{"PPP compressed", PPP, join([]byte{0x57}, ip6), true},
		{"PPP LCP", PPP, []byte{0xff, 3, 0xc0, 0x21, 1}, false},
		{"PPP HDLC", PPPHDLC, join([]byte{0xff, 3, 0, 0x57}, ip6), true},
		{"PPP cut", PPP, []byte{0xff, 3}, false},
		{"PPP ethernet", PPPEthernet, join([]byte{0x11, 0, 0, 1, 0, 88, 0, 0x57}, ip6), true},
		{"unknown", 20, ip4, false}, // SLL2 in eight bits
		{"Ethernet in eight bits", 257, join(mac, []byte{8, 0}, ip4), false},
	}
	d := New()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var pkt conntrack.Packet
			if ok := d.Link(tt.link, tt.raw, &pkt); ok != tt.ok {
				t.Fatalf("ok = %v", ok)
			}
			if tt.ok && (string(pkt.Payload) != "PASV\r\n" || pkt.Src.Port() != 21) {
				t.Errorf("decoded %+v", pkt)
			}
			if want := tt.link != 20 && tt.link != 257; tt.link.Supported() != want {
				t.Errorf("Supported = %v", !want)
			}
		})
	}
}

func FuzzLink(f *testing.F) {
	f.Add(uint32(Ethernet), join(make([]byte, 12), []byte{0x81, 0, 0, 5, 0x88, 0x64, 0x11, 0, 0, 1, 0, 48, 0, 0x21}, v4(6, "", segmentBytes(0, "", "x"))))
	f.Add(uint32(LinuxSLL2), join([]byte{0x86, 0xdd}, make([]byte, 18), v6(6, segmentBytes(0, "", "x"))))
	d := New()
	f.Fuzz(func(t *testing.T, link uint32, raw []byte) {
		var pkt conntrack.Packet
		ok := d.Link(LinkType(link), raw, &pkt)
		if ok && !LinkType(link).Supported() {
			t.Error("decoded a packet of an unsupported link type")
		}
		if ok && (!pkt.Src.IsValid() || !pkt.Dst.IsValid() || len(pkt.Payload) > len(raw)-40) {
			t.Errorf("decoded %+v from %d bytes", pkt, len(raw))
		}
	})
}
