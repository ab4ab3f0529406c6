// Package patience is how tests wait: for a state, however slow the machine is,
// and never for a time in which that state should have come.
package patience

import (
	"testing"
	"time"
)

// Limit is how long a test waits for what must come. It bounds a test that would
// otherwise hang and says nothing of how fast anything is: a machine that is
// starved, with the race detector and a slow disk, needs a small part of it for
// whatever the tests wait for. Only a test that fails takes so long.
const Limit = 2 * time.Minute

// The pauses between two looks at a state: short at first, since most states come
// at once, and then rarely enough to leave a slow machine to what is waited for.
const (
	firstPause = time.Millisecond
	lastPause  = 20 * time.Millisecond
)

// Deadline is Limit from now, for connections.
func Deadline() time.Time { return time.Now().Add(Limit) }

// Until waits until ok holds, and fails the test if that takes longer than Limit.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	NewMeter().until(t, what, ok)
}

// Within is Until for what is promised to take no longer than limit. The time in
// which the machine let processes wait is not part of that: where it was needed,
// the test says so.
func Within(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	NewMeter().within(t, limit, what, ok)
}

func (m *Meter) within(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	if !m.until(t, what, ok) {
		return
	}
	m.Within(t, limit, what)
}

// Within judges whether what is over now kept to limit since NewMeter.
func (m *Meter) Within(t testing.TB, limit time.Duration, what string) {
	t.Helper()
	took, stolen := time.Since(m.begun).Round(time.Millisecond), m.stolen().Round(time.Millisecond)
	switch {
	case took <= limit:
		t.Logf("after %v: %s", took, what)
	case took-stolen <= limit:
		t.Logf("after %v, not %v, but this machine is starved: processes waited %v of it: %s", took, limit, stolen, what)
	default:
		t.Errorf("after %v, want %v: %s", took, limit, what)
	}
}

func (m *Meter) until(t testing.TB, what string, ok func() bool) bool {
	t.Helper()
	if m.wait(Limit, ok) {
		return true
	}
	if starved := m.Starved(); starved != "" {
		t.Log(starved)
	}
	t.Fatalf("after %v still not: %s", Limit, what)
	return false
}

// wait reports whether ok came to hold. It looks once more after the limit, over
// which the machine may have slept.
func (m *Meter) wait(limit time.Duration, ok func() bool) bool {
	pause := firstPause
	for {
		late := time.Since(m.begun) > limit
		if ok() {
			return true
		}
		if late {
			return false
		}
		m.Sleep(pause)
		pause = min(2*pause, lastPause)
	}
}
