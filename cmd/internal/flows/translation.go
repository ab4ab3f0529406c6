package flows

import "net/netip"

// Translation looks up the flow whose Ends are client and server, however its
// addresses are translated: a packet in the forward hook shows no more. A flow
// that is over counts only if there is no other. It is false when conntrack
// holds none.
func (c *Conn) Translation(client, server netip.AddrPort) (Flow, bool, error) {
	var best Flow
	for _, find := range []func(client, server netip.AddrPort) ([]Flow, error){c.byOriginal, c.byReply, c.byEnds} {
		found, err := find(client, server)
		if err != nil {
			return Flow{}, false, err
		}
		for _, f := range found {
			if cl, s := f.Ends(); cl == client && s == server && f.likelier(best) {
				best = f
			}
		}
		if best.Client.IsValid() && !best.State.Over() {
			break
		}
	}
	return best, best.Client.IsValid(), nil
}

// likelier reports whether a packet is rather of this flow than of g.
func (f Flow) likelier(g Flow) bool {
	switch {
	case !g.Client.IsValid():
		return true
	case f.State.Over() != g.State.Over():
		return g.State.Over()
	}
	return f.State == Established && g.State != Established
}

// byOriginal finds the flow if there is no DNAT: its first packet came as the
// hook shows it.
func (c *Conn) byOriginal(client, server netip.AddrPort) ([]Flow, error) {
	return c.one(Flow{Client: client, Server: server})
}

// byReply finds the flow if there is no SNAT: its replies come as the hook
// shows them. An entry is found by either of its tuples, whichever attribute
// names it (nf_conntrack_find_get in net/netfilter/nf_conntrack_core.c).
func (c *Conn) byReply(client, server netip.AddrPort) ([]Flow, error) {
	return c.one(Flow{Client: server, Server: client})
}

func (c *Conn) one(f Flow) ([]Flow, error) {
	got, ok, err := c.Get(f)
	if err != nil || !ok {
		return nil, err
	}
	return []Flow{got}, nil
}

// byEnds finds the flow whatever there is, also in another zone. The kernel
// goes through its whole table for that.
func (c *Conn) byEnds(client, server netip.AddrPort) ([]Flow, error) {
	return c.dump(family(client.Addr()), putPorts(client.Port(), server.Port()), func(f Flow) bool {
		cl, s := f.Ends()
		return cl == client && s == server
	})
}
