package gateway

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"ftpinhole/cmd/internal/decode"
	"ftpinhole/conntrack"
	"ftpinhole/rules"
)

// The way of an ordinary packet, from its bytes to its verdict, allocates
// nothing. What reading it from the queue and sending the verdict takes is in
// the queue's BenchmarkPacket.
func TestNoAllocs(t *testing.T) {
	s, packets, exchange := steadyShard(t)
	if n := testing.AllocsPerRun(500, exchange); n > 0 {
		t.Errorf("%v allocations for two lines and their acknowledgements, want 0", n)
	}
	if got := s.tracker.Sessions(); len(got) != 1 || got[0].State != "ready" {
		t.Errorf("it was no ordinary session: %+v", got)
	}
	for _, p := range packets {
		if p.verdicts == 0 || p.verdicts != packets[0].verdicts {
			t.Errorf("the packets of an exchange have %d and %d verdicts", packets[0].verdicts, p.verdicts)
		}
	}
}

func BenchmarkPacket(b *testing.B) {
	_, packets, exchange := steadyShard(b)
	b.ReportAllocs()
	for b.Loop() {
		exchange()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(len(packets)*b.N), "ns/packet")
}

// plainPacket counts its verdicts and allocates nothing.
type plainPacket struct {
	raw      []byte
	verdicts int
}

func (p *plainPacket) Data() ([]byte, uint8) { return p.raw, uint8(conntrack.HookForward) }

func (p *plainPacket) verdict() bool {
	p.verdicts++
	return true
}

func (p *plainPacket) Accept() bool         { return p.verdict() }
func (p *plainPacket) AcceptAs([]byte) bool { return p.verdict() }
func (p *plainPacket) Drop() bool           { return p.verdict() }
func (p *plainPacket) Unread() bool         { return p.verdict() }

// steadyShard is a shard whose one session is logged in, and an exchange of four
// packets in it.
func steadyShard(tb testing.TB) (s *shard, packets []*plainPacket, exchange func()) {
	tb.Helper()
	policy, err := rules.NewPolicy(rules.Config{ControlPorts: []uint16{21}})
	if err != nil {
		tb.Fatal(err)
	}
	limits := conntrack.Limits{LineBytes: 4096, Commands: 32, Pinholes: 8, PinholesPerClient: 8, Sessions: 8, SessionsPerClient: 8, HalfOpen: 8}
	s = &shard{
		tracker: conntrack.New(conntrack.Config{Ports: []uint16{21}, Timeout: 30 * time.Second, Limits: limits}, Policy{policy}, conntrack.NewQuota(limits)),
		decoder: decode.New(), clock: time.Now, log: slog.New(slog.DiscardHandler), counters: newCounters(),
		held: map[connection]*hold{}, record: func(conntrack.Record) {},
	}
	client, server := netip.MustParseAddrPort("10.0.1.2:40000"), netip.MustParseAddrPort("10.0.2.2:21")
	next := map[netip.AddrPort]uint32{client: 1000, server: 5000}
	say := func(from, to netip.AddrPort, flags conntrack.Flags, text string) *plainPacket {
		p := &plainPacket{raw: ip4(from, to, next[from], next[to], flags, text)}
		s.take(p)
		next[from] += uint32(len(text))
		if flags&conntrack.SYN != 0 {
			next[from]++
		}
		return p
	}
	say(client, server, conntrack.SYN, "")
	say(server, client, conntrack.SYN|conntrack.ACK, "")
	say(client, server, conntrack.ACK, "")
	for _, line := range []string{"220 ready", "USER u", "331 password", "PASS p", "230 in"} {
		from, to := server, client
		if line[0] > '9' {
			from, to = to, from
		}
		say(from, to, conntrack.ACK, line+"\r\n")
		say(to, from, conntrack.ACK, "")
	}
	const command, reply = "CWD /pub/linux\r\n", "250 Directory changed.\r\n"
	packets = []*plainPacket{
		say(client, server, conntrack.ACK, command), say(server, client, conntrack.ACK, ""),
		say(server, client, conntrack.ACK, reply), say(client, server, conntrack.ACK, ""),
	}
	return s, packets, func() {
		for _, p := range packets {
			up, down := uint32(len(command)), uint32(len(reply))
			if p == packets[2] || p == packets[1] {
				up, down = down, up
			}
			forward(p.raw[24:], up)
			forward(p.raw[28:], down)
			s.take(p)
		}
	}
}

// forward lets a sequence number of a packet go on.
func forward(number []byte, by uint32) {
	binary.BigEndian.PutUint32(number, binary.BigEndian.Uint32(number)+by)
}
