package metrics

import (
	"time"

	"ftpinhole/conntrack"

	"github.com/prometheus/client_golang/prometheus"
)

// Source is the daemon, as a scrape sees it. Its methods may be called at any
// time, from many goroutines, and answer within a second or so.
type Source interface {
	Numbers() Numbers
	// Acknowledgements is what NewAcknowledgements made.
	Acknowledgements() prometheus.Collector
}

// Numbers are the daemon's counters, since its start, and what it holds now.
type Numbers struct {
	Started        time.Time
	Ready          bool
	TablePresent   bool
	TableRebuilt   uint64
	Held           *conntrack.Counts // nil: a shard does not answer
	Opened, Used   uint64
	Closed, Denied map[string]uint64 // by reason
	Queues         []Queue
	EventsLost     uint64
	ConntrackDumps uint64
	Panics         uint64
	Stores         []Store
}

// Queue is one netfilter queue.
type Queue struct {
	Num      uint16
	Packets  map[string]uint64 // by verdict
	Late     uint64            // verdicts for packets that the kernel no longer held
	Errors   uint64            // other errors of its socket
	Overruns uint64            // times that the socket was full
	Kernel   *Kernel           // nil: /proc cannot be read
}

// Kernel is what /proc/net/netfilter/nfnetlink_queue says of a queue.
type Kernel struct{ Waiting, Dropped, UserDropped uint32 }

// Store is where audit records are kept.
type Store struct {
	Name          string
	Written, Lost uint64
	Buffered      int
}

// NewAcknowledgements is the histogram of the time from an announcement's
// arrival to the kernel's answer about its pinhole.
func NewAcknowledgements() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "ftpinhole_acknowledgement_seconds",
		Help:    "Time from the arrival of a packet that announces a data port to the kernel's answer about its pinhole.",
		Buckets: []float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1, 2},
	})
}
