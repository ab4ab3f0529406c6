package audit

import (
	"bytes"
	"errors"
	"io/fs"
	"iter"
	"os"

	"ftpinhole/conntrack"
)

// Backwards gives the records of an audit file, the newest first. Lines that are
// none are passed over. It ends with an error if the file cannot be read; one
// that is not there or no regular file has no records.
func Backwards(path string) iter.Seq2[conntrack.Record, error] {
	return func(yield func(conntrack.Record, error) bool) {
		if err := backwards(path, func(r conntrack.Record) bool { return yield(r, nil) }); err != nil {
			yield(conntrack.Record{}, err)
		}
	}
}

func backwards(path string, yield func(conntrack.Record) bool) error {
	// A pipe would wait for its reader.
	if st, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	const block = 64 << 10
	var text []byte // what is read and not given, from end on
	for end := st.Size(); end > 0; {
		begin := max(0, end-block)
		text = append(make([]byte, end-begin, end-begin+int64(len(text))), text...)
		if _, err := f.ReadAt(text[:end-begin], begin); err != nil {
			return err
		}
		end = begin
		// The first line of a block may begin in the one before.
		for {
			i := bytes.LastIndexByte(text, '\n')
			if i < 0 && end > 0 {
				break
			}
			if r, err := Parse(text[i+1:]); err == nil && !yield(r) {
				return nil
			}
			if i < 0 {
				return nil
			}
			text = text[:i]
		}
		if len(text) > longestLine { // not written by us
			text = text[:0]
		}
	}
	return nil
}
