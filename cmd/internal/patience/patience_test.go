package patience

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// said keeps what a test says instead of failing.
type said struct {
	testing.TB
	failed bool
	text   strings.Builder
}

func (s *said) Helper() {}

func (s *said) Log(args ...any)              { s.text.WriteString(args[0].(string)) }
func (s *said) Logf(format string, _ ...any) { s.text.WriteString(format) }
func (s *said) Errorf(format string, _ ...any) {
	s.failed = true
	s.Logf(format)
}
func (s *said) Fatalf(format string, _ ...any) { s.Errorf(format) }

func TestUntil(t *testing.T) {
	for _, test := range []struct {
		takes  time.Duration
		failed bool
	}{{0, false}, {Limit - time.Second, false}, {Limit + time.Second, true}} {
		synctest.Test(t, func(t *testing.T) {
			begun, asked := time.Now(), 0
			s := &said{TB: t}
			Until(s, "it is time", func() bool {
				asked++
				return time.Since(begun) >= test.takes
			})
			if s.failed != test.failed {
				t.Errorf("what takes %v failed: %v", test.takes, s.failed)
			}
			if most := int(test.takes/lastPause) + 10; asked > most {
				t.Errorf("asked %d times in %v, want up to %d", asked, test.takes, most)
			}
		})
	}
}

// What comes too late for its promise is a failure, unless the machine was too late
// itself.
func TestWithin(t *testing.T) {
	for _, test := range []struct {
		name                string
		takes, late         time.Duration
		failed, saysStarved bool
	}{
		{"in time", time.Second, 0, false, false},
		{"too late", 3 * time.Second, 0, true, false},
		{"too late on a starved machine", 3 * time.Second, 1200 * time.Millisecond, false, true},
		{"later than the machine", 4 * time.Second, 1200 * time.Millisecond, true, false},
		{"never", 2 * Limit, 0, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				m := &Meter{begun: begun, waited: pressure() + time.Hour, longest: test.late} // no pressure
				s := &said{TB: t}
				m.within(s, 2*time.Second, "it is time", func() bool { return time.Since(begun) >= test.takes })
				if s.failed != test.failed {
					t.Errorf("failed: %v", s.failed)
				}
				if got := strings.Contains(s.text.String(), "starved"); got != test.saysStarved {
					t.Errorf("it says that the machine is starved: %v", got)
				}
			})
		})
	}
}

func TestStarved(t *testing.T) {
	idle := pressure() + time.Hour // less than nothing since then
	for want, m := range map[string]*Meter{
		"": {begun: time.Now().Add(-time.Second), waited: idle, longest: starvedDelay},
		"this machine is starved: a process that was due ran 301ms late":             {begun: time.Now(), waited: idle, longest: starvedDelay + time.Millisecond},
		"this machine is starved: processes waited for a processor 60 % of the time": {begun: time.Now().Add(-1000 * time.Hour), waited: pressure() - 600*time.Hour},
	} {
		if got := m.Starved(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	m := NewMeter()
	m.Sleep(time.Millisecond)
	if m.longest < 0 || m.begun.IsZero() {
		t.Errorf("%+v", m)
	}
}

func TestPressure(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"some avg10=11.85 avg60=23.91 avg300=9.30 total=35494948\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n": 35494948 * time.Microsecond,
		"": 0, "some": 0, "some avg10=x": 0,
	} {
		if got := parsePressure(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestAmount(t *testing.T) {
	want := map[bool][2]int{false: {1000, 1000}, true: {50, 200}}[race]
	if got := [2]int{Amount(1000, 10), Amount(1000, 200)}; got != want {
		t.Errorf("%v, want %v", got, want)
	}
}
