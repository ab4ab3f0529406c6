package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// decode reads doc over c. Its errors are in the words of the file, not of Go.
func decode(path string, doc []byte, c *Config) error {
	d := toml.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	err := d.Decode(c)
	if err == nil {
		return nil
	}
	if unknown := (*toml.StrictMissingError)(nil); errors.As(err, &unknown) {
		var errs []error
		for i := range unknown.Errors {
			e := &unknown.Errors[i]
			line, _ := e.Position()
			errs = append(errs, unknownKey(path, line, strings.Join(e.Key(), ".")))
		}
		return errors.Join(errs...)
	}
	if wrong := (*toml.DecodeError)(nil); errors.As(err, &wrong) {
		line, column := wrong.Position()
		if len(wrong.Key()) == 0 {
			return fmt.Errorf("%s:%d:%d: not TOML: %s; correct that line", path, line, column, message(wrong))
		}
		return fmt.Errorf("%s:%d: %s: %s", path, line, strings.Join(wrong.Key(), "."), inWords(message(wrong)))
	}
	return fmt.Errorf("%s: %w; correct the file", path, err)
}

func unknownKey(path string, line int, key string) error {
	return fmt.Errorf("%s:%d: unknown key %q; correct its spelling, or remove it", path, line, key)
}

func message(e *toml.DecodeError) string { return strings.TrimPrefix(e.Error(), "toml: ") }

// inWords turns go-toml's "cannot decode TOML string into struct field
// config.Config.Queues of type int" into words for the file's author.
func inWords(text string) string {
	_, typ, ok := strings.Cut(text, " of type ")
	if ok && strings.HasPrefix(text, "cannot decode TOML ") {
		is, _, _ := strings.Cut(strings.TrimPrefix(text, "cannot decode TOML "), " ")
		return fmt.Sprintf("this is of type %s; write %s", is, wanted(typ))
	}
	if _, typ, ok := strings.Cut(text, " cannot be stored in "); ok {
		return fmt.Sprintf("%s; write %s", strings.Replace(text, " cannot be stored in "+typ, " is out of range", 1), wanted(typ))
	}
	return text + "; correct that line"
}

// wanted says how a value of a Go type is written in TOML.
func wanted(typ string) string {
	switch strings.TrimPrefix(typ, "*") {
	case "bool":
		return "true or false"
	case "string":
		return `text in quotes`
	case "uint16":
		return "a number from 0 to 65535"
	case "int", "uint32":
		return "a number"
	case "[]uint16":
		return "a list of numbers, like [21, 2121]"
	case "[]string":
		return `a list of texts, like ["a", "b"]`
	case "config.Duration":
		return `a duration in quotes, like "30s"`
	}
	return "a table, as the reference configuration has it"
}
