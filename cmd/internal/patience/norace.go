//go:build !race

package patience

// race says whether the race detector watches this program.
const race = false
