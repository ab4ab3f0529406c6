package gateway

import (
	"fmt"

	"ftpinhole/conntrack"
)

// record hands a record to all who keep or watch records; none of them waits. All
// have the records of all shards in the same order: what the trail lacks after a
// crash is the end of the log.
func (g *Gateway) record(r conntrack.Record) {
	g.recording.Lock()
	defer g.recording.Unlock()
	g.audit.Write(r)
	g.trail.Write(r)
	g.feed.Publish(r)
}

// unrecorded is why a record written now might not be kept, in one line, or nil.
func (g *Gateway) unrecorded() error {
	log, trail := g.audit.Ready(), g.trail.Ready()
	switch {
	case log != nil && trail != nil:
		return fmt.Errorf("%w; %w", log, trail)
	case trail != nil:
		return trail
	}
	return log
}

// recordLost closes, in the records, the pinholes of a daemon that did not end
// properly. Its table is gone by now, and they with it.
func (g *Gateway) recordLost() {
	lost, err := g.trail.LostPinholes()
	if err != nil {
		g.log.Warn("pinholes that a former daemon left open in the audit trail are not known", "err", err)
	}
	for _, r := range lost {
		g.counters.count(&r)
		g.record(r)
	}
}
