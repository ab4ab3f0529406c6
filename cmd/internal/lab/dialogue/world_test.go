package dialogue_test

import (
	"fmt"
	"net/netip"
	"testing"

	"ftpinhole/cmd/internal/lab/dialogue"
)

// controlPorts are those of the daemon. The firewalls of the lab let 21 pass
// in any case, so the dialogues try the other.
var controlPorts = []uint16{21, 2121}

// hosts is how many dialogues have their addresses in one pair of networks.
const hosts = 240

// worldOf gives a dialogue addresses of its own, so that all can be played at
// once and nobody's refusals are counted together with another's. The gateway
// has to learn of these networks: see prepare.
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
		Client:      netip.AddrFrom4([4]byte{10, byte(1 + number/hosts), 1, byte(10 + number%hosts)}),
		Server:      netip.AddrFrom4([4]byte{10, byte(1 + number/hosts), 2, byte(10 + number%hosts)}),
		OtherClient: netip.MustParseAddr("10.0.1.3"),
		OtherServer: netip.MustParseAddr("10.0.2.3"),
	}
}

// Must hold: no dialogue shares its client or its server with another.
func TestWorlds(t *testing.T) {
	seen := make(map[netip.Addr]int)
	for number := range 3 * hosts {
		for _, ipv6 := range []bool{false, true} {
			world := worldOf(number, ipv6)
			for _, own := range []netip.Addr{world.Client, world.Server} {
				if other, known := seen[own]; known {
					t.Errorf("dialogues %d and %d have %v", other, number, own)
				}
				seen[own] = number
			}
		}
	}
}
