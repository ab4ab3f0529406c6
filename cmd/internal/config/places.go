package config

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// places knows where each key was last set, so that an error about a value,
// found when all is read, can say where to correct it.
type places struct {
	keys   map[string]string // key to "file:line"
	tables map[string]int    // how many of each [[table]] there were, in all files
}

// scan notes the keys of a document. It refuses keys with capitals, which
// go-toml would take for the same in small letters.
func (p *places) scan(path string, doc []byte) error {
	if p.keys == nil {
		p.keys, p.tables = make(map[string]string), make(map[string]int)
	}
	parser := unstable.Parser{}
	parser.Reset(doc)
	table, line, seen := "", 1, 0
	for parser.NextExpression() {
		e := parser.Expression()
		name, offset := keyOf(e)
		if offset >= seen {
			line += bytes.Count(doc[seen:offset], []byte{'\n'})
			seen = offset
		}
		if name != strings.ToLower(name) {
			return unknownKey(path, line, name)
		}
		switch e.Kind {
		case unstable.Table:
			table = name + "."
		case unstable.ArrayTable:
			table = fmt.Sprintf("%s[%d].", name, p.tables[name])
			p.tables[name]++
		case unstable.KeyValue:
			p.keys[table+name] = fmt.Sprintf("%s:%d", path, line)
		}
	}
	return parser.Error()
}

// keyOf is an expression's dotted key, and where in the document it begins.
func keyOf(e *unstable.Node) (key string, offset int) {
	if e.Kind != unstable.Table && e.Kind != unstable.ArrayTable && e.Kind != unstable.KeyValue {
		return "", 0
	}
	var parts []string
	for it := e.Key(); it.Next(); {
		n := it.Node()
		if len(parts) == 0 {
			offset = int(n.Raw.Offset)
		}
		parts = append(parts, string(n.Data))
	}
	return strings.Join(parts, "."), offset
}

// find is the place of a key, or of what holds it: a value in a list is where
// the list is. "" means that no file sets it.
func (p *places) find(key string) string {
	for key != "" {
		if at, ok := p.keys[key]; ok {
			return at
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return ""
}
