package nft

import (
	"context"
	"fmt"

	"ftpinhole/rules/nfnetlink"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Watch calls onChange after each change that somebody else made to the table
// or to anything in it. who names the process as the kernel knows it ("nft, pid
// 1234"), or is "" when changes came faster than they could be read: then the
// table may have changed or not. Watch returns nil when ctx is done. It has to
// be called in the network namespace of the table; ready is called when changes
// are being seen.
func (t *Table) Watch(ctx context.Context, ready func(), onChange func(who string)) error {
	own := t.writer.nl.PID()
	touched := false // by somebody else, since the last generation
	lost := func() {
		touched = false
		onChange("")
	}
	return explain("watch nf_tables", nfnetlink.Watch(ctx, 1<<(unix.NFNLGRP_NFTABLES-1), ready, lost, func(m netlink.Message) {
		switch {
		// The pid of a message is its sender's socket. (That in the generation
		// is a thread's, and of no use to know oneself.)
		case m.Header.PID == own || m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES:
		case m.Header.Type == headerType(unix.NFT_MSG_NEWGEN):
			if touched {
				onChange(author(m))
			}
			touched = false
		case ofTable(m):
			touched = true
		}
	}))
}

// ofTable tells whether m is about our table. In every message of nf_tables
// attribute 1 is the table's name.
func ofTable(m netlink.Message) bool {
	var ours bool
	err := nfnetlink.Attributes(m, func(ad *netlink.AttributeDecoder) {
		if ad.Type() == unix.NFTA_TABLE_NAME {
			ours = ad.String() == TableName
		}
	})
	return err == nil && ours && m.Data[0] == unix.NFPROTO_INET
}

// author reads who made the generation that m announces.
func author(m netlink.Message) string {
	var name string
	var pid uint32
	err := nfnetlink.Attributes(m, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.NFTA_GEN_PROC_NAME:
			name = ad.String()
		case unix.NFTA_GEN_PROC_PID:
			pid = ad.Uint32()
		}
	})
	if err != nil || name == "" {
		return ""
	}
	return fmt.Sprintf("%s, pid %d", name, pid)
}
