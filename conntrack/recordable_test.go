package conntrack

import (
	"net/netip"
	"testing"
	"time"
)

// With audit.required nothing opens that cannot be recorded, and things open
// again when it can.
func TestLaw7NothingOpensUnrecorded(t *testing.T) {
	limits := Limits{LineBytes: 4096, Commands: 32, Pinholes: 10, PinholesPerClient: 10, Sessions: 10, SessionsPerClient: 10, HalfOpen: 10}
	kept := false
	tr := New(Config{
		Ports: []uint16{21}, Timeout: 30 * time.Second, Limits: limits,
		Join: func(_, _ netip.AddrPort) bool { return true }, Recordable: func() bool { return kept },
	}, anything{}, NewQuota(limits))
	seq := uint32(1)
	client, server := netip.MustParseAddrPort("10.0.1.2:40000"), netip.MustParseAddrPort("10.0.2.2:21")
	ack := uint32(1)
	say := func(line string) []Effect {
		effects := tr.Packet(time.Unix(1, 0), &Packet{Src: client, Dst: server, Seq: seq, Ack: ack, Flags: ACK, Payload: []byte(line)})
		seq += uint32(len(line))
		return effects
	}
	port := func() Effect {
		effects := say("PORT 10,0,1,2,195,80\r\n")
		return effects[len(effects)-1]
	}
	// The session was joined: it must have shown that it speaks FTP.
	say("NOOP\r\n")
	tr.Packet(time.Unix(1, 0), &Packet{Src: server, Dst: client, Seq: ack, Ack: seq, Flags: ACK, Payload: []byte("200 x\r\n")})
	ack += 7
	if e := port(); e.Do != DoRecord || e.Record.Reason != AuditUnavailable {
		t.Errorf("without a trail: %+v, want a deny record, %s", e, AuditUnavailable)
	}
	kept = true
	if e := port(); e.Do != DoOpen {
		t.Errorf("with the trail back: %+v, want an open", e)
	}
}

// anything is a policy that allows all.
type anything struct{}

func (anything) Terms(netip.Addr, netip.Addr) Terms { return Terms{LoginRequired: true} }
func (anything) Decide(Request) Reason              { return "" }
