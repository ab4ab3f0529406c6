package expect

import (
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules/nfnetlink"
)

// Of include/uapi/linux/netfilter/nfnetlink_cthelper.h.
const (
	subsysCTHelper = 9 // NFNL_SUBSYS_CTHELPER

	helperNew    = 0 // NFNL_MSG_CTHELPER_NEW
	helperGet    = 1 // NFNL_MSG_CTHELPER_GET
	helperDelete = 2 // NFNL_MSG_CTHELPER_DEL

	nfcthName        = 1 // NFCTH_NAME
	nfcthTuple       = 2 // NFCTH_TUPLE
	nfcthQueueNum    = 3 // NFCTH_QUEUE_NUM
	nfcthPolicy      = 4 // NFCTH_POLICY
	nfcthPrivDataLen = 5 // NFCTH_PRIV_DATA_LEN
	nfcthStatus      = 6 // NFCTH_STATUS

	nfcthTupleL3 = 1 // NFCTH_TUPLE_L3PROTONUM
	nfcthTupleL4 = 2 // NFCTH_TUPLE_L4PROTONUM

	nfcthPolicySetNum = 1 // NFCTH_POLICY_SET_NUM
	nfcthPolicySet1   = 2 // NFCTH_POLICY_SET1

	nfcthPolicyName    = 1 // NFCTH_POLICY_NAME
	nfcthPolicyMax     = 2 // NFCTH_POLICY_EXPECT_MAX
	nfcthPolicyTimeout = 3 // NFCTH_POLICY_EXPECT_TIMEOUT

	statusDisabled = 0 // NFCT_HELPER_STATUS_DISABLED
)

// Helper is a user-space helper for TCP as the kernel holds it, once for each
// family. All network namespaces of a machine see the same ones.
type Helper struct {
	Name    string
	IPv6    bool
	Queue   uint32 // where an enabled helper's packets go
	Enabled bool
	Max     uint32 // expectations that a connection may have; the oldest goes for one more
	Timeout uint32 // of an expectation, in seconds
}

// create asks for h, or if it is there already, for its policy to become h's.
// The name of the policy must stay the same for that.
func (h Helper) create() (netlink.Message, error) {
	return message(subsysCTHelper, helperNew, netlink.Create|netlink.Acknowledge, unix.AF_UNSPEC, func(ae *netlink.AttributeEncoder) {
		ae.String(nfcthName, h.Name)
		ae.Uint32(nfcthQueueNum, h.Queue)
		ae.Uint32(nfcthPrivDataLen, 0)
		h.putTuple(ae)
		ae.Nested(nfcthPolicy, func(ae *netlink.AttributeEncoder) error {
			ae.Nested(nfcthPolicySet1, func(ae *netlink.AttributeEncoder) error {
				ae.String(nfcthPolicyName, h.Name)
				ae.Uint32(nfcthPolicyMax, h.Max)
				ae.Uint32(nfcthPolicyTimeout, h.Timeout)
				return nil
			})
			ae.Uint32(nfcthPolicySetNum, 1)
			return nil
		})
		ae.Uint32(nfcthStatus, statusDisabled)
	})
}

// remove asks for the helper of h's name and family to go. EBUSY: an nft object
// still names it.
func (h Helper) remove() (netlink.Message, error) {
	return message(subsysCTHelper, helperDelete, netlink.Acknowledge, unix.AF_UNSPEC, func(ae *netlink.AttributeEncoder) {
		ae.String(nfcthName, h.Name)
		h.putTuple(ae)
	})
}

func (h Helper) putTuple(ae *netlink.AttributeEncoder) {
	ae.Nested(nfcthTuple, func(ae *netlink.AttributeEncoder) error {
		l3 := uint16(unix.AF_INET)
		if h.IPv6 {
			l3 = unix.AF_INET6
		}
		ae.Uint16(nfcthTupleL3, l3)
		ae.Uint8(nfcthTupleL4, unix.IPPROTO_TCP)
		return nil
	})
}

// dumpHelpers asks for all user-space helpers.
func dumpHelpers() (netlink.Message, error) {
	return message(subsysCTHelper, helperGet, netlink.Dump, unix.AF_UNSPEC, func(*netlink.AttributeEncoder) {})
}

// readHelper reads an answer to dumpHelpers; ok is false for a helper that is
// not TCP's.
func readHelper(m netlink.Message) (h Helper, ok bool, err error) {
	err = nfnetlink.Attributes(m, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case nfcthName:
			h.Name = ad.String()
		case nfcthQueueNum:
			h.Queue = ad.Uint32()
		case nfcthStatus:
			h.Enabled = ad.Uint32() != statusDisabled
		case nfcthTuple:
			nfnetlink.Nested(ad, func(ad *netlink.AttributeDecoder) {
				switch ad.Type() {
				case nfcthTupleL3:
					h.IPv6 = ad.Uint16() == unix.AF_INET6
				case nfcthTupleL4:
					ok = ad.Uint8() == unix.IPPROTO_TCP
				}
			})
		case nfcthPolicy:
			nfnetlink.Nested(ad, func(ad *netlink.AttributeDecoder) {
				if ad.Type() == nfcthPolicySet1 {
					nfnetlink.Nested(ad, h.readPolicy)
				}
			})
		}
	})
	return h, ok, err
}

func (h *Helper) readPolicy(ad *netlink.AttributeDecoder) {
	switch ad.Type() {
	case nfcthPolicyMax:
		h.Max = ad.Uint32()
	case nfcthPolicyTimeout:
		h.Timeout = ad.Uint32()
	}
}
