package probe

import (
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"
)

// timeout is for one answer of the kernel. A large ruleset takes a while, and
// a commit waits for every other writer.
const timeout = 5 * time.Second

// kernel is a netlink socket to nf_tables and nfnetlink_queue.
type kernel struct{ conn *netlink.Conn }

func dialKernel() (*kernel, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open a netfilter socket: %w", err)
	}
	return &kernel{conn: conn}, nil
}

func (k *kernel) Close() { _ = k.conn.Close() }

// message is one nfnetlink message; put may be nil.
func message(subsys netfilter.SubsystemID, msg netfilter.MessageType, flags netlink.HeaderFlags,
	family netfilter.ProtoFamily, resID uint16, put func(*netlink.AttributeEncoder)) (netlink.Message, error) {
	ae := netfilter.NewAttributeEncoder()
	if put != nil {
		put(ae)
	}
	return netfilter.EncodeNetlink(netfilter.Header{
		SubsystemID: subsys, MessageType: msg, Flags: netlink.Request | flags,
		Family: family, ResourceID: resID,
	}, ae)
}

// dump asks nf_tables for all objects of a kind.
func (k *kernel) dump(msg netfilter.MessageType, family uint8, put func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	req, err := message(netfilter.NFSubsysNFTables, msg, netlink.Dump, netfilter.ProtoFamily(family), 0, put)
	if err != nil {
		return nil, err
	}
	if err := k.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	return k.conn.Execute(req)
}

// try asks whether the kernel would take a transaction (nfnetlink_rcv_batch),
// without doing it: its last message is one that must be refused, which undoes
// the others before anybody sees them. A commit, even of a table that is gone
// at its end, is heard by nft monitor, which aborts on some of it.
func (k *kernel) try(msgs []netlink.Message, refused netlink.Message) error {
	begin, err := message(netfilter.NFSubsysNone, unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil)
	if err != nil {
		return err
	}
	end, err := message(netfilter.NFSubsysNone, unix.NFNL_MSG_BATCH_END, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil)
	if err != nil {
		return err
	}
	// A socket of its own: there may be more errors than the one that is read.
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	sent, err := conn.SendMessages(append(append([]netlink.Message{begin}, msgs...), refused, end))
	if err != nil {
		return err
	}
	// Errors come in the order of the messages.
	_, err = conn.Receive()
	var op *netlink.OpError
	switch {
	case err == nil:
		return errors.New("the kernel took what it must refuse")
	case errors.As(err, &op) && op.Sequence == sent[len(sent)-2].Header.Sequence && errnoIs(err, unix.ENOENT):
		return nil
	}
	return err
}

// errnoIs reports whether the kernel refused with one of these.
func errnoIs(err error, of ...unix.Errno) bool {
	for _, e := range of {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// attributes are the first level of b by number.
func attributes(b []byte) (map[uint16][]byte, error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return nil, err
	}
	all := make(map[uint16][]byte)
	for ad.Next() {
		all[ad.Type()] = ad.Bytes()
	}
	return all, ad.Err()
}

// list are the elements of a nested list, in order.
func list(b []byte) ([][]byte, error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for ad.Next() {
		all = append(all, ad.Bytes())
	}
	return all, ad.Err()
}
