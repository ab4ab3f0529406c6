package bench

import (
	"strings"
	"testing"
)

func TestSpreads(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{4, 1, 3, 2, 5}, Spread{2, 3, 4}},
		{[]float64{1, 2}, Spread{1.25, 1.5, 1.75}},
	} {
		if got := Spreads(c.values); got != c.want {
			t.Errorf("of %v: %v, want %v", c.values, got, c.want)
		}
	}
}

// A ratio is of runs of one round, though the machine was slower in another.
func TestMarkdown(t *testing.T) {
	r := Report{Variants: []string{"kernel", "ours"}}
	for _, speed := range []float64{1000, 100, 500} {
		r.Add("PASV, 1 client", "kernel", Figures{Rate: speed, NOOP50: 1e5 / speed})
		r.Add("PASV, 1 client", "ours", Figures{Rate: speed / 2, NOOP50: 3e5 / speed, CPU: 250, Failures: 1})
	}
	text := r.Markdown()
	for _, want := range []string{
		"| PASV, 1 client | kernel | 500 | 200 µs |",
		"| PASV, 1 client | ours | 0.50 (0.50-0.50) | 3.00 (3.00-3.00) |",
		" 250 (250-250) | 3 |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
}
