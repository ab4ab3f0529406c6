package confine

import (
	"fmt"
	"time"
)

// How says in a word how the process is confined.
type How string

// The ways. No and Capabilities leave files to their owners and modes.
const (
	No           How = "no"
	Capabilities How = "capabilities" // CAP_NET_ADMIN at most, and no new privileges (PR_SET_NO_NEW_PRIVS)
	Landlock     How = "landlock"     // that, and no files but a Reach (landlock(7))
)

// Reach names the directories whose files the process still needs, with all
// that is below them. One that does not exist is left out.
type Reach struct {
	Read   []string
	Write  []string // to make, read, write, rename and remove files
	Remove []string // only to remove files: sockets that are bound
}

// Process confines this process, all of its threads, and what they start. What
// is open already stays usable. If the kernel has no landlock, or it is not
// enabled, that is no error.
func Process(reach Reach) (How, error) {
	// The time zone is read when it is first needed, from a file.
	_, _ = time.Now().Zone()
	if err := dropCapabilities(); err != nil {
		return No, fmt.Errorf("capabilities could not be given up: %w; please report this", err)
	}
	if !hasLandlock() {
		return Capabilities, nil
	}
	if err := reach.restrict(); err != nil {
		return Capabilities, fmt.Errorf("landlock: %w; please report this", err)
	}
	return Landlock, nil
}
