package patience

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// What a machine that is merely busy does not show: a sleep ends so much too late,
// or processes wait for a processor so much of the time.
const (
	starvedDelay = 300 * time.Millisecond
	starvedShare = 0.5
)

// Meter measures whether the machine is starved. Not for several goroutines.
type Meter struct {
	begun   time.Time
	waited  time.Duration // what pressure told then
	longest time.Duration // by which a sleep was too long
}

// NewMeter begins to measure.
func NewMeter() *Meter { return &Meter{begun: time.Now(), waited: pressure()} }

// Since is the time since NewMeter.
func (m *Meter) Since() time.Duration { return time.Since(m.begun) }

// Sleep sleeps, and notes how much too long.
func (m *Meter) Sleep(d time.Duration) {
	begun := time.Now()
	time.Sleep(d)
	m.longest = max(m.longest, time.Since(begun)-d)
}

// stolen is an upper bound of the time that the machine took since NewMeter from a
// process that wanted to run.
func (m *Meter) stolen() time.Duration { return max(m.longest, pressure()-m.waited) }

// Starved is a sentence about a machine that was starved since NewMeter, and ""
// about any other.
func (m *Meter) Starved() string {
	var signs []string
	if m.longest > starvedDelay {
		signs = append(signs, fmt.Sprintf("a process that was due ran %v late", m.longest.Round(time.Millisecond)))
	}
	if share := float64(pressure()-m.waited) / float64(time.Since(m.begun)); share > starvedShare {
		signs = append(signs, fmt.Sprintf("processes waited for a processor %.0f %% of the time", 100*share))
	}
	if len(signs) == 0 {
		return ""
	}
	return "this machine is starved: " + strings.Join(signs, ", and ")
}

// pressure is for how long since the boot some process had to wait for a processor,
// and 0 where the kernel does not count it: Documentation/accounting/psi.rst.
func pressure() time.Duration {
	text, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0
	}
	return parsePressure(string(text))
}

func parsePressure(text string) time.Duration {
	var a, b, c float64
	var total int64
	if _, err := fmt.Sscanf(text, "some avg10=%f avg60=%f avg300=%f total=%d", &a, &b, &c, &total); err != nil {
		return 0
	}
	return time.Duration(total) * time.Microsecond
}
