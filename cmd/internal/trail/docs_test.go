package trail

import (
	"os"
	"regexp"
	"testing"
)

// The SQL of the documentation finds something.
func TestDocumentedQueries(t *testing.T) {
	text, err := os.ReadFile("../../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	r := reader(t, written(t, crowd()...))
	n := 0
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllSubmatch(text, -1) {
		for _, query := range regexp.MustCompile(`(?s)[^;]*;`).FindAll(block[1], -1) {
			rows, err := r.db.QueryContext(t.Context(), string(query))
			if err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			if !rows.Next() {
				t.Errorf("nothing is found by %s: %v", query, rows.Err())
			}
			rows.Close()
			n++
		}
	}
	if n < 3 {
		t.Errorf("%d queries", n)
	}
}
