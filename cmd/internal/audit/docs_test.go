package audit

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
)

// filled is a record with nothing left out.
func filled(action conntrack.Action) conntrack.Record {
	var r conntrack.Record
	fill(reflect.ValueOf(&r).Elem())
	r.Action, r.Reason = action, conntrack.Blocked // the reason that has a hint
	return r
}

func fill(v reflect.Value) {
	switch at := v.Addr().Interface().(type) {
	case *time.Time:
		*at = time.Unix(1, 0)
	case *netip.Addr:
		*at = netip.MustParseAddr("10.0.1.2")
	case *netip.AddrPort:
		*at = netip.MustParseAddrPort("10.0.1.2:40000")
	default:
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(int64(time.Hour))
		default:
			v.SetUint(1)
		}
	}
}

// members adds the names of a JSON object's members, with their types as the
// page has them.
func members(into map[string]string, prefix string, object map[string]any) {
	for name, value := range object {
		switch value := value.(type) {
		case map[string]any:
			members(into, prefix+name+".", value)
		case string:
			into[prefix+name] = "text"
		case float64:
			into[prefix+name] = "number"
		case bool:
			into[prefix+name] = strconv.FormatBool(value)
		}
	}
}

// Every field that is written is documented, and every one documented is
// written.
func TestPageHasEveryField(t *testing.T) {
	written := make(map[string]string)
	for action := conntrack.Open; actionName(action) != ""; action++ {
		r := filled(action)
		var object map[string]any
		if err := json.Unmarshal(Append(nil, &r), &object); err != nil {
			t.Fatal(err)
		}
		members(written, "", object)
	}
	page, err := os.ReadFile("../../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = row[2]
	}
	if diff := cmp.Diff(written, documented); diff != "" {
		t.Errorf("(-written +on the page):\n%s", diff)
	}
}

// reasons are the constants of the type Reason in a package.
func reasons(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in %s: %v", dir, err)
	}
	var words []string
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Reason" {
				return true
			}
			for _, value := range spec.Values {
				if lit, ok := value.(*ast.BasicLit); ok {
					words = append(words, strings.Trim(lit.Value, `"`))
				}
			}
			return true
		})
	}
	return words
}

// Every reason has its paragraph, and every paragraph a reason that exists.
func TestPageHasEveryReason(t *testing.T) {
	want := append(reasons(t, "../../../conntrack"), reasons(t, "../../../rules")...)
	slices.Sort(want)
	page, err := os.ReadFile("../../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\*\\*`([a-z_0-9]+)`\\*\\*").FindAllStringSubmatch(string(page), -1) {
		if got[m[1]] {
			t.Errorf("%s has two paragraphs", m[1])
		}
		got[m[1]] = true
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("(-exists +on the page):\n%s", diff)
	}
}
