package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What Config's zeros mean.
const (
	defaultMaxLen     = 4096
	defaultReadBuffer = 8 << 20
)

// messageSize is more than the longest message: a 16-bit attribute of payload
// and the other attributes. One that does not fit would lose its packet's id.
const messageSize = 1 << 17

// Messages and attributes of include/uapi/linux/netfilter/nfnetlink_queue.h.
const (
	msgConfig    = unix.NFNL_SUBSYS_QUEUE<<8 | 2 // NFQNL_MSG_CONFIG
	cfgCmd       = 1                             // NFQA_CFG_CMD
	cfgParams    = 2                             // NFQA_CFG_PARAMS
	cfgCmdPFBind = 3                             // NFQNL_CFG_CMD_PF_BIND
)

// copyRange asks for whole packets, as far as an attribute can hold them.
const copyRange = 0xffff

// Open binds the queue. From then on packets that the rules send to it wait
// for Run. Close the Queue to let go of it.
//
// It fails with ErrTaken, ErrPermission or ErrUnsupported.
func Open(cfg Config) (*Queue, error) {
	if cfg.MaxLen == 0 {
		cfg.MaxLen = defaultMaxLen
	}
	if cfg.ReadBuffer == 0 {
		cfg.ReadBuffer = defaultReadBuffer
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	flags := uint32(nfqueue.NfQaCfgFlagFailOpen | nfqueue.NfQaCfgFlagGSO)
	if cfg.FailClosed {
		flags = 0
	}
	nf, err := nfqueue.Open(&nfqueue.Config{
		NetNS:        cfg.NetNS,
		NfQueue:      cfg.Num,
		MaxQueueLen:  cfg.MaxLen,
		MaxPacketLen: copyRange,
		Copymode:     nfqueue.NfQnlCopyNone, // see bind
		Flags:        flags,
		Logger:       logger{cfg.Log.With("queue", cfg.Num)},
	})
	if err != nil {
		return nil, explain(cfg.Num, err)
	}
	if nf.Con, err = connect(nf.Con, cfg); err != nil {
		return nil, fmt.Errorf("queue %d: %w", cfg.Num, err)
	}
	q := newQueue(cfg)
	q.nf, q.judge = nf, q
	if err := q.bind(); err != nil {
		nf.Close() // or it stays bound without a reader
		return nil, err
	}
	return q, nil
}

func newQueue(cfg Config) *Queue {
	return &Queue{
		num: cfg.Num, failClosed: cfg.FailClosed, log: cfg.Log,
		running: make(chan struct{}), stopped: make(chan struct{}), closing: make(chan struct{}),
	}
}

// connect replaces go-nfqueue's connection by one that reads into buffers
// that are used again, and whose socket holds a burst, and a long verdict. Overruns are reported
// (NETLINK_NO_ENOBUFS stays off), since they are counted.
func connect(old *netlink.Conn, cfg Config) (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: cfg.NetNS, MessageBufferSize: messageSize})
	old.Close()
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	// A verdict can carry a packet, whatever net.core.wmem_default says.
	if err := errors.Join(c.SetReadBuffer(cfg.ReadBuffer), c.SetWriteBuffer(messageSize)); err != nil {
		c.Close()
		return nil, fmt.Errorf("setting the netlink socket's buffers: %w", err)
	}
	return c, nil
}

// bind takes the queue and starts the reading goroutine.
func (q *Queue) bind() error {
	// A command without effect that takes the same capability: its EPERM is
	// about permission, the one of binding is about another reader.
	if _, err := q.nf.Con.Execute(configure(0, netlink.Request|netlink.Acknowledge,
		cfgCmd, cfgCmdPFBind, 0, 0, unix.AF_INET)); err != nil {
		return explain(q.num, err)
	}
	// The context is never done: Close ends the reader, and only after the
	// waiting packets were released.
	err := q.nf.RegisterWithErrorFunc(context.Background(), q.receive, q.fail)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("queue %d: %w: stop the other program (column 2 of /proc/net/netfilter/nfnetlink_queue is its netlink port, usually its process id), or choose another number with --queue-num", q.num, ErrTaken)
	}
	if err != nil {
		return explain(q.num, err)
	}
	// Until here no packet was sent to us: between the answers to the steps
	// of registering, go-nfqueue would take it for one of them and fail.
	// Kernels since 3.10 cannot refuse this one, so no answer is asked for
	// (the reader would have to tell it from packets).
	params := binary.BigEndian.AppendUint32(nil, copyRange)
	if _, err := q.nf.Con.Send(configure(q.num, netlink.Request,
		cfgParams, append(params, nfqueue.NfQnlCopyPacket)...)); err != nil {
		return explain(q.num, err)
	}
	return nil
}

// configure returns a configuration message with one attribute.
func configure(num uint16, flags netlink.HeaderFlags, attr uint16, value ...byte) netlink.Message {
	data := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0} // struct nfgenmsg
	data = binary.BigEndian.AppendUint16(data, num)
	data = binary.NativeEndian.AppendUint16(data, uint16(unix.SizeofNlAttr+len(value)))
	data = binary.NativeEndian.AppendUint16(data, attr)
	data = append(data, value...)
	for len(data)%4 != 0 {
		data = append(data, 0)
	}
	return netlink.Message{Header: netlink.Header{Type: msgConfig, Flags: flags}, Data: data}
}

// explain wraps an error of setting the queue up.
func explain(num uint16, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("queue %d: %w: run as root or with CAP_NET_ADMIN: %w", num, ErrPermission, err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("queue %d: %w: load the module nfnetlink_queue, or use a kernel with CONFIG_NETFILTER_NETLINK_QUEUE: %w", num, ErrUnsupported, err)
	}
	return fmt.Errorf("binding queue %d: %w", num, err)
}

// gone reports whether nothing will ever be read from the socket again.
func gone(err error) bool {
	return errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EBADF) || errors.Is(err, unix.ENOTSOCK)
}

// logger is go-nfqueue's way to log. What it says may hold packet data.
type logger struct{ log *slog.Logger }

func (l logger) Debugf(format string, args ...any) { l.Errorf(format, args...) }

func (l logger) Errorf(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("go-nfqueue", "message", fmt.Sprintf(format, args...))
	}
}
