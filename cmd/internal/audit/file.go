package audit

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// sink is the file, or what a test puts in its place.
type sink interface {
	io.Writer
	io.Closer
}

// file is the audit file, open for appending. Its first Write ends the half
// line that a crash or a full disk can have left.
type file struct {
	*os.File
	checked bool
}

// openFile opens for reading too, since the end of the file must be seen. A
// named pipe does not block it.
func openFile(path string) (*file, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("audit log: %w; make the directory, or name another file (audit_log, --audit-log)", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w; make it writable, or name another file (audit_log, --audit-log)", err)
	}
	return &file{File: f}, nil
}

func (f *file) Write(p []byte) (int, error) {
	if !f.checked {
		if err := f.endLine(); err != nil {
			return 0, err
		}
		f.checked = true
	}
	return f.File.Write(p)
}

func (f *file) endLine() error {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() == 0 {
		return err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], st.Size()-1); err != nil {
		return err
	}
	if last[0] == '\n' {
		return nil
	}
	_, err = f.File.Write([]byte{'\n'})
	return err
}
