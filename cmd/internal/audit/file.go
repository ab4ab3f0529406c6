package audit

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

const (
	lineBegin   = `{"timestamp":"` // of each record
	longestLine = 16 << 10         // a record has less than 9 kB
)

// sink is the file, or what a test puts in its place.
type sink interface {
	io.Writer
	io.Closer
}

// file is the audit file, open for appending. Before its first Write it has
// whole lines only.
type file struct {
	*os.File
	log     *slog.Logger
	checked bool
}

// openFile opens for reading too, since the end of the file must be seen. A
// named pipe does not block it.
func openFile(path string, log *slog.Logger) (*file, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("audit log: %w; make the directory, or name another file (audit_log, --audit-log)", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w; make it writable, or name another file (audit_log, --audit-log)", err)
	}
	return &file{File: f, log: log}, nil
}

func (f *file) Write(p []byte) (int, error) {
	if err := f.check(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

// check ends the file with a whole line, once.
func (f *file) check() error {
	if f.checked {
		return nil
	}
	err := f.mend()
	f.checked = err == nil
	return err
}

// mend removes the half record that a crash or a full disk has left at the end
// of the file: whoever reads it takes each line for a record. Another text that
// has no end gets one.
func (f *file) mend() error {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() == 0 {
		return err
	}
	end := make([]byte, min(st.Size(), longestLine))
	if _, err := f.ReadAt(end, st.Size()-int64(len(end))); err != nil {
		return err
	}
	half := end[bytes.LastIndexByte(end, '\n')+1:]
	switch begin := half[:min(len(half), len(lineBegin))]; {
	case len(half) == 0:
		return nil
	case !bytes.HasPrefix([]byte(lineBegin), begin):
		_, err = f.File.Write([]byte{'\n'})
		return err
	}
	if err := f.Truncate(st.Size() - int64(len(half))); err != nil {
		return err
	}
	f.log.Warn("the audit log ended with half a record, which is removed", "path", f.Name(), "bytes", len(half))
	return nil
}
