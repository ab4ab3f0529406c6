package metrics

import "github.com/prometheus/client_golang/prometheus"

// Build says which program this is.
type Build struct{ Version, Commit, Go string }

// put gives a metric's value for its labels' values.
type put func(value float64, labels ...string)

// family is a metric: what it is called, and how it is read.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(n *Numbers, put put)
}

// collector reads the source once for each scrape.
type collector struct {
	src      Source
	families []family
}

func newCollector(src Source, build Build) *collector {
	var all []family
	for _, f := range [][]family{general(build), pinholes(), queues(), records()} {
		all = append(all, f...)
	}
	return &collector{src, all}
}

// Describe is prometheus.Collector's.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.families {
		ch <- f.desc
	}
}

// Collect is prometheus.Collector's.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	n := c.src.Numbers()
	for _, f := range c.families {
		f.read(&n, func(value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
		})
	}
}
