package expect

import (
	"errors"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules"
	"ftpinhole/rules/nfnetlink"
)

// tried is a control connection that nobody has: its addresses are for
// documents (RFC 5737).
func tried() rules.Tuple {
	return rules.Tuple{Src: netip.MustParseAddrPort("192.0.2.1:21"), Dst: netip.MustParseAddrPort("192.0.2.2:21")}
}

// Try finds out whether this kernel can expect data connections, by doing it:
// conntrack is given a connection between two addresses that nobody has, with our
// helper, and for it an expectation; both are taken away again. The helper has to
// be registered. ErrUnsupported: the kernel cannot.
func (b *Backend) Try() error {
	const doing = "try an expectation"
	c := tried()
	forget := func() error {
		_, err := b.conn.ask(deleteConnection(c))
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	if err := forget(); err != nil { // left by one that was killed just here
		return explain(doing, err)
	}
	if _, err := b.conn.ask(createConnection(c, b.config.Helper)); err != nil {
		return explainTry(doing, err)
	}
	// The connection takes its expectations along.
	err := b.put(rules.Pinhole{
		ID: "try", Src: c.Src.Addr(), Dst: netip.AddrPortFrom(c.Dst.Addr(), 1024), Control: c,
	}, b.config.Timeout)
	return errors.Join(explainTry(doing, err), explain(doing, forget()))
}

// createConnection asks conntrack to hold a connection with this helper, for some
// seconds (ctnetlink_create_conntrack, net/netfilter/nf_conntrack_netlink.c).
func createConnection(c rules.Tuple, helper string) (netlink.Message, error) {
	return message(unix.NFNL_SUBSYS_CTNETLINK, ctNew, netlink.Create|netlink.Excl|netlink.Acknowledge, family(c.Src.Addr()), func(ae *netlink.AttributeEncoder) {
		nfnetlink.PutTuple(ae, ctaTupleOrig, c)
		nfnetlink.PutTuple(ae, ctaTupleReply, rules.Tuple{Src: c.Dst, Dst: c.Src})
		ae.Uint32(ctaTimeout, 5)
		ae.Nested(ctaHelp, func(ae *netlink.AttributeEncoder) error {
			ae.String(ctaHelpName, helper)
			return nil
		})
	})
}

func deleteConnection(c rules.Tuple) (netlink.Message, error) {
	return message(unix.NFNL_SUBSYS_CTNETLINK, ctDelete, netlink.Acknowledge, family(c.Src.Addr()), func(ae *netlink.AttributeEncoder) {
		nfnetlink.PutTuple(ae, ctaTupleOrig, c)
	})
}
