package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newest reads a file backwards.
func newest(t *testing.T, path string, most int) []string {
	t.Helper()
	var list []string
	for r, err := range Backwards(path) {
		if err != nil {
			t.Fatal(err)
		}
		if list = append(list, r.Pinhole.ID); len(list) == most {
			break
		}
	}
	return list
}

func TestBackwards(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.json")
	var text, want []string
	r := opened()
	for i := range 2000 { // some blocks
		r.Pinhole.ID, r.Path = fmt.Sprintf("7b-%d", i), strings.Repeat("x", i%1024)
		text, want = append(text, string(Append(nil, &r))), append(want, r.Pinhole.ID)
		if i%100 == 50 {
			text = append(text, "no record\n", "\n", strings.Repeat("too long ", 20000)+"\n")
		}
	}
	slices.Reverse(want)
	for name, end := range map[string]string{"whole": "", "half a record": text[0][:100]} {
		if err := os.WriteFile(path, []byte(strings.Join(text, "")+end), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := newest(t, path, -1); !slices.Equal(got, want) {
			t.Errorf("%s: %d records, want %d", name, len(got), len(want))
		}
		if got := newest(t, path, 3); !slices.Equal(got, want[:3]) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestBackwardsWithoutAFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "none"), pipe, os.DevNull, dir} {
		if got := newest(t, path, -1); len(got) != 0 {
			t.Errorf("%s: %v", path, got)
		}
	}
	for _, err := range Backwards(filepath.Join(dir, strings.Repeat("x", 300))) {
		var path *fs.PathError
		if !errors.As(err, &path) {
			t.Errorf("error %v", err)
		}
		return
	}
	t.Error("no error")
}
