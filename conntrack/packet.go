package conntrack

import (
	"bytes"
	"net/netip"
)

// Flags are the TCP control bits of a packet (RFC 9293 3.1), at their places
// in the header's fourteenth byte.
type Flags uint8

// The control bits that the tracker looks at.
const (
	FIN Flags = 1 << 0
	SYN Flags = 1 << 1
	RST Flags = 1 << 2
	ACK Flags = 1 << 4
	URG Flags = 1 << 5
)

// Hook is the netfilter hook at which the gateway saw a packet
// (include/uapi/linux/netfilter.h, enum nf_inet_hooks).
type Hook uint8

// The hooks at which control packets are read.
const (
	HookInput   Hook = 1
	HookForward Hook = 2
	HookOutput  Hook = 3
)

// Packet is one TCP segment of a control connection.
type Packet struct {
	Src, Dst netip.AddrPort // IPv4 addresses are unmapped, no zone
	Seq, Ack uint32
	Flags    Flags
	Urgent   uint16 // the urgent pointer; counts if Flags has URG
	Hook     Hook   // 0 when it comes from a capture
	// Payload is the TCP payload. The tracker copies what it keeps.
	Payload []byte
}

// end is the sequence number behind the packet; FIN has one (RFC 9293 3.4).
func (p *Packet) end() uint32 {
	n := p.Seq + uint32(len(p.Payload))
	if p.Flags&FIN != 0 {
		n++
	}
	return n
}

// clone copies a packet that has to wait.
func (p *Packet) clone() *Packet {
	c := *p
	c.Payload = bytes.Clone(p.Payload)
	return &c
}
