package metrics

import (
	"encoding/json"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

const root = "../../../"

// metric is one that exists: its type, and its labels with the values that the
// fake daemon has for them.
type metric struct {
	kind   string
	labels map[string][]string
}

// exist are all metrics, and what else a query may name.
func exist(t *testing.T) map[string]metric {
	t.Helper()
	families, err := registered(t, newFake()).Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]metric)
	for _, f := range families {
		m := metric{strings.ToLower(f.GetType().String()), make(map[string][]string)}
		for _, sample := range f.GetMetric() {
			for _, l := range sample.GetLabel() {
				m.labels[l.GetName()] = append(m.labels[l.GetName()], l.GetValue())
			}
		}
		all[f.GetName()] = m
	}
	return all
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(root + path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every metric is in the table of docs/metrics.md, with its type and labels,
// and every one in the table exists.
func TestDocumented(t *testing.T) {
	want := make(map[string]string)
	for name, m := range exist(t) {
		want[name] = m.kind + " " + strings.Join(slices.Sorted(maps.Keys(m.labels)), " ")
	}
	row := regexp.MustCompile("(?m)^\\| `(ftpinhole_[a-z_]+)` \\| ([a-z]+) \\| ([^|]*)\\| ([^|]+) \\| ([^|]+) \\|$")
	got := make(map[string]string)
	text := string(read(t, "docs/metrics.md"))
	for _, cells := range row.FindAllStringSubmatch(text, -1) {
		names := regexp.MustCompile("[a-z]+").FindAllString(cells[3], -1)
		slices.Sort(names)
		got[cells[1]] = cells[2] + " " + strings.Join(names, " ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-exists +documented):\n%s", diff)
	}
	for _, name := range regexp.MustCompile("ftpinhole_[a-z_]+").FindAllString(text, -1) {
		if want[name] == "" {
			t.Errorf("docs/metrics.md names %s, which does not exist", name)
		}
	}
}

// query is an expression, and the text that names labels of its result: with
// $labels.name in an alert, with {{name}} in a panel.
type query struct{ where, expr, text string }

// check parses the query, and looks for each name and label in it.
func (q query) check(t *testing.T, all map[string]metric) {
	t.Helper()
	parsed, err := parser.ParseExpr(strings.ReplaceAll(q.expr, "$__rate_interval", "5m"))
	if err != nil {
		t.Errorf("%s: %q: %v", q.where, q.expr, err)
		return
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			for _, m := range n.LabelMatchers {
				q.match(t, all, n.Name, m)
			}
		case *parser.AggregateExpr:
			for _, l := range n.Grouping {
				if !slices.Contains(resultLabels(all, n.Expr), l) {
					t.Errorf("%s: %q groups by %s, which is not there", q.where, q.expr, l)
				}
			}
		}
		return nil
	})
	for _, l := range regexp.MustCompile(`\$labels\.(\w+)|\{\{(\w+)\}\}`).FindAllStringSubmatch(q.text, -1) {
		if name := l[1] + l[2]; !slices.Contains(resultLabels(all, parsed), name) {
			t.Errorf("%s: %q has no label %s", q.where, q.expr, name)
		}
	}
}

// prometheusLabels are those that Prometheus itself gives to each sample.
var prometheusLabels = []string{"instance", "job"}

func (q query) match(t *testing.T, all map[string]metric, name string, m *labels.Matcher) {
	t.Helper()
	switch known, ok := base(all, name); {
	case m.Name == labels.MetricName:
		if !ok {
			t.Errorf("%s: %q names %s, which does not exist", q.where, q.expr, name)
		}
	case slices.Contains(prometheusLabels, m.Name):
	case known.labels[m.Name] == nil:
		t.Errorf("%s: %q: %s has no label %s", q.where, q.expr, name, m.Name)
	case !slices.ContainsFunc(known.labels[m.Name], m.Matches):
		t.Errorf("%s: %q: no %s of %s is %s", q.where, q.expr, m.Name, name, m)
	}
}

// base is the metric of a series' name: a histogram has three series.
func base(all map[string]metric, name string) (metric, bool) {
	if name == "up" { // Prometheus' own
		return metric{}, true
	}
	for _, end := range []string{"_bucket", "_sum", "_count"} {
		if m, ok := all[strings.TrimSuffix(name, end)]; ok && m.kind == "histogram" && strings.HasSuffix(name, end) {
			if end == "_bucket" {
				m.labels = map[string][]string{"le": nil}
			}
			return m, true
		}
	}
	m, ok := all[name]
	return m, ok && m.kind != "histogram"
}

// resultLabels are the labels that an expression's result can have.
func resultLabels(all map[string]metric, node parser.Node) []string {
	switch n := node.(type) {
	case *parser.VectorSelector:
		m, _ := base(all, n.Name)
		return slices.Concat(slices.Collect(maps.Keys(m.labels)), prometheusLabels)
	case *parser.AggregateExpr:
		return n.Grouping
	}
	var found []string
	for _, child := range parser.Children(node) {
		found = append(found, resultLabels(all, child)...)
	}
	return found
}

func TestAlertRules(t *testing.T) {
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(read(t, "scripts/prometheus/ftpinhole.rules.yml"))))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	all := exist(t)
	seen := make(map[string]bool)
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || seen[r.Alert] || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%q: each rule has a name of its own, a severity, a summary and a description", r.Alert)
			}
			seen[r.Alert] = true
			query{r.Alert, r.Expr, r.Annotations["summary"] + r.Annotations["description"]}.check(t, all)
		}
	}
	if len(seen) == 0 {
		t.Error("there are no rules")
	}
}

func TestDashboard(t *testing.T) {
	type source struct{ Type, UID string }
	var board struct {
		Title, UID string
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
		Panels []struct {
			ID         int
			Title      string
			Datasource source
			GridPos    struct{ X, Y, W, H int }
			Targets    []struct {
				Datasource         source
				Expr, LegendFormat string
			}
		}
	}
	if err := json.Unmarshal(read(t, "scripts/grafana/ftpinhole.json"), &board); err != nil {
		t.Fatal(err)
	}
	all := exist(t)
	variables := make(map[string]bool)
	for _, v := range board.Templating.List {
		variables["$"+v.Name], variables["${"+v.Name+"}"] = true, true
		if labelled := regexp.MustCompile(`^label_values\((\w+), instance\)$`).FindStringSubmatch(v.Definition); v.Type == "query" {
			if labelled == nil {
				t.Fatalf("the variable %s asks for %q", v.Name, v.Definition)
			}
			query{v.Name, labelled[1], ""}.check(t, all)
		}
	}
	prometheus := source{"prometheus", "${datasource}"}
	ids, cells := make(map[int]bool), make(map[[2]int]string)
	for _, p := range board.Panels {
		if p.Title == "" || ids[p.ID] || p.Datasource != prometheus || len(p.Targets) == 0 {
			t.Errorf("panel %d %q: a title, an id of its own, the chosen datasource and a query are needed", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; x >= 24 || other != "" {
					t.Fatalf("panel %q is beside the board, or over %q", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			if target.Datasource != prometheus {
				t.Errorf("panel %q: a query goes to %v", p.Title, target.Datasource)
			}
			for _, v := range regexp.MustCompile(`\$\{?\w+\}?`).FindAllString(target.Expr, -1) {
				if !variables[v] && v != "$__rate_interval" {
					t.Errorf("panel %q: there is no variable %s", p.Title, v)
				}
			}
			query{p.Title, target.Expr, target.LegendFormat}.check(t, all)
		}
	}
	if len(board.Panels) == 0 {
		t.Error("there are no panels")
	}
}

// Every reason that the records know is there from the start.
func TestReasonsAreComplete(t *testing.T) {
	var declared []string
	for _, path := range []string{"conntrack/record.go", "rules/reason.go"} {
		file, err := goparser.ParseFile(token.NewFileSet(), root+path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Reason" {
				word, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				declared = append(declared, word)
			}
			return true
		})
	}
	listed := []string{string(conntrack.Finish), string(conntrack.Reset), string(conntrack.Reused), string(conntrack.Vanished)} // of sessions
	for _, r := range slices.Concat(conntrack.CloseReasons(), denyReasons()) {
		listed = append(listed, string(r))
	}
	slices.Sort(declared)
	slices.Sort(listed)
	if diff := cmp.Diff(declared, listed); diff != "" {
		t.Errorf("(-declared +listed):\n%s", diff)
	}
}
