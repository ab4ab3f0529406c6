package confine

import (
	"fmt"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// dropCapabilities keeps CAP_NET_ADMIN, if it is there, and nothing else, and
// lets no program that is started gain more.
func dropCapabilities() error {
	now := cap.GetProc()
	admin, err := now.GetFlag(cap.Permitted, cap.NET_ADMIN)
	if err != nil {
		return err
	}
	// Without CAP_SETPCAP the bounding set stays as it is: then nothing of it
	// can be gained either, for want of new privileges.
	if mayBound, err := now.GetFlag(cap.Effective, cap.SETPCAP); err != nil {
		return err
	} else if mayBound {
		if err := bound(); err != nil {
			return fmt.Errorf("bounding set: %w", err)
		}
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	keep := cap.NewSet() // without inheritable ones, which ends the ambient ones too
	for _, flag := range []cap.Flag{cap.Permitted, cap.Effective} {
		if err := keep.SetFlag(flag, admin, cap.NET_ADMIN); err != nil {
			return err
		}
	}
	return keep.SetProc()
}

// bound takes everything but CAP_NET_ADMIN out of the bounding set.
func bound() error {
	var others []cap.Value
	for v := range cap.MaxBits() {
		if in, err := cap.GetBound(v); err != nil {
			return err
		} else if in && v != cap.NET_ADMIN {
			others = append(others, v)
		}
	}
	return cap.DropBound(others...)
}
