package flows

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"
)

// Conn asks the kernel about flows. It is safe for concurrent use; a dump does
// not hold up Get and Delete.
type Conn struct {
	netNS int

	mu   sync.Mutex
	conn *netlink.Conn // nil after a failure, until the next request; guarded by mu
}

// Dial opens a Conn in the network namespace that the file descriptor netNS
// stands for, or in the caller's if it is 0. The requests need CAP_NET_ADMIN.
func Dial(netNS int) (*Conn, error) {
	c := &Conn{netNS: netNS}
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	c.conn = conn
	return c, nil
}

func (c *Conn) dial() (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: c.netNS})
	if err != nil {
		return nil, fmt.Errorf("open a conntrack socket: %w", err)
	}
	return conn, nil
}

// Close frees the socket. A later request opens a new one.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	return err
}

// Get looks a flow up by its addresses and ports in the original direction.
// It is false when conntrack holds no such flow, or one with another ID.
func (c *Conn) Get(f Flow) (Flow, bool, error) {
	req, err := request(ctGet, netlink.Acknowledge, family(f.Client.Addr()), putFlow(f, false))
	if err != nil {
		return Flow{}, false, fmt.Errorf("get conntrack entry: %w", err)
	}
	var got Flow
	var ok bool
	err = c.ask(req, func(found Flow) { got, ok = found, true })
	switch {
	case errors.Is(err, unix.ENOENT):
		return Flow{}, false, nil
	case err != nil:
		return Flow{}, false, fmt.Errorf("get conntrack entry: %w", err)
	case !ok || f.ID != 0 && got.ID != f.ID:
		return Flow{}, false, nil
	}
	return got, true, nil
}

// Delete makes conntrack forget a flow: its next packet is a new connection's.
// It is no error if the flow has gone already, or if another one with another
// ID has its addresses and ports now.
func (c *Conn) Delete(f Flow) error {
	req, err := request(ctDelete, netlink.Acknowledge, family(f.Client.Addr()), putFlow(f, true))
	if err != nil {
		return fmt.Errorf("delete conntrack entry: %w", err)
	}
	err = c.ask(req, func(Flow) {})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete conntrack entry: %w", err)
	}
	return nil
}

// Dump gives all TCP flows with (their mark & mask) == mark.
func (c *Conn) Dump(mark, mask uint32) ([]Flow, error) {
	return c.dump(netfilter.ProtoUnspec, putMark(mark, mask), func(f Flow) bool { return f.Mark&mask == mark })
}

// ControlConnections gives the established TCP flows to a server with one of
// these ports, as the hooks show it: after DNAT.
func (c *Conn) ControlConnections(ports []uint16) ([]Flow, error) {
	wanted := func(f Flow) bool {
		return f.State == Established && slices.Contains(ports, f.ReplySrc.Port())
	}
	var all []Flow
	for _, port := range slices.Compact(slices.Sorted(slices.Values(ports))) {
		// The filter wants a family.
		for _, fam := range []netfilter.ProtoFamily{netfilter.ProtoIPv4, netfilter.ProtoIPv6} {
			flows, err := c.dump(fam, putServerPort(port), func(f Flow) bool {
				return wanted(f) && f.ReplySrc.Port() == port
			})
			if err != nil {
				return nil, err
			}
			all = append(all, flows...)
		}
	}
	return all, nil
}

// dump keeps what passes keep: older kernels ignore filters they do not know,
// and their whole table must not fill our memory.
func (c *Conn) dump(fam netfilter.ProtoFamily, put func(*netlink.AttributeEncoder), keep func(Flow) bool) ([]Flow, error) {
	req, err := request(ctGet, netlink.Dump, fam, put)
	if err != nil {
		return nil, fmt.Errorf("dump conntrack: %w", err)
	}
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var flows []Flow
	if err := exchange(conn, req, func(f Flow) {
		if keep(f) {
			flows = append(flows, f)
		}
	}); err != nil {
		return nil, fmt.Errorf("dump conntrack: %w", err)
	}
	return flows, nil
}

// ask sends a request on the shared socket. Unless the kernel's answer was
// read to its end, what is left of it may still come: that socket is not used
// again.
func (c *Conn) ask(req netlink.Message, each func(Flow)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		conn, err := c.dial()
		if err != nil {
			return err
		}
		c.conn = conn
	}
	err := exchange(c.conn, req, each)
	if no := (refusal{}); err != nil && !errors.As(err, &no) {
		_ = c.conn.Close()
		c.conn = nil
	}
	return err
}
