package flows

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/patience"
)

// natRuleset translates in one namespace what a gateway translates between
// two: addresses that end in 6 leave as 7, in 8 as whatever the way out has, in
// 9 as 7 from another port. What goes to 20 goes to 1, and port 2100 is 21.
const natRuleset = `
table inet nat {
	chain output {
		type nat hook output priority -100
		ip daddr { 10.0.0.20, 10.0.0.21 } dnat ip to 10.0.0.1
		ip6 daddr { fd00::20, fd00::21 } dnat ip6 to fd00::1
		tcp dport 2100 redirect to :21
	}
	chain postrouting {
		type nat hook postrouting priority 100
		ip saddr 10.0.0.6 snat ip to 10.0.0.7
		ip6 saddr fd00::6 snat ip6 to fd00::7
		ip saddr 10.0.0.8 masquerade
		ip6 saddr fd00::8 masquerade
		ip saddr 10.0.0.9 meta l4proto tcp snat ip to 10.0.0.7:6000-6999
		ip6 saddr fd00::9 meta l4proto tcp snat ip6 to [fd00::7]:6000-6999
	}
}
`

// natNetNS is a namespace with that ruleset.
func natNetNS(t *testing.T) {
	t.Helper()
	inNetNS(t)
	for _, last := range []string{"1", "5", "6", "7", "8", "9", "20", "21"} {
		command(t, "", "ip", "addr", "add", "10.0.0."+last+"/24", "dev", "lo")
		command(t, "", "ip", "addr", "add", "fd00::"+last+"/64", "dev", "lo", "nodad")
		// The kernel adds the routes of an IPv6 address when it gets to it.
		self := netip.AddrPortFrom(netip.MustParseAddr("fd00::"+last), 9)
		for deadline := patience.Deadline(); ; time.Sleep(time.Millisecond) {
			d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(self)}
			if c, err := d.Dial("udp", self.String()); err == nil {
				c.Close()
				break
			} else if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	command(t, ruleset+natRuleset, "nft", "-f", "-")
}

// connect makes a connection from and to these, and returns both of its ends.
func connect(t *testing.T, ln net.Listener, from, to netip.AddrPort) (client, server *net.TCPConn) {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Timeout: patience.Limit}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func hear(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func TestTranslation(t *testing.T) {
	for _, tt := range []struct {
		name      string
		from, to  string // the last parts of the addresses
		port      uint16 // where the client connects to
		translate bool   // the client's side
	}{
		{"none", "5", "1", 21, false},
		{"SNAT", "6", "1", 21, true},
		{"SNAT to another port", "9", "1", 21, true},
		{"masquerade", "8", "1", 21, true},
		{"DNAT", "5", "20", 21, false},
		{"redirect to another port", "5", "1", 2100, false},
		{"DNAT and SNAT", "6", "20", 21, true},
		{"DNAT and masquerade", "8", "20", 21, true},
		{"redirect and SNAT to another port", "9", "1", 2100, true},
	} {
		for _, prefix := range []string{"10.0.0.", "fd00::"} {
			t.Run(tt.name+", "+prefix, func(t *testing.T) {
				natNetNS(t)
				address := func(last string, port uint16) netip.AddrPort {
					return netip.AddrPortFrom(netip.MustParseAddr(prefix+last), port)
				}
				local := address("1", 21)
				ln := hear(t, netip.AddrPortFrom(netip.IPv6Unspecified(), 21).String())
				connect(t, ln, address("5", 0), local) // others
				connect(t, ln, address("6", 0), address("20", 21))
				published := address(tt.to, tt.port)
				c, s := connect(t, ln, address(tt.from, 0), published)
				client := netip.MustParseAddrPort(c.LocalAddr().String())
				seen := s.RemoteAddr().(*net.TCPAddr).AddrPort()
				seen = netip.AddrPortFrom(seen.Addr().Unmap(), seen.Port())
				server := s.LocalAddr().(*net.TCPAddr).AddrPort()
				server = netip.AddrPortFrom(server.Addr().Unmap(), server.Port())
				if (seen != client) != tt.translate || server.Port() != 21 {
					t.Fatalf("%v is seen as %v by %v: the test's own translation does not work", client, seen, server)
				}

				conn := dialKernel(t)
				f, ok, err := conn.Translation(client, server)
				if err != nil || !ok {
					t.Fatalf("found: %v, %v", ok, err)
				}
				want := Flow{Client: client, Server: published, ReplySrc: server, ReplyDst: seen}
				got := Flow{Client: f.Client, Server: f.Server, ReplySrc: f.ReplySrc, ReplyDst: f.ReplyDst}
				if got != want || f.State != Established {
					t.Errorf("got  %+v, %v\nwant %+v", got, f.State, want)
				}
				for _, none := range [][2]netip.AddrPort{
					{server, client}, // the other way
					{client, netip.AddrPortFrom(server.Addr(), 22)},
					{netip.AddrPortFrom(client.Addr(), client.Port()^1), server},
					{client, address("7", 21)},
				} {
					if f, ok, err := conn.Translation(none[0], none[1]); ok || err != nil {
						t.Errorf("%v to %v: %+v, %v", none[0], none[1], f, err)
					}
				}
				if published != server {
					if f, ok, err := conn.Translation(client, published); ok || err != nil {
						t.Errorf("%v to %v, which no hook shows: %+v, %v", client, published, f, err)
					}
				}
			})
		}
	}
}

// Two flows show the same ends, since the client has used its port again: the
// one that is over counts only when there is no other.
func TestTranslationPrefersWhatIsNotOver(t *testing.T) {
	natNetNS(t)
	ln := hear(t, "10.0.0.1:21")
	conn := dialKernel(t)
	var from netip.AddrPort
	find := func(published string, state State) {
		t.Helper()
		f, ok, err := conn.Translation(from, netip.MustParseAddrPort("10.0.0.1:21"))
		if err != nil || !ok || f.Server.String() != published || f.State != state {
			t.Errorf("found %+v, %v, %v; want %s, %v", f, ok, err, published, state)
		}
	}
	from = netip.MustParseAddrPort("10.0.0.9:0")
	first, _ := connect(t, ln, from, netip.MustParseAddrPort("10.0.0.20:21"))
	from = netip.MustParseAddrPort(first.LocalAddr().String())
	find("10.0.0.20:21", Established)
	_ = first.SetLinger(0)
	first.Close()
	find("10.0.0.20:21", Close)
	second, _ := connect(t, ln, from, netip.MustParseAddrPort("10.0.0.21:21"))
	find("10.0.0.21:21", Established)
	// The dump gives them in no certain order: the other way round now.
	_ = second.SetLinger(0)
	second.Close()
	connect(t, ln, from, netip.MustParseAddrPort("10.0.0.20:21"))
	find("10.0.0.20:21", Established)
}

func TestLikelier(t *testing.T) {
	some := netip.MustParseAddrPort("127.0.0.1:1")
	in := func(s State) Flow { return Flow{Client: some, State: s} }
	order := []Flow{{}, in(TimeWait), in(SynRecv), in(Established)}
	for i, f := range order[1:] {
		for _, g := range order[:i+1] {
			if !f.likelier(g) || g.Client.IsValid() && g.likelier(f) {
				t.Errorf("%v and %v", f.State, g.State)
			}
		}
	}
}

// The kernel itself must leave out the others: a gateway holds many.
func TestPortsFilterIsTheKernels(t *testing.T) {
	for _, prefix := range []string{"10.0.0.", "fd00::"} {
		t.Run(prefix, func(t *testing.T) {
			natNetNS(t)
			ln := hear(t, net.JoinHostPort(prefix+"1", "21"))
			from := netip.AddrPortFrom(netip.MustParseAddr(prefix+"6"), 0)
			to := netip.AddrPortFrom(netip.MustParseAddr(prefix+"20"), 21)
			c, _ := connect(t, ln, from, to)
			connect(t, ln, from, to)
			client := netip.MustParseAddrPort(c.LocalAddr().String())
			var seen []Flow
			if _, err := dialKernel(t).dump(family(client.Addr()), putPorts(client.Port(), 21), func(f Flow) bool {
				seen = append(seen, f)
				return false
			}); err != nil {
				t.Fatal(err)
			}
			if len(seen) != 1 || seen[0].Client != client {
				t.Errorf("%v came over, want the one of %v (the filter needs 5.8)", seen, client)
			}
		})
	}
}

// Zones are apart: a lookup by a tuple finds none of them but 0.
func TestTranslationInZone(t *testing.T) {
	inNetNS(t)
	command(t, ruleset+`
table inet zones {
	chain output {
		type filter hook output priority -300
		ct zone set 7
	}
	chain prerouting {
		type filter hook prerouting priority -300
		ct zone set 7
	}
}
`, "nft", "-f", "-")
	ln := hear(t, "127.0.0.1:21")
	c, s := connect(t, ln, netip.MustParseAddrPort("127.0.0.5:0"), netip.MustParseAddrPort("127.0.0.1:21"))
	client, server := netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(s.LocalAddr().String())
	if f, ok, err := dialKernel(t).Translation(client, server); err != nil || !ok || f.Zone != 7 || f.Server != server {
		t.Errorf("found %+v, %v, %v", f, ok, err)
	}
}

// How long each way takes, beside few and many other flows.
func BenchmarkTranslation(b *testing.B) {
	for _, others := range []int{1, 50000} {
		for _, way := range []struct {
			name       string
			snat, dnat bool
		}{{"untranslated", false, false}, {"by reply (DNAT)", false, true}, {"by ends (DNAT and SNAT)", true, true}, {"not there", true, true}} {
			b.Run(fmt.Sprintf("%d others, %s", others, way.name), func(b *testing.B) {
				inNetNS(b)
				kernel, err := conntrack.Dial(&netlink.Config{})
				if err != nil {
					b.Fatal(err)
				}
				defer kernel.Close()
				create := func(client, published, server, seen string) {
					c, p, s, g := netip.MustParseAddrPort(client), netip.MustParseAddrPort(published), netip.MustParseAddrPort(server), netip.MustParseAddrPort(seen)
					f := conntrack.NewFlow(unix.IPPROTO_TCP, conntrack.StatusConfirmed|conntrack.StatusAssured|conntrack.StatusSeenReply, c.Addr(), p.Addr(), c.Port(), p.Port(), 600, 0)
					f.TupleReply.IP.SourceAddress, f.TupleReply.Proto.SourcePort = s.Addr(), s.Port()
					f.TupleReply.IP.DestinationAddress, f.TupleReply.Proto.DestinationPort = g.Addr(), g.Port()
					f.ProtoInfo.TCP = &conntrack.ProtoInfoTCP{State: uint8(Established)}
					if err := kernel.Create(f); err != nil {
						b.Fatalf("%s to %s: %v", client, published, err)
					}
				}
				for i := range others {
					client := fmt.Sprintf("10.1.%d.%d:%d", i>>8&255, i&255, 40000+i>>16)
					create(client, "10.2.0.1:21", "10.2.0.1:21", client)
				}
				const client, server = "10.3.0.1:50000", "10.4.0.1:21"
				published, seen := server, client
				if way.dnat {
					published = "192.0.2.1:21"
				}
				if way.snat {
					seen = "10.4.0.254:50000"
				}
				if way.name != "not there" {
					create(client, published, server, seen)
				}
				c, err := Dial(0)
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				b.ReportAllocs()
				for b.Loop() {
					_, ok, err := c.Translation(netip.MustParseAddrPort(client), netip.MustParseAddrPort(server))
					if err != nil || ok != (way.name != "not there") {
						b.Fatal(ok, err)
					}
				}
			})
		}
	}
}
