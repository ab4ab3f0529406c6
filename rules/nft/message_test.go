package nft_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/rules/nft"
)

// listed is a message that lists one element: its user data and how often its
// counter counted, as the kernel writes them.
func listed(t testing.TB, userdata []byte, packets uint64) []byte {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	const listElem, exprName, exprData, elemUserdata, elemExpressions, counterBytes, counterPackets = 1, 1, 2, 6, 11, 1, 2
	ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, nft.TableName)
	ae.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(listElem, func(ae *netlink.AttributeEncoder) error {
			ae.Bytes(elemUserdata, userdata)
			ae.Nested(elemExpressions, func(ae *netlink.AttributeEncoder) error {
				ae.Nested(listElem, func(ae *netlink.AttributeEncoder) error {
					ae.String(exprName, "counter")
					ae.Nested(exprData, func(ae *netlink.AttributeEncoder) error {
						ae.Uint64(counterBytes, 60*packets)
						ae.Uint64(counterPackets, packets)
						return nil
					})
					return nil
				})
				return nil
			})
			return nil
		})
		return nil
	})
	data, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{unix.NFPROTO_INET, 0, 0, 0}, data...)
}

func TestArrivals(t *testing.T) {
	for _, test := range []struct {
		name     string
		userdata string
		packets  uint64
		want     []string
	}{
		{"came", "\x00\x04a-1\x00", 1, []string{"a-1"}},
		{"came twice", "\x00\x04a-1\x00", 2, []string{"a-1"}},
		{"did not come", "\x00\x04a-1\x00", 0, nil},
		{"something before it", "\x01\x04\x00\x00\x00\x01\x00\x04a-1\x00", 1, []string{"a-1"}},
		{"somebody else's without a comment", "", 1, []string{""}},
		{"shorter than it says", "\x00\xffa-1", 1, []string{""}},
		{"type without length", "\x00", 1, []string{""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := nft.Arrivals(listed(t, []byte(test.userdata), test.packets))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Others can write into our table what they like: reading it fails or finds
// ids no longer than a comment, and never panics.
func FuzzMessages(f *testing.F) {
	f.Add(listed(f, []byte("\x00\x04a-1\x00"), 1))
	f.Add(listed(f, []byte("\x00\xffa-1\x00"), 1))
	f.Add([]byte{1, 0, 0})
	f.Add([]byte("\x00\x00\x00\x00\x08\x00\x02\x00\x00\x00\x04\xd2\x08\x00\x03\x00nft\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ids, err := nft.Arrivals(data)
		if err == nil && slices.ContainsFunc(ids, func(id string) bool { return len(id) > 255 }) {
			t.Errorf("an id longer than its length byte can say: %q", ids)
		}
		if who := nft.Author(data); who != "" && !strings.Contains(who, ", pid ") {
			t.Errorf("author %q", who)
		}
	})
}
