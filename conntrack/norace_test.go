//go:build !race

package conntrack

// raceShare divides nothing here: see race_test.go.
const raceShare = 1
