package conntrack

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Whatever the network does, each side of a translated session reads exactly
// what it is to read, and conntrack sees nothing that is invalid.
func TestLaw3TranslatedBytes(t *testing.T) {
	const runs = 10_000
	var next atomic.Int64
	var rewritten atomic.Int64
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for n := next.Add(1); n <= runs && !t.Failed(); n = next.Add(1) {
				sim, c := newSimulation(rand.New(rand.NewPCG(uint64(n), 3)))
				if n%5 == 0 {
					sim.gate.fails = 0.2
					c.turns = min(c.turns, 6) // a flood of refusals would be counted only
				}
				faults := c.verdict(sim.run(), true)
				if len(faults) > 0 {
					t.Errorf("run %d: %s", n, strings.Join(faults, "\n"))
				}
				if sim.gate.queued {
					rewritten.Add(1)
				}
			}
		})
	}
	workers.Wait()
	if n := rewritten.Load(); n < runs/2 {
		t.Errorf("only %d of %d sessions were shifted", n, runs)
	}
}
