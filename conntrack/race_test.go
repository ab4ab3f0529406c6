//go:build race

package conntrack

// raceShare is what the race detector's run divides simulations by: it makes them
// eight times as slow, and a run without it makes them all.
const raceShare = 10
