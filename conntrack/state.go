package conntrack

import (
	"net/netip"
	"time"
)

// SessionState is a control session as it stands, for whoever looks.
type SessionState struct {
	FlowID         uint64
	Client, Server netip.AddrPort
	User           string
	State          string // greeting, login, ready, out_of_step, encrypted, not_ftp, forgotten or ending
	Started, Last  time.Time
	Opened, Denied int
	Translation    Translation // the zero value while it is not known
	Rewritten      bool        // its sequence numbers are shifted
}

// PinholeState is a pinhole, or the data connection that used it, as it stands.
type PinholeState struct {
	Record  Record    // as in the audit trail's open
	State   string    // opening, open, used or established
	Used    time.Time // when its connection came; zero while none has
	Expires time.Time
}

// Counts is how much a tracker holds.
type Counts struct{ Sessions, HalfOpen, Pinholes, Data int }

// Counts counts the sessions, the pinholes that wait and the data connections.
func (t *Tracker) Counts() Counts {
	c := Counts{Sessions: len(t.sessions), HalfOpen: len(t.halfOpen.byKey)}
	for _, ch := range t.channels {
		if ch.state >= usedState {
			c.Data++
		} else {
			c.Pinholes++
		}
	}
	return c
}

// Sessions lists the control sessions in no order.
func (t *Tracker) Sessions() []SessionState {
	list := make([]SessionState, 0, len(t.sessions))
	for _, s := range t.sessions {
		st := SessionState{
			FlowID: s.flowID, Client: s.client, Server: s.server, User: s.user,
			State: s.state(), Started: s.started, Last: s.last, Opened: s.opened, Denied: s.denied,
			Translation: s.translation, Rewritten: s.nat != nil && s.nat.kept,
		}
		list = append(list, st)
	}
	return list
}

// state is one word for where the session stands.
func (s *session) state() string {
	switch {
	case s.lapsed != nil:
		return "forgotten"
	case s.notFTP:
		return "not_ftp"
	case s.up.blind || s.down.blind:
		return "encrypted"
	case s.over:
		return "ending"
	case s.step != inStep || s.headless:
		return "out_of_step"
	case !s.greeted:
		return "greeting"
	case !s.loggedIn:
		return "login"
	}
	return "ready"
}

// Pinholes lists the pinholes and data connections, oldest first.
func (t *Tracker) Pinholes() []PinholeState {
	list := make([]PinholeState, 0, len(t.channels))
	for _, c := range t.oldestFirst() {
		r := c.record
		r.Time, r.Action, r.Pinhole = c.opened, Open, c.hole
		list = append(list, PinholeState{r, c.state.String(), c.used, c.expires()})
	}
	return list
}

func (s channelState) String() string {
	return [...]string{"opening", "open", "used", "established"}[s]
}
