package gateway

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/config"
)

// What the page says of a reload is what a reload does: it refuses the keys
// that want a restart, and no others.
func TestDocumentedReload(t *testing.T) {
	page, err := os.ReadFile("../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)` \\|.*\\| (yes|restart) \\|").FindAllStringSubmatch(string(page), -1)
	if len(rows) < 30 {
		t.Errorf("%d keys were found on the page", len(rows))
	}
	for _, row := range rows {
		if refused := refuses(t, row[1]); refused != (row[2] == "restart") {
			t.Errorf("%s: a reload refuses it: %v; the page says %q", row[1], refused, row[2])
		}
	}
}

// So it is with the man page.
func TestManPageReload(t *testing.T) {
	page, err := os.ReadFile("../../../docs/man/ftpinhole.toml.5")
	if err != nil {
		t.Fatal(err)
	}
	items := regexp.MustCompile(`(?m)^\.It Ic ([a-z0-9_.]+)( , .*| No = .*)?\n(\.Pq reload$)?`).FindAllStringSubmatch(string(page), -1)
	if len(items) < 30 {
		t.Errorf("%d keys were found on the page", len(items))
	}
	for _, item := range items {
		if refused := refuses(t, item[1]); refused == (item[3] != "") {
			t.Errorf("%s: a reload refuses it: %v; the page says %q", item[1], refused, item[3])
		}
	}
}

// refuses reports whether a reload refuses another value of the key.
func refuses(t *testing.T, name string) bool {
	t.Helper()
	path := strings.Split(name, ".")
	if i := slices.Index(path, "rule"); i >= 0 {
		path = path[:i+1]
	}
	now, next := config.Default(), config.Default()
	key, ok := field(reflect.ValueOf(&next).Elem(), path)
	if !ok {
		t.Errorf("there is no key %s", name)
		return false
	}
	vary(t, key)
	return fixed(&now, &next) != ""
}

// field finds a key in a configuration.
func field(v reflect.Value, path []string) (reflect.Value, bool) {
	for i := range v.NumField() {
		switch f := v.Type().Field(i); {
		case f.Anonymous:
			if found, ok := field(v.Field(i), path); ok {
				return found, true
			}
		case f.Tag.Get("toml") != path[0]:
		case len(path) == 1:
			return v.Field(i), true
		default:
			return field(v.Field(i), path[1:])
		}
	}
	return reflect.Value{}, false
}

// vary gives a value that differs from the one that is there.
func vary(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 7)
	case reflect.Uint16, reflect.Uint32:
		v.SetUint(v.Uint() + 7)
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Struct: // config.Duration
		vary(t, v.Field(0))
	default:
		t.Fatalf("no other value for a %v", v.Kind())
	}
}
