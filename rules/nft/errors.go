package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// What callers tell apart. Each is wrapped with what failed and what to do.
var (
	// ErrFull: a set holds as much as Config.SetSize.
	ErrFull = errors.New("the set is full")
	// ErrPermission: the process lacks CAP_NET_ADMIN in its network namespace.
	ErrPermission = errors.New("not permitted")
	// ErrUnsupported: the kernel lacks something that the table needs.
	ErrUnsupported = errors.New("not supported by this kernel")
)

// messageError is the kernel's answer to one message of a batch.
type messageError struct {
	note
	index int // of the message, -1 for the batch
	err   error
}

func (e *messageError) Error() string { return e.what + ": " + e.err.Error() }

func (e *messageError) Unwrap() error { return e.err }

// explain wraps err with what was being done and, where it is known, the mend.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	var message *messageError
	errors.As(err, &message)
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("nft: %s: %w (%w): run as root or grant CAP_NET_ADMIN", doing, err, ErrPermission)
	case errors.Is(err, unix.ENFILE):
		return fmt.Errorf("nft: %s: %w (%w): raise the limit of pinholes in all", doing, err, ErrFull)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("nft: %s: %w (%w): needs nf_tables with stateful set expressions (Linux 5.11, CONFIG_NF_TABLES_INET)", doing, err, ErrUnsupported)
	case errors.Is(err, unix.ENOENT) && message != nil && message.modules != "":
		return fmt.Errorf("nft: %s: %w (%w): load the modules %s", doing, err, ErrUnsupported, message.modules)
	}
	return fmt.Errorf("nft: %s: %w", doing, err)
}
