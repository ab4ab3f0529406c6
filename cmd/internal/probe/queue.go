package probe

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"
)

// queue sees whether our queue numbers are free, or ours. While our table is
// there, packets may come to them: then it tries another number.
func (k *kernel) queue(cfg Config, rs *ruleset) Row {
	const name = "queue"
	running := rs != nil && slices.ContainsFunc(rs.all(), cfg.own)
	if last := int(cfg.QueueNum) + max(cfg.Queues, 1) - 1; last > 0xffff {
		return Row{Name: name, Level: Error, Cause: BadConfig, Detail: fmt.Sprintf("queue number %d is over 65535", last), Mend: "choose a lower queue_num"}
	}
	bound, err := boundQueues()
	for i := range max(cfg.Queues, 1) {
		num := cfg.QueueNum + uint16(i)
		switch {
		case slices.Contains(bound, num) && running:
			return Row{Name: name, Detail: fmt.Sprintf("ftpinhole is running, on %s", queueRange(cfg))}
		case slices.Contains(bound, num):
			return taken(name, num)
		case running:
			continue
		}
		switch err := k.bind(num); {
		case errnoIs(err, unix.EBUSY, unix.EPERM):
			return taken(name, num)
		case err != nil:
			return noQueue(name, err)
		}
	}
	if !running {
		return Row{Name: name, Detail: queueRange(cfg) + " can be bound"}
	}
	const spare = 0xffff // that it may be taken is no matter
	if err := k.bind(spare); err != nil && !errnoIs(err, unix.EBUSY, unix.EPERM) {
		return noQueue(name, err)
	}
	if err != nil {
		return Row{Name: name, Detail: "ftpinhole's table is there; only root sees whether it reads " + queueRange(cfg)}
	}
	return Row{Name: name, Detail: "queues can be bound; ftpinhole's table is there, but nobody reads " + queueRange(cfg)}
}

func noQueue(name string, err error) Row {
	return Row{Name: name, Level: Error, Cause: Missing, Detail: fmt.Sprintf("no queue can be bound: %v", err),
		Mend: "the kernel needs nfnetlink_queue: modprobe nfnetlink_queue"}
}

func taken(name string, num uint16) Row {
	return Row{Name: name, Level: Error, Detail: fmt.Sprintf("another program reads queue %d", num),
		Mend: "choose other numbers with queue_num, or stop that program (an IPS?)"}
}

func queueRange(cfg Config) string {
	if cfg.Queues <= 1 {
		return fmt.Sprintf("queue %d", cfg.QueueNum)
	}
	return fmt.Sprintf("queues %d-%d", cfg.QueueNum, int(cfg.QueueNum)+cfg.Queues-1)
}

// boundQueues reads the numbers in use (seq_show in
// net/netfilter/nfnetlink_queue.c): the first column.
func boundQueues() ([]uint16, error) {
	b, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
	if err != nil {
		return nil, err
	}
	nums := []uint16{}
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			if n, err := strconv.ParseUint(fields[0], 10, 16); err == nil {
				nums = append(nums, uint16(n))
			}
		}
	}
	return nums, nil
}

// bind binds a queue for a moment.
func (k *kernel) bind(num uint16) error {
	const (
		msgConfig = 2 // NFQNL_MSG_CONFIG
		cfgCmd    = 1 // NFQA_CFG_CMD
	)
	const bind, unbind = 1, 2 // NFQNL_CFG_CMD_BIND, NFQNL_CFG_CMD_UNBIND
	var errs error
	for _, cmd := range []byte{bind, unbind} {
		req, err := message(netfilter.NFSubsysQueue, msgConfig, netlink.Acknowledge, unix.NFPROTO_UNSPEC, num,
			func(ae *netlink.AttributeEncoder) { ae.Bytes(cfgCmd, []byte{cmd, 0, 0, 0}) })
		if err != nil {
			return err
		}
		if err := k.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
		if _, err := k.conn.Execute(req); err != nil {
			errs = errors.Join(errs, err)
			if cmd == bind {
				return errs
			}
		}
	}
	return errs
}

// all gives the chains in no order.
func (rs *ruleset) all() []*chain {
	all := make([]*chain, 0, len(rs.chains))
	for _, c := range rs.chains {
		all = append(all, c)
	}
	return all
}
