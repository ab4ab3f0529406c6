package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"ftpinhole/conntrack"
	"ftpinhole/rules"

	"github.com/spf13/pflag"
)

// moment is a flag's value: a time, or a length of time before now.
type moment struct {
	text string
	at   time.Time
	ago  time.Duration
}

func (m *moment) String() string { return m.text }
func (m *moment) Type() string   { return "time" }

func (m *moment) Set(s string) error {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateTime} {
		if at, err := time.Parse(layout, s); err == nil && !at.IsZero() {
			*m = moment{text: s, at: at}
			return nil
		}
	}
	if ago, err := parseAgo(s); err == nil {
		*m = moment{text: s, ago: ago}
		return nil
	}
	return errors.New("it must be like 90m, 1h, 2d, 2026-11-20 or 2026-11-20T10:00:00Z")
}

// before is the moment as seen from now; the zero Time if none was given.
func (m *moment) before(now time.Time) time.Time {
	if m.text == "" || !m.at.IsZero() {
		return m.at
	}
	return now.Add(-m.ago)
}

// parseAgo reads the form of time.ParseDuration, with days before it.
func parseAgo(s string) (time.Duration, error) {
	var days uint64
	if number, rest, ok := strings.Cut(s, "d"); ok {
		var err error
		if days, err = strconv.ParseUint(number, 10, 32); err != nil || days > 36500 {
			return 0, errors.New("no number of days")
		}
		if s = rest; s == "" {
			s = "0s"
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || s[0] == '+' {
		return 0, errors.New("no length of time")
	}
	ago := time.Duration(days)*24*time.Hour + d
	if ago < d {
		return 0, errors.New("longer than can be told")
	}
	return ago, nil
}

// next is what lets --until have the whole of this moment: the next day of a date.
func (m *moment) next(now time.Time) string {
	if day, err := time.Parse(time.DateOnly, m.text); err == nil {
		return day.AddDate(0, 0, 1).Format(time.DateOnly)
	}
	return m.before(now).UTC().Add(time.Second).Format(time.RFC3339)
}

// userName is a flag's value that is never empty: in a filter that would be
// everybody, whom nobody means by a variable that is not set.
type userName string

func (u *userName) String() string { return string(*u) }
func (u *userName) Type() string   { return "name" }

func (u *userName) Set(s string) error {
	if s == "" {
		return errors.New("it names nobody; leave the flag out for all users")
	}
	*u = userName(s)
	return nil
}

// once is a flag that may be given once: of two filters the last alone would
// count, where two of another flag match any of theirs.
type once struct {
	pflag.Value
	given bool
}

func (o *once) Set(s string) error {
	if o.given {
		return errors.New("it was given already; give it once")
	}
	o.given = true
	return o.Value.Set(s)
}

// prefixes is a flag's value like "10.0.0.0/8,2001:db8::1", which adds up.
type prefixes []netip.Prefix

func (p *prefixes) Type() string { return "prefixes" }

func (p *prefixes) String() string {
	var words []string
	for _, each := range *p {
		words = append(words, each.String())
	}
	return strings.Join(words, ",")
}

func (p *prefixes) Set(s string) error {
	for word := range strings.SplitSeq(s, ",") {
		word = strings.TrimSpace(word)
		each, err := netip.ParsePrefix(word)
		if addr, bad := netip.ParseAddr(word); bad == nil && addr.Zone() == "" {
			addr = addr.Unmap()
			each, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("%q is neither an address nor a prefix, like 192.0.2.0/24", word)
		}
		*p = append(*p, each.Masked())
	}
	return nil
}

// named is a choice whose help names its kind, where there are many words.
type named struct {
	*choice
	kind string
}

func (n named) Type() string { return n.kind }

func (n named) Set(s string) error {
	if s == "" || !slices.Contains(n.allowed, s) {
		return fmt.Errorf("it must be one of %s", strings.Join(n.allowed[1:], ", "))
	}
	n.value = s
	return nil
}

// words is a flag's value like "blocked,expired", which adds up: reasons.
type words []conntrack.Reason

func (w *words) Type() string { return "words" }

func (w *words) String() string {
	var all []string
	for _, each := range *w {
		all = append(all, string(each))
	}
	return strings.Join(all, ",")
}

func (w *words) Set(s string) error {
	for word := range strings.SplitSeq(s, ",") {
		reason := conntrack.Reason(strings.TrimSpace(word))
		if _, ok := meanings[reason]; !ok {
			return fmt.Errorf("%q is none; it must be one of %s", reason, strings.Join(reasonWords(), ", "))
		}
		*w = append(*w, reason)
	}
	return nil
}

// actionWords are the audit log's, in the order of the actions.
var actionWords = []string{"open", "use", "close", "deny", "start", "end"}

// actionOf is the action of a word; 0 for none.
func actionOf(word string) conntrack.Action {
	return conntrack.Action(slices.Index(actionWords, word) + 1)
}

func actionWord(a conntrack.Action) string {
	if a < 1 || int(a) > len(actionWords) {
		return ""
	}
	return actionWords[a-1]
}

// meanings says what each reason of the audit log means.
var meanings = map[conntrack.Reason]string{
	conntrack.Finished:         "it was used, and the data connection has ended",
	conntrack.Expired:          "no connection came in time",
	conntrack.Blocked:          "the SYN came but no connection followed: does each base chain that drops have the accept line? See: ftpinhole rules",
	conntrack.Replaced:         "the session agreed on another",
	conntrack.Refused:          "the server refused the PORT or EPRT command",
	conntrack.SessionEnd:       "the control session ended",
	conntrack.Encrypted:        "the control session went over to TLS",
	conntrack.Logout:           "the user logged out",
	conntrack.ClosedByOperator: "an operator closed it",
	conntrack.Stopped:          "the daemon was stopped",
	conntrack.Lost:             "the daemon ended without closing it; found at its next start",
	conntrack.EndOfCapture:     "the capture ended",

	conntrack.NotLoggedIn:      "nobody was logged in",
	conntrack.Unrequested:      "the server's answer was to no request",
	conntrack.Malformed:        "the line was malformed",
	conntrack.NotFTP:           "the session does not speak FTP",
	conntrack.EPSVAll:          "the client had sent EPSV ALL",
	conntrack.OutOfStep:        "commands and replies could not be told to belong together",
	conntrack.LimitSession:     "the session's limit was reached",
	conntrack.LimitClient:      "the client's limit was reached",
	conntrack.LimitTotal:       "the limit of all clients was reached",
	conntrack.KernelError:      "the kernel did not open it",
	conntrack.AuditUnavailable: "it could not have been recorded",

	conntrack.Reason(rules.ForeignAddress): "the address was not the peer's own",
	conntrack.Reason(rules.PrivilegedPort): "the port was below the lowest allowed",
	conntrack.Reason(rules.DeniedPort):     "the port is a control port or a denied one",
	conntrack.Reason(rules.ModeNotAllowed): "the policy does not allow this mode",
	conntrack.Reason(rules.PeerNotAllowed): "the policy does not allow this client and server",

	conntrack.Finish:   "both sides closed it",
	conntrack.Reset:    "it was reset",
	conntrack.Reused:   "a new connection took its addresses and ports",
	conntrack.Vanished: "the kernel no longer held it",
}

func reasonWords() []string {
	var words []string
	for reason := range meanings {
		words = append(words, string(reason))
	}
	return slices.Sorted(slices.Values(words))
}
