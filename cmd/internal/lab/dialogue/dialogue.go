package dialogue

// Ports of data connections that the dialogues agree on.
const (
	Port      = 50055 // 195,135
	OtherPort = 50056 // 195,136
)

// Dialogue is one control connection from its first byte to its end.
type Dialogue struct {
	Name  string
	Group string
	Why   string // what it stands for: a section of an RFC, a program, an attack
	Legal bool   // a session that has to work; any other has to be harmless
	IPv6  bool
	Steps []Step
	// Trail is what the audit log has to tell, in any order: "open PASV 50055",
	// "close finished 50055" or "deny unrequested". A connection that comes
	// (use) is not listed; there is one for each probe that gets through.
	Trail []string
}

// Side is who speaks.
type Side byte

// The two sides of a control connection.
const (
	Client Side = 'C'
	Server Side = 'S'
)

// End is a way to end one's half of the connection.
type End byte

// The ways to end.
const (
	None End = iota
	FIN      // the other side sees the end of the stream and may still speak
	RST      // both halves are over
)

// Step is one thing that happens. Of Text, End and Probe it has one.
type Step struct {
	From Side
	// Text is what is sent, with the placeholders of World. It goes in one
	// segment, unless Cuts or Every say otherwise.
	Text string
	Cuts []int // where segments begin, in bytes of the text; from the end if negative
	Each bool  // one byte a segment
	// Urgent: the last byte is urgent data (RFC 9293 3.8.5).
	Urgent bool

	End   End
	Probe *Probe
}

// Mode is who opens a data connection.
type Mode byte

// The modes of RFC 959 3.2.
const (
	Passive Mode = 'P' // the client connects to the server
	Active  Mode = 'A' // the server connects to the client
)

// Probe is the try to make a data connection.
type Probe struct {
	Mode  Mode
	Port  uint16
	Other bool // not to the peer, but to the third host beside it
	Open  bool // it has to get through and to carry bytes; otherwise it must not
}

// All are the dialogues. Their names differ.
func All() []Dialogue {
	var all []Dialogue
	for _, g := range []struct {
		name  string
		legal bool
		list  []Dialogue
	}{
		{"sessions of every day", true, append(classic(), programs()...)},
		{"logins", true, logins()},
		{"lines cut over segments", true, cut()},
		{"lines as they are spelled", true, spelling()},
		{"multi-line replies", true, replies()},
		{"pipelining and interruption", true, order()},
		{"commands never answered, and many at once", true, unanswered()},
		{"replies nobody asked for", false, append(unrequested(), misanswered()...)},
		{"nobody logged in", false, early()},
		{"ports no longer valid", false, late()},
		{"numbers and services", false, endpoints()},
		{"addresses of others", false, foreign()},
		{"not FTP", false, notFTP()},
		{"TLS, long and unfinished lines", false, hidden()},
	} {
		for _, d := range g.list {
			d.Group, d.Legal = g.name, g.legal
			all = append(all, d)
		}
	}
	return all
}

// c is a client's lines and s a server's, CR LF added, in one segment.
func c(lines ...string) Step { return Step{From: Client, Text: crlf(lines)} }
func s(lines ...string) Step { return Step{From: Server, Text: crlf(lines)} }

func crlf(lines []string) string {
	text := ""
	for _, line := range lines {
		text += line + "\r\n"
	}
	return text
}

// craw and sraw send exactly these bytes.
func craw(text string) Step { return Step{From: Client, Text: text} }
func sraw(text string) Step { return Step{From: Server, Text: text} }

// cut makes several segments of a step.
func (st Step) cut(at ...int) Step { st.Cuts = at; return st }

// each makes a segment of each byte.
func (st Step) each() Step { st.Each = true; return st }

// urgent makes the last byte urgent.
func (st Step) urgent() Step { st.Urgent = true; return st }

// opens is a data connection that gets through, shut one that does not.
func opens(mode Mode, port uint16) Step {
	return Step{Probe: &Probe{Mode: mode, Port: port, Open: true}}
}

func shut(mode Mode, port uint16) Step {
	return Step{Probe: &Probe{Mode: mode, Port: port}}
}

// shutOther is shut for the third host.
func shutOther(mode Mode) Step {
	return Step{Probe: &Probe{Mode: mode, Port: Port, Other: true}}
}

// login is what comes before the interesting part.
func login() []Step {
	return []Step{
		s("220 ftp.example.com FTP server ready."),
		c("USER anonymous"), s("331 Guest login ok, send your e-mail address as password."),
		c("PASS guest@example.com"), s("230 Guest login ok, access restrictions apply."),
	}
}

// in is a session's steps behind the login, and out the client's QUIT behind
// them.
func in(steps ...Step) []Step { return append(login(), steps...) }

func inAndOut(steps ...Step) []Step {
	return append(in(steps...), c("QUIT"), s("221 Goodbye."))
}

// used is the trail of pinholes of which each was opened by a command for a
// port, and used.
func used(opened ...string) []string {
	var trail []string
	for _, o := range opened {
		trail = append(trail, "open "+o, "close finished "+o[len(o)-len("50055"):])
	}
	return trail
}

// The usual answers.
const (
	entering = "227 Entering Passive Mode ({PASV})."
	extended = "229 Entering Extended Passive Mode ({EPSV})"
)
