package queue

import "errors"

// Errors of Open, which wraps them with what to do.
var (
	// ErrTaken means that another program reads the queue.
	ErrTaken = errors.New("the queue has a reader already")
	// ErrPermission means that CAP_NET_ADMIN is missing.
	ErrPermission = errors.New("not permitted to read a netfilter queue")
	// ErrUnsupported means that the kernel has no netfilter queues
	// (CONFIG_NETFILTER_NETLINK_QUEUE), or none that fail open.
	ErrUnsupported = errors.New("the kernel does not support netfilter queues")
)

// ErrStopped is Run's: the kernel's messages can no longer be read, or Run was called twice.
var ErrStopped = errors.New("the queue's reader has stopped")
