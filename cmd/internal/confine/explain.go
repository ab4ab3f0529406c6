package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Explain adds to an error about a file that may not be opened why that is:
// whose file it is, or that it is out of reach. Other errors it returns as they
// are. It wraps err.
func (h How) Explain(err error) error {
	var failed *fs.PathError
	if !errors.As(err, &failed) || !errors.Is(failed, fs.ErrPermission) {
		return err
	}
	path, info := stop(failed.Path)
	if info == nil {
		return err
	}
	owner, uid := info.Sys().(*syscall.Stat_t).Uid, uint32(os.Geteuid())
	switch {
	case owner != uid && info.Mode().Perm()&0o007 == 0:
		return fmt.Errorf("%w (%s belongs to user %d and has the mode %#o; the daemon is user %d: chown it)",
			err, path, owner, info.Mode().Perm(), uid)
	case h == Landlock:
		return fmt.Errorf("%w (the daemon is confined to the directories that it knew at its start: restart it if %s is new)",
			err, filepath.Dir(failed.Path))
	}
	return err
}

// stop is what the way to a file ends at: the file, or the last directory that
// can be looked at.
func stop(path string) (string, fs.FileInfo) {
	for {
		info, err := os.Stat(path)
		if err == nil {
			return path, info
		}
		parent := filepath.Dir(path)
		if parent == path || !errors.Is(err, fs.ErrPermission) {
			return path, nil
		}
		path = parent
	}
}
