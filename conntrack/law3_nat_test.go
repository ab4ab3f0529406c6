package conntrack

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// simulate runs one dialogue over a bad network and returns what went wrong.
func simulate(r *rand.Rand, change func(*simulation, *chatter)) (*simulation, []string) {
	sim, c := newSimulation(r)
	if change != nil {
		change(sim, c)
	}
	return sim, c.verdict(sim.run())
}

// failing lets the kernel fail now and then.
func failing(sim *simulation, c *chatter) {
	sim.gate.fails, sim.gate.slow = 0.2, true
	c.turns = min(c.turns, 6) // a flood of refusals would be counted only
}

// killing kills the daemon once, when the session is a rewritten one.
func killing(sim *simulation, _ *chatter) {
	var kill func()
	kill = func() {
		if !sim.gate.queued {
			sim.at(sim.now+1+sim.rand.Int64N(100), kill)
			return
		}
		sim.gate.kill()
		sim.at(sim.now+sim.spread+sim.rand.Int64N(3000), sim.gate.restore)
	}
	sim.at(500+sim.rand.Int64N(3000), kill)
}

// simulateMany runs many dialogues and returns how many of them count.
func simulateMany(t *testing.T, runs, seed uint64, change func(n uint64) func(*simulation, *chatter), counts func(*simulation) bool) uint64 {
	t.Helper()
	var next, counted atomic.Uint64
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for n := next.Add(1); n <= runs && !t.Failed(); n = next.Add(1) {
				sim, faults := simulate(rand.New(rand.NewPCG(n, seed)), change(n))
				if len(faults) > 0 {
					t.Errorf("run %d: %s", n, strings.Join(faults, "\n"))
				}
				if counts(sim) {
					counted.Add(1)
				}
			}
		})
	}
	workers.Wait()
	return counted.Load()
}

// Whatever the network does, each side of a translated session reads exactly
// what it is to read, and conntrack sees nothing that is invalid.
func TestLaw3TranslatedBytes(t *testing.T) {
	const runs = 10_000 / raceShare
	change := func(n uint64) func(*simulation, *chatter) {
		if n%5 == 0 {
			return failing
		}
		return nil
	}
	shifted := simulateMany(t, runs, 3, change, func(sim *simulation) bool { return sim.gate.queued })
	if shifted < runs/2 {
		t.Errorf("only %d of %d sessions were shifted", shifted, runs)
	}
}

// So many rewrites that those of the beginning are forgotten: what is sent again
// then counts from what they added up to.
func TestLaw3TranslatedBytesOfLongSessions(t *testing.T) {
	const runs = 500 / raceShare
	long := func(uint64) func(*simulation, *chatter) { return func(_ *simulation, c *chatter) { c.turns = 40 } }
	forgot := simulateMany(t, runs, 11, long, func(sim *simulation) bool {
		for _, nat := range sim.gate.tracker.departed.byKey {
			if nat.up.Shift != 0 || nat.down.Shift != 0 {
				return true
			}
		}
		return false
	})
	if forgot < runs/2 {
		t.Errorf("only %d of %d sessions had so many rewrites", forgot, runs)
	}
}

// The same, found by another way through the possibilities.
func TestLaw3TranslatedBytesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		_, faults := simulate(rand.New(rand.NewPCG(seed, 4)), func(sim *simulation, c *chatter) {
			c.turns = rapid.IntRange(3, 10).Draw(t, "turns")
			sim.loss = rapid.Float64Range(0, 0.2).Draw(t, "loss")
			sim.twice = rapid.Float64Range(0, 0.2).Draw(t, "twice")
			sim.spread = rapid.Int64Range(1, 100).Draw(t, "spread")
			for _, e := range []*tcpEnd{sim.client, sim.server} {
				e.mss = rapid.IntRange(20, 1460).Draw(t, "mss")
			}
			switch rapid.IntRange(0, 3).Draw(t, "bad day") {
			case 0:
				failing(sim, c)
			case 1:
				killing(sim, c)
			}
		})
		if len(faults) > 0 {
			t.Fatalf("%s", strings.Join(faults, "\n"))
		}
	})
}

// A rewritten session goes on after the daemon's death, byte for byte.
func TestLaw6RewrittenSessionSurvives(t *testing.T) {
	const runs = 3_000 / raceShare
	survived := simulateMany(t, runs, 6, func(uint64) func(*simulation, *chatter) { return killing },
		func(sim *simulation) bool { return sim.gate.lives > 1 && len(sim.gate.opens) > sim.gate.before })
	if survived < runs/4 {
		t.Errorf("only %d of %d sessions opened something after a restart", survived, runs)
	}
}
