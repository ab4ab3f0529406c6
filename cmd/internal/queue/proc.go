package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Kernel is what the kernel says about a queue.
type Kernel struct {
	Port        uint32 // netlink port of its reader, usually the reader's process id
	Waiting     uint32 // packets that wait for a verdict
	Dropped     uint32 // dropped because the queue was full
	UserDropped uint32 // dropped because the reader's socket was full
	Sequence    uint32 // the last packet's id
}

// ErrNotBound means that nobody reads the queue.
var ErrNotBound = errors.New("the queue has no reader")

// ReadKernel reads /proc/net/netfilter/nfnetlink_queue, in the network
// namespace of the calling thread; root may. A queue that fails open drops
// nothing: what it lets pass unseen is not counted there.
func ReadKernel(num uint16) (Kernel, error) {
	const path = "/proc/thread-self/net/netfilter/nfnetlink_queue"
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Kernel{}, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err != nil {
		return Kernel{}, fmt.Errorf("reading the queues: %w", err)
	}
	return parseKernel(string(b), num)
}

// parseKernel reads the lines of seq_show in net/netfilter/nfnetlink_queue.c.
func parseKernel(text string, num uint16) (Kernel, error) {
	for line := range strings.Lines(text) {
		var n, mode, copyLen, one uint32
		var k Kernel
		if _, err := fmt.Sscan(line, &n, &k.Port, &k.Waiting, &mode, &copyLen,
			&k.Dropped, &k.UserDropped, &k.Sequence, &one); err != nil {
			return Kernel{}, fmt.Errorf("line %q of the queues: %w", line, err)
		}
		if n == uint32(num) {
			return k, nil
		}
	}
	return Kernel{}, fmt.Errorf("queue %d: %w", num, ErrNotBound)
}
