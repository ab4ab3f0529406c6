package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"ftpinhole/cmd/internal/flows"

	landlock "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"
)

// capabilities looks for CAP_NET_ADMIN, which is all that the daemon needs.
func capabilities() Row {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return Row{Name: "capabilities", Level: Error, Cause: Permission, Detail: fmt.Sprintf("cannot be read: %v", err)}
	}
	if data[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return Row{Name: "capabilities", Level: Error, Cause: Permission, Detail: "CAP_NET_ADMIN is missing",
			Mend: "run as root, or with AmbientCapabilities=CAP_NET_ADMIN in the unit"}
	}
	return Row{Name: "capabilities", Detail: "CAP_NET_ADMIN"}
}

// conntrackRows tries what the daemon does with ctnetlink.
func (k *kernel) conntrackRows(ctx context.Context) []Row {
	const mend = "the kernel needs nf_conntrack_netlink: modprobe nf_conntrack_netlink"
	rows := []Row{
		{Name: "conntrack", Detail: "connections can be listed, by their ports (CTA_FILTER)"},
		{Name: "events", Detail: "conntrack events can be heard"},
	}
	if err := dumpOnce(); err != nil {
		rows[0] = Row{Name: "conntrack", Level: Error, Cause: Missing, Detail: err.Error(), Mend: mend}
	} else if !k.filters() {
		rows[0].Detail = "connections can be listed; a kernel before Linux 5.8 lists all of them where some are asked for"
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := flows.Listen(ctx, flows.Config{Mask: 1, ReadBuffer: 1 << 16})
	if err != nil {
		rows[1] = Row{Name: "events", Level: Error, Cause: Missing, Detail: err.Error(), Mend: mend}
		return rows
	}
	cancel()
	l.Wait()
	// 0 is never, 1 always, 2 where somebody listens (Linux 5.19).
	if b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_events"); err == nil && strings.TrimSpace(string(b)) == "0" {
		rows[1] = Row{Name: "events", Level: Error, Detail: "net.netfilter.nf_conntrack_events is 0: the ends of connections stay unknown",
			Mend: "sysctl -w net.netfilter.nf_conntrack_events=1"}
	}
	return rows
}

// filters reports whether the kernel knows CTA_FILTER: then it refuses one that
// makes no sense (ctnetlink_parse_filter in net/netfilter/nf_conntrack_netlink.c),
// which it ignores otherwise.
func (k *kernel) filters() bool {
	const (
		get       = 1       // IPCTNL_MSG_CT_GET
		filter    = 25      // CTA_FILTER
		origFlags = 1       // CTA_FILTER_ORIG_FLAGS
		none      = 1 << 31 // no flag
	)
	req, err := message(netfilter.NFSubsysCTNetlink, get, netlink.Dump, netfilter.ProtoIPv4, 0, func(ae *netlink.AttributeEncoder) {
		ae.Nested(filter, func(ae *netlink.AttributeEncoder) error {
			ae.ByteOrder = binary.NativeEndian
			ae.Uint32(origFlags, none)
			return nil
		})
	})
	if err == nil {
		err = k.conn.SetDeadline(time.Now().Add(timeout))
	}
	if err == nil {
		_, err = k.conn.Execute(req)
	}
	return errnoIs(err, unix.EINVAL, unix.EOPNOTSUPP)
}

func dumpOnce() error {
	c, err := flows.Dial(0)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Dump(^uint32(0), ^uint32(0)) // a mark that nobody has
	return err
}

// accounting looks for byte counts.
func accounting() Row {
	const name, key = "accounting", "nf_conntrack_acct"
	switch value, err := conntrackSysctl(key); {
	case errors.Is(err, fs.ErrNotExist):
		return Row{Name: name, Level: Warning, Detail: sysctl(key) + " does not exist: conntrack is not loaded",
			Mend: "modprobe nf_conntrack"}
	case err != nil:
		return Row{Name: name, Level: Warning, Detail: err.Error(), Mend: "see that /proc can be read"}
	case value != "1":
		return Row{Name: name, Level: Warning, Detail: sysctl(key) + " is 0: records will have no byte counts",
			Mend: setSysctl(key, "1")}
	}
	return Row{Name: name, Detail: sysctl(key) + "=1"}
}

// window looks whether conntrack keeps segments out that are not in the TCP
// window: our chains come behind that, and read what passed.
func window() Row {
	const name, key = "window", "nf_conntrack_tcp_be_liberal"
	value, err := conntrackSysctl(key)
	switch {
	case err != nil:
		return Row{Name: name, Detail: "not known: conntrack is not loaded"}
	case value != "0":
		return Row{Name: name, Level: Warning,
			Detail: sysctl(key) + "=" + value + ": conntrack takes segments out of the window for part of a connection; a forged one makes a session out of step, and nothing opens in it until both sides are in step again",
			Mend:   setSysctl(key, "0")}
	}
	return Row{Name: name, Detail: "segments out of the window are invalid (" + sysctl(key) + "=0)"}
}

// forgotten looks what becomes of sessions that are alive when conntrack forgets
// them: by conntrack -F, in a failover, or because they were idle for longer
// than its timeout.
func forgotten() Row {
	const (
		name         = "forgotten sessions"
		loose, limit = "nf_conntrack_tcp_loose", "nf_conntrack_tcp_timeout_established"
		least        = 2*60*60 + 4*60 // RFC 5382, REQ-5
		usual        = "432000"
	)
	value, err := conntrackSysctl(loose)
	if err != nil {
		return Row{Name: name, Detail: "not known: conntrack is not loaded"}
	}
	idle, err := conntrackSysctl(limit)
	if seconds, broken := strconv.Atoi(idle); err == nil && broken == nil && seconds < least {
		return Row{Name: name, Level: Warning,
			Detail: sysctl(limit) + "=" + idle + ": conntrack forgets a session while a transfer takes longer; the server speaks first then, and the firewall drops that, or conntrack takes the server for the client and nothing more is read",
			Mend:   setSysctl(limit, usual)}
	}
	if value == "0" {
		return Row{Name: name, Detail: "a session that conntrack forgets is not picked up again, and hangs (" + sysctl(loose) + "=0)"}
	}
	return Row{Name: name, Detail: "a session that conntrack forgets is picked up again with its client's next segment (" + sysctl(loose) + "=" + value +
		"); if the server speaks first, conntrack takes it for the client, and nothing more is read"}
}

// landlocked looks whether the kernel can keep the daemon from files.
func landlocked() Row {
	const name = "landlock"
	abi, err := landlock.LandlockGetABIVersion()
	if err != nil || abi < 1 {
		return Row{Name: name, Detail: "not in this kernel, or not enabled (lsm=): the daemon gives up its capabilities, but files are kept from it by their modes and systemd alone"}
	}
	return Row{Name: name, Detail: fmt.Sprintf("version %d: the daemon keeps to its own files", abi)}
}

func sysctl(key string) string { return "net.netfilter." + key }

func conntrackSysctl(key string) (string, error) {
	b, err := os.ReadFile("/proc/sys/net/netfilter/" + key)
	return strings.TrimSpace(string(b)), err
}

func setSysctl(key, value string) string {
	return fmt.Sprintf("sysctl -w %s=%s, and a line in /etc/sysctl.d/", sysctl(key), value)
}
