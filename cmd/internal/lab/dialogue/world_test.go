package dialogue_test

import (
	"fmt"
	"net/netip"

	"ftpinhole/cmd/internal/lab/dialogue"
)

// controlPorts are those of the daemon. The firewalls of the lab let 21 pass
// in any case, so the dialogues try the other.
var controlPorts = []uint16{21, 2121}

// worldOf gives a dialogue addresses of its own, so that all can be played at
// once and nobody's refusals are counted together with another's.
func worldOf(number int, ipv6 bool) dialogue.World {
	if ipv6 {
		return dialogue.World{
			Client:      netip.MustParseAddr(fmt.Sprintf("fd00:0:0:1::%x", 0x1000+number)),
			Server:      netip.MustParseAddr(fmt.Sprintf("fd00:0:0:2::%x", 0x1000+number)),
			OtherClient: netip.MustParseAddr("fd00:0:0:1::3"),
			OtherServer: netip.MustParseAddr("fd00:0:0:2::3"),
		}
	}
	return dialogue.World{
		Client:      netip.AddrFrom4([4]byte{10, 0, 1, byte(10 + number)}),
		Server:      netip.AddrFrom4([4]byte{10, 0, 2, byte(10 + number)}),
		OtherClient: netip.MustParseAddr("10.0.1.3"),
		OtherServer: netip.MustParseAddr("10.0.2.3"),
	}
}
