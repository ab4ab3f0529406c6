package nft

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watchBuffer is the socket's room for what other programs do to nf_tables.
const watchBuffer = 1 << 20

// Watch calls onChange after each change that somebody else made to the table
// or to anything in it. who names the process as the kernel knows it ("nft, pid
// 1234"), or is "" when changes came faster than they could be read: then the
// table may have changed or not. Watch returns nil when ctx is done. It has to
// be called in the network namespace of the table; ready is called when changes
// are being seen.
func (t *Table) Watch(ctx context.Context, ready func(), onChange func(who string)) error {
	seeing := ready
	for {
		nl, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
		if err != nil {
			return explain("watch nf_tables", err)
		}
		seeing()
		err = t.follow(ctx, nl, onChange)
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, unix.ENOBUFS):
			return explain("watch nf_tables", err)
		}
		// Until its last message is read a socket that overflowed drops all
		// that comes, without another word. A new one sees all from now on.
		seeing = func() { onChange("") }
	}
}

// follow reads nl until that fails or ctx is done, and closes it.
func (t *Table) follow(ctx context.Context, nl *netlink.Conn, onChange func(who string)) error {
	stop := context.AfterFunc(ctx, func() { nl.Close() })
	defer func() {
		if stop() {
			nl.Close()
		}
	}()
	if err := nl.SetReadBuffer(watchBuffer); err != nil {
		return err
	}
	own := t.writer.nl.PID()
	touched := false // by somebody else, since the last generation
	for {
		messages, err := nl.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch {
			// The pid of a message is its sender's socket. (That in the
			// generation is a thread's, and of no use to know oneself.)
			case m.Header.PID == own || m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES:
			case m.Header.Type == headerType(unix.NFT_MSG_NEWGEN):
				if touched {
					onChange(author(m))
				}
				touched = false
			case ofTable(m):
				touched = true
			}
		}
	}
}

// ofTable tells whether m is about our table. In every message of nf_tables
// attribute 1 is the table's name.
func ofTable(m netlink.Message) bool {
	var ours bool
	err := attributes(m, func(ad *netlink.AttributeDecoder) {
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
	err := attributes(m, func(ad *netlink.AttributeDecoder) {
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
