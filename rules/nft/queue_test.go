package nft_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules/nft"
)

// seen is what a queue's reader saw of sessions on port 21.
type seen struct {
	ToServer, ToClient string // the hooks, in the order of their first packets
	Twice              bool   // a packet came twice
}

// reader reads a queue, lets all pass and keeps what it saw.
type reader struct {
	nl *netlink.Conn

	mu      sync.Mutex
	seen    seen
	packets map[string]bool
	reset   bool // one of them was a RST, with which attempt ends
}

// Of include/uapi/linux/netfilter/nfnetlink_queue.h.
const (
	nfqnlMsgPacket  = 0
	nfqnlMsgVerdict = 1
	nfqnlMsgConfig  = 2

	nfqaPacketHdr  = 1
	nfqaVerdictHdr = 2
	nfqaPayload    = 10
	nfqaCfgCmd     = 1
	nfqaCfgParams  = 2
)

func (ns namespace) read(t *testing.T, queue uint16) *reader {
	t.Helper()
	r := &reader{packets: make(map[string]bool)}
	var err error
	ns.do(t, func() { r.nl, err = netlink.Dial(unix.NETLINK_NETFILTER, nil) })
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []netlink.Attribute{
		{Type: nfqaCfgCmd, Data: []byte{1, 0, 0, 0}},       // bind
		{Type: nfqaCfgParams, Data: []byte{0, 0, 1, 0, 2}}, // copy 256 bytes
	} {
		if _, err := r.nl.Execute(queueMessage(t, nfqnlMsgConfig, queue, netlink.Acknowledge, a)); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			messages, err := r.nl.Receive()
			if errors.Is(err, unix.ENOENT) {
				continue // a verdict on a packet that went with its table
			}
			if err != nil {
				return
			}
			for _, m := range messages {
				if m.Header.Type == unix.NFNL_SUBSYS_QUEUE<<8|nfqnlMsgPacket {
					r.packet(t, queue, m)
				}
			}
		}
	}()
	t.Cleanup(func() {
		// A packet that is being answered is, before the socket goes.
		if err := r.nl.SetReadDeadline(time.Now()); err != nil {
			t.Error(err)
		}
		<-done
		r.nl.Close()
	})
	return r
}

func queueMessage(t *testing.T, kind uint16, queue uint16, flags netlink.HeaderFlags, a netlink.Attribute) netlink.Message {
	data, err := netlink.MarshalAttributes([]netlink.Attribute{a})
	if err != nil {
		t.Error(err)
	}
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_QUEUE<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, byte(queue >> 8), byte(queue)}, data...),
	}
}

// packet notes a packet and lets it pass.
func (r *reader) packet(t *testing.T, queue uint16, m netlink.Message) {
	attributes, err := netlink.UnmarshalAttributes(m.Data[4:])
	if err != nil {
		t.Error(err)
		return
	}
	var header, payload []byte
	for _, a := range attributes {
		switch a.Type {
		case nfqaPacketHdr:
			header = a.Data
		case nfqaPayload:
			payload = a.Data
		}
	}
	const accept = 1
	verdict := append(binary.BigEndian.AppendUint32(nil, accept), header[:4]...)
	if _, err := r.nl.Send(queueMessage(t, nfqnlMsgVerdict, queue, 0, netlink.Attribute{Type: nfqaVerdictHdr, Data: verdict})); err != nil {
		t.Error(err)
	}
	tcp := payload[20:]
	if payload[0]>>4 == 6 {
		tcp = payload[40:]
	}
	hook := map[byte]string{
		unix.NF_INET_PRE_ROUTING: "prerouting ", unix.NF_INET_LOCAL_IN: "input ",
		unix.NF_INET_FORWARD: "forward ", unix.NF_INET_LOCAL_OUT: "output ",
	}[header[6]]
	r.mu.Lock()
	defer r.mu.Unlock()
	direction := &r.seen.ToClient
	if binary.BigEndian.Uint16(tcp[2:]) == 21 {
		direction = &r.seen.ToServer
	}
	if !bytes.Contains([]byte(*direction), []byte(hook)) {
		*direction += hook
	}
	r.seen.Twice = r.seen.Twice || r.packets[string(payload)]
	r.packets[string(payload)] = true
	r.reset = r.reset || tcp[13]&4 != 0
}

// take returns what was seen of a connection since the last time. If it is to be
// anything, it waits for the connection's end.
func (r *reader) take(t *testing.T, want seen) seen {
	t.Helper()
	for deadline := time.Now().Add(soon); want != (seen{}) && !r.ended(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("the end of the connection was not read")
			break
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seen
	r.seen, r.packets, r.reset = seen{}, make(map[string]bool), false
	return s
}

func (r *reader) ended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reset
}

// Each packet of a control session is read once, in both directions, at the
// hooks that were asked for and nowhere else.
func TestControlPacketsAreReadOnce(t *testing.T) {
	l := newLab(t)
	for _, ns := range []namespace{l.client, l.gateway, l.server} {
		ns.listen(t, 21)
	}
	reader := l.gateway.read(t, 2100)
	F, I, O := nft.Forward, nft.Input, nft.Output
	through := seen{ToServer: "forward ", ToClient: "forward "}
	toGateway := seen{ToServer: "input ", ToClient: "output "}
	fromGateway := seen{ToServer: "output ", ToClient: "input "}
	loopback := seen{ToServer: "output ", ToClient: "output "}
	for _, test := range []struct {
		name string
		from namespace
		to   string
		hook nft.Hook // the one that reads it
		want seen
	}{
		{"through", l.client, server4, F, through},
		{"through, IPv6", l.client, server6, F, through},
		{"to the gateway", l.client, gateway4, I, toGateway},
		{"to the gateway, IPv6", l.client, gateway6, I, toGateway},
		{"from the gateway", l.gateway, client4, O, fromGateway},
		{"from the gateway, IPv6", l.gateway, client6, O, fromGateway},
		{"loopback", l.gateway, "127.0.0.1", O, loopback},
		{"loopback, IPv6", l.gateway, "::1", O, loopback},
		{"the gateway to itself", l.gateway, gateway4, O, loopback},
	} {
		for _, hooks := range [][]nft.Hook{{F}, {I}, {O}, {F, I, O}} {
			t.Run(fmt.Sprint(test.name, hooks), func(t *testing.T) {
				c := forward()
				c.Hooks, c.Queues = hooks, 1
				table := l.gateway.installed(t, c)
				to := netip.AddrPortFrom(netip.MustParseAddr(test.to), 21).String()
				if !test.from.attempt(t, 0, to, soon) {
					t.Fatal("no control connection")
				}
				var want seen
				if len(hooks) > 1 || hooks[0] == test.hook {
					want = test.want
				}
				if diff := cmp.Diff(want, reader.take(t, want)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				if err := table.Uninstall(); err != nil {
					t.Error(err)
				}
				l.gateway.forget(t)
			})
		}
	}
}

// With nobody at the queue the packets pass: the other tests live by that. A
// packet that conntrack calls invalid is not read.
func TestInvalidIsNotRead(t *testing.T) {
	l := newLab(t)
	reader := l.gateway.read(t, 2100)
	c := forward()
	c.Ports, c.Queues = []uint16{port}, 1
	l.gateway.installed(t, c)
	l.gateway.run(t, "nft insert rule inet firewall forward accept", "")
	l.client.do(t, func() { segment(t, 33000, 1|2) }) // FIN and SYN
	l.client.do(t, func() { segment(t, 33001, 2) })
	const want = 2 // the SYN, and the RST that answers it
	for deadline := time.Now().Add(soon); reader.count() < want && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
	if n := reader.count(); n != want {
		t.Errorf("%d packets were read, want %d", n, want)
	}
}

func (r *reader) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.packets)
}
