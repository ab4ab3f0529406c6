package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"ftpinhole/cmd/internal/flows"

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
func conntrackRows(ctx context.Context) []Row {
	const mend = "the kernel needs nf_conntrack_netlink: modprobe nf_conntrack_netlink"
	rows := []Row{
		{Name: "conntrack", Detail: "connections can be listed"},
		{Name: "events", Detail: "conntrack events can be heard"},
	}
	if err := dumpOnce(); err != nil {
		rows[0] = Row{Name: "conntrack", Level: Error, Cause: Missing, Detail: err.Error(), Mend: mend}
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
	const name, key = "accounting", "net.netfilter.nf_conntrack_acct"
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_acct")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Row{Name: name, Level: Warning, Detail: key + " does not exist: conntrack is not loaded",
			Mend: "modprobe nf_conntrack"}
	case err != nil:
		return Row{Name: name, Level: Warning, Detail: err.Error()}
	case strings.TrimSpace(string(b)) != "1":
		return Row{Name: name, Level: Warning, Detail: key + " is 0: records will have no byte counts",
			Mend: "sysctl -w " + key + "=1, and a line in /etc/sysctl.d/"}
	}
	return Row{Name: name, Detail: key + "=1"}
}
