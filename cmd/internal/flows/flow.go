package flows

import (
	"net/netip"

	"github.com/ti-mo/conntrack"
)

// State is conntrack's TCP state of a connection
// (include/uapi/linux/netfilter/nf_conntrack_tcp.h, enum tcp_conntrack).
type State uint8

// The states. None is also what a DESTROY of a kernel before 5.12 carries.
const (
	None        State = iota // TCP_CONNTRACK_NONE
	SynSent                  // TCP_CONNTRACK_SYN_SENT
	SynRecv                  // TCP_CONNTRACK_SYN_RECV
	Established              // TCP_CONNTRACK_ESTABLISHED
	FinWait                  // TCP_CONNTRACK_FIN_WAIT
	CloseWait                // TCP_CONNTRACK_CLOSE_WAIT
	LastAck                  // TCP_CONNTRACK_LAST_ACK
	TimeWait                 // TCP_CONNTRACK_TIME_WAIT
	Close                    // TCP_CONNTRACK_CLOSE: a RST was seen
	SynSent2                 // TCP_CONNTRACK_SYN_SENT2: simultaneous open
)

// String gives the kernel's word, as conntrack -L prints it.
func (s State) String() string {
	words := [...]string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT",
		"CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}
	if int(s) >= len(words) {
		return "UNKNOWN"
	}
	return words[s]
}

// Over reports whether the connection has ended: what follows is the kernel
// waiting before it forgets the entry, which takes minutes.
func (s State) Over() bool { return s == TimeWait || s == Close }

// Answered reports whether the other side has said something. From SYN_RECV on
// the client may have its SYN+ACK and count on the connection: were the entry
// deleted then, no RST would tell it (nf_conntrack_proto_tcp.c).
func (s State) Answered() bool { return s != None && s != SynSent }

// Flow is what conntrack holds of one TCP connection.
type Flow struct {
	// Client and Server are source and destination of the original direction:
	// as the first packet came in, before any NAT.
	Client, Server netip.AddrPort
	// ReplySrc and ReplyDst are source and destination of the reply direction:
	// the server as DNAT made it, and where SNAT lets it answer to.
	ReplySrc, ReplyDst netip.AddrPort

	ID      uint32 // CTA_ID; differs when the same addresses and ports are used again
	Zone    uint16 // CTA_ZONE
	Mark    uint32
	State   State
	Assured bool // traffic was seen in both directions; not dropped early

	// Counted says that the bytes are known: only from Get and Dump, and only
	// with net.netfilter.nf_conntrack_acct=1. They count whole IP packets,
	// headers and all.
	Counted               bool
	BytesOrig, BytesReply uint64
}

// Ends gives client and server as packets show them in the input, forward and
// output hooks at filter priority: after DNAT, before SNAT.
func (f Flow) Ends() (client, server netip.AddrPort) { return f.Client, f.ReplySrc }

// Kind says what happened to a flow.
type Kind uint8

// The kinds of events. Overrun has no flow: events were lost, take a dump.
const (
	New Kind = iota + 1
	Update
	Destroy
	Overrun
)

// Event is one thing that happened to one flow. It never carries byte counts;
// Conn.Get has them.
type Event struct {
	Kind Kind
	Flow Flow
	// Brought: another program made the kernel hold the flow, no packet did. That
	// is how conntrackd brings the flows of a gateway that has failed.
	Brought bool
}

// newFlow takes over what a message said; ok is false for anything but TCP.
func newFlow(cf *conntrack.Flow) (f Flow, ok bool) {
	if cf == nil || cf.TupleOrig.Proto.Protocol != protoTCP {
		return Flow{}, false
	}
	f = Flow{
		ID: cf.ID, Zone: cf.Zone, Mark: cf.Mark,
		Assured: cf.Status&conntrack.StatusAssured != 0,
	}
	f.Client, f.Server = tupleEnds(cf.TupleOrig)
	f.ReplySrc, f.ReplyDst = tupleEnds(cf.TupleReply)
	if tcp := cf.ProtoInfo.TCP; tcp != nil {
		f.State = State(tcp.State)
	}
	// An entry exists because of a packet: none counted means not counting.
	if cf.CountersOrig.Packets > 0 {
		f.Counted = true
		f.BytesOrig, f.BytesReply = cf.CountersOrig.Bytes, cf.CountersReply.Bytes
	}
	return f, true
}

func tupleEnds(t conntrack.Tuple) (src, dst netip.AddrPort) {
	return netip.AddrPortFrom(t.IP.SourceAddress, t.Proto.SourcePort),
		netip.AddrPortFrom(t.IP.DestinationAddress, t.Proto.DestinationPort)
}
