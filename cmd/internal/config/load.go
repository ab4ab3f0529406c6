package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// maxFile bounds each file, in bytes.
const maxFile = 1 << 20

// Load reads the file at path and then, in lexical order, every conf.d/*.toml
// in the directory of path. What a later file sets replaces what an earlier
// one did, lists as a whole; only [[policy.rule]] tables add up. A missing file
// is an error if it was named (explicit), and else leaves the defaults.
//
// Errors have file and line, the key, and what to do.
func Load(path string, explicit bool) (Config, error) {
	files, err := Files(path)
	if err != nil {
		return Config{}, err
	}
	l := loader{config: Default()}
	for i, file := range files {
		mayLack := i == 0 && !explicit
		if err := l.file(file); err != nil && !(mayLack && errors.Is(err, fs.ErrNotExist)) {
			return Config{}, err
		}
	}
	if err := l.validate(); err != nil {
		return Config{}, err
	}
	return l.config, nil
}

// Files are those that Load reads, in its order: path, whether it is there or
// not, and conf.d/*.toml.
func Files(path string) ([]string, error) {
	dir := filepath.Join(filepath.Dir(path), "conf.d")
	// Not Glob: it takes the directory's own name as a pattern.
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("config: %w; make it readable", err)
	}
	files := []string{path}
	for _, e := range entries { // sorted by name
		if filepath.Ext(e.Name()) == ".toml" {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}

// loader is a configuration in the making.
type loader struct {
	config Config
	places places
}

func (l *loader) file(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("config: %w; make it, or name another with --config", err)
	}
	if err != nil {
		return fmt.Errorf("config: %w; make it readable", err)
	}
	defer f.Close()
	doc, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fmt.Errorf("config: %w; it must be a readable file", err)
	}
	if len(doc) > maxFile {
		return fmt.Errorf("config: %s has more than %d bytes; split it, or name another with --config", path, maxFile)
	}
	return l.document(path, doc)
}

// document sets what doc says, over what earlier ones did.
func (l *loader) document(path string, doc []byte) error {
	earlier := l.config.Policy.Rules
	l.config.Policy.Rules = nil
	if err := decode(path, doc, &l.config); err != nil {
		return err
	}
	l.config.Policy.Rules = slices.Concat(earlier, l.config.Policy.Rules)
	return l.places.scan(path, doc)
}

// validate says with each error where the value stands.
func (l *loader) validate() error {
	var errs []error
	for _, e := range l.config.problems() {
		if at := l.places.find(e.key); at != "" {
			errs = append(errs, fmt.Errorf("%s: %w", at, e))
		} else {
			errs = append(errs, e)
		}
	}
	return errors.Join(errs...)
}
