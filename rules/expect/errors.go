package expect

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// What callers tell apart. Each is wrapped with what failed and what to do.
var (
	// ErrFull: the kernel holds as many expectations as it may.
	ErrFull = errors.New("too many expectations")
	// ErrPermission: the process lacks CAP_NET_ADMIN, or for a helper has it only
	// in a user namespace.
	ErrPermission = errors.New("not permitted")
	// ErrUnsupported: the kernel lacks user-space helpers, or expectations that
	// are made by them.
	ErrUnsupported = errors.New("not supported by this kernel")
	// ErrInUse: an nft object names the helper.
	ErrInUse = errors.New("helper is in use")
	// ErrNoHelper: the control connection has no helper, or conntrack does not
	// know it. Its pinholes need another backend.
	ErrNoHelper = errors.New("control connection without helper")
	// ErrTranslation: the kernel would translate the data connection otherwise. It
	// needs another backend.
	ErrTranslation = errors.New("translated in another way than its control connection")
	// ErrTaken: somebody else expects the same data connection.
	ErrTaken = errors.New("expected by somebody else")
)

// explain wraps err with what was being done and, where it is known, the mend.
func explain(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("expect: %s: %w (%w): run as root or grant CAP_NET_ADMIN", doing, err, ErrPermission)
	case errors.Is(err, unix.EMFILE):
		return fmt.Errorf("expect: %s: %w (%w): raise net.netfilter.nf_conntrack_expect_max", doing, err, ErrFull)
	}
	return fmt.Errorf("expect: %s: %w", doing, err)
}

// explainHelper is explain for requests about the helper.
func explainHelper(doing string, err error) error {
	switch {
	case errors.Is(err, unix.EINVAL): // nfnetlink's answer when it has no such subsystem
		return fmt.Errorf("expect: %s: %w (%w): load the module nfnetlink_cthelper, or use the backend nft", doing, err, ErrUnsupported)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("expect: %s: %w (%w): delete the nft objects that name it", doing, err, ErrInUse)
	}
	return explain(doing, err)
}

// explainTry is explain for what Try asks for.
func explainTry(doing string, err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("expect: %s: %w (%w): use the nft backend", doing, err, ErrUnsupported)
	}
	return explain(doing, err)
}

// explainPinhole is explain for the making of an expectation.
func explainPinhole(id string, err error) error {
	doing := "open pinhole " + id
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ESHUTDOWN), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("expect: %s: %w (%w): open it with the nft backend", doing, err, ErrNoHelper)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("expect: %s: %w (%w): is there another helper for these connections?", doing, err, ErrTaken)
	}
	return explain(doing, err)
}
