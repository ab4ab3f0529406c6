package confine

import (
	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

const (
	read   = ll.AccessFSReadFile | ll.AccessFSReadDir
	remove = ll.AccessFSRemoveFile
	write  = read | remove | ll.AccessFSMakeReg | ll.AccessFSWriteFile | ll.AccessFSTruncate
)

// hasLandlock asks the kernel; a filter of system calls may forbid the
// question, and then there is none for us.
func hasLandlock() bool {
	abi, err := ll.LandlockGetABIVersion()
	return err == nil && abi > 0
}

// restrict leaves no files but those within reach, no program to start, and no
// TCP port to bind or connect to (multipath TCP landlock does not know). It
// keeps to landlock's fifth version: the sixth forbids signals from one domain
// to another, and each thread is one, while Go's threads signal each other.
func (r Reach) restrict() error {
	return landlock.V5.BestEffort().Restrict(
		landlock.PathAccess(read, r.Read...).IgnoreIfMissing(),
		landlock.PathAccess(write, r.Write...).IgnoreIfMissing(),
		landlock.PathAccess(remove, r.Remove...).IgnoreIfMissing(),
	)
}
