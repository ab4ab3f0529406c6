package nfnetlink

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
)

// Attributes calls each for every attribute of m, behind its struct nfgenmsg.
func Attributes(m netlink.Message, each func(*netlink.AttributeDecoder)) error {
	if len(m.Data) < 4 {
		return fmt.Errorf("netlink message of %d bytes: too short for nfgenmsg", len(m.Data))
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		each(ad)
	}
	return ad.Err()
}

// Nested calls each for every attribute inside of ad's present one.
func Nested(ad *netlink.AttributeDecoder, each func(*netlink.AttributeDecoder)) {
	ad.Nested(func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			each(ad)
		}
		return ad.Err()
	})
}
