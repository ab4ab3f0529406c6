package bench

import (
	"fmt"
	"slices"
	"strings"
)

// Figures are what was measured in one run of a case. Times are microseconds.
type Figures struct {
	Rate             float64 // transfers a second
	NOOP50, NOOP99   float64
	Data50, Data99   float64 // from the request for a port to the first byte
	CPU              float64 // of the program that reads the queue, for each transfer; 0: there is none
	Failures, Memory int     // Memory is in KiB
}

// Report has the figures of each case, variant and round.
type Report struct {
	Cases, Variants []string // in the order of the table; the first variant is what the others are compared with
	Of              map[string]map[string][]Figures
}

// Add adds the figures of the next round.
func (r *Report) Add(what, variant string, f Figures) {
	if r.Of == nil {
		r.Of = make(map[string]map[string][]Figures)
	}
	if r.Of[what] == nil {
		r.Of[what] = make(map[string][]Figures)
		r.Cases = append(r.Cases, what)
	}
	r.Of[what][variant] = append(r.Of[what][variant], f)
}

// Spread is a median with its quartiles.
type Spread struct{ Low, Median, High float64 }

// Spreads are of some values, of which there is one at least.
func Spreads(values []float64) Spread {
	v := slices.Sorted(slices.Values(values))
	at := func(part float64) float64 {
		x := part * float64(len(v)-1)
		i := int(x)
		return v[i] + (x-float64(i))*(v[min(i+1, len(v)-1)]-v[i])
	}
	return Spread{at(0.25), at(0.5), at(0.75)}
}

func (s Spread) ratio() string { return fmt.Sprintf("%.2f (%.2f-%.2f)", s.Median, s.Low, s.High) }
func (s Spread) whole() string { return fmt.Sprintf("%.0f", s.Median) }

// Markdown is the table: for each case the medians of the first variant, and for the
// others how many times that they are, with the quartiles. Only runs of one round are
// compared: what else the machine did was then about the same.
func (r *Report) Markdown() string {
	var b strings.Builder
	b.WriteString("| case | gateway | transfers/s | NOOP p50 | NOOP p99 | data p50 | data p99 | CPU µs a transfer | failed |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	columns := []func(*Figures) float64{
		func(f *Figures) float64 { return f.Rate },
		func(f *Figures) float64 { return f.NOOP50 }, func(f *Figures) float64 { return f.NOOP99 },
		func(f *Figures) float64 { return f.Data50 }, func(f *Figures) float64 { return f.Data99 },
	}
	for _, what := range r.Cases {
		for i, variant := range r.Variants {
			runs, base := r.Of[what][variant], r.Of[what][r.Variants[0]]
			if len(runs) == 0 {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s |", what, variant)
			for n, column := range columns {
				cell := Spreads(ratios(runs, base, column)).ratio()
				if i == 0 {
					cell = Spreads(each(runs, column)).whole()
					if n > 0 {
						cell += " µs"
					}
				}
				fmt.Fprintf(&b, " %s |", cell)
			}
			cpu, failed := "-", 0
			if s := Spreads(each(runs, func(f *Figures) float64 { return f.CPU })); s.High > 0 {
				cpu = fmt.Sprintf("%.0f (%.0f-%.0f)", s.Median, s.Low, s.High)
			}
			for _, f := range runs {
				failed += f.Failures
			}
			fmt.Fprintf(&b, " %s | %d |\n", cpu, failed)
		}
	}
	return b.String()
}

func each(runs []Figures, column func(*Figures) float64) []float64 {
	out := make([]float64, len(runs))
	for i := range runs {
		out[i] = column(&runs[i])
	}
	return out
}

// ratios are those of the runs of one round.
func ratios(runs, base []Figures, column func(*Figures) float64) []float64 {
	var out []float64
	for i := range min(len(runs), len(base)) {
		if of := column(&base[i]); of > 0 {
			out = append(out, column(&runs[i])/of)
		}
	}
	if len(out) == 0 {
		return []float64{0}
	}
	return out
}
