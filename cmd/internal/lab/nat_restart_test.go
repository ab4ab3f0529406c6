package lab_test

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// port is that of the client's end, as nft writes it.
func port(s side) string { return strconv.Itoa(s.LocalAddr().(*net.TCPAddr).Port) }

// Law 6, for a session in which every packet has to be changed: it waits for
// the next daemon, and goes on. Bytes are sent while there is none. It outlives
// the loss of the table too.
func TestNATSessionOutlivesKilledDaemon(t *testing.T) {
	t.Parallel()
	n := lab.NAT{Kind: "both", Length: "longer"}
	l, d := translated(t, n)
	p := loginPair(t, l, n, n.Ends(4))
	p6 := loginPair(t, l, n, n.Ends(6))
	fails := func(err error) {
		t.Helper()
		if err != nil {
			for _, r := range lab.Pinholes(d.AuditRecords(), "deny") {
				t.Log(r.Raw)
			}
			t.Fatal(err)
		}
	}
	everyCommand := func() {
		t.Helper()
		for _, p := range []*pair{p, p6} {
			for _, command := range commands(map[bool]int{true: 4, false: 6}[p.ends.Client.Is4()]) {
				_, _, err := p.transfer(command)
				fails(err)
			}
		}
	}
	// A daemon that finds a session opens nothing before it has seen commands and
	// their replies.
	inStep := func() {
		t.Helper()
		for _, p := range []*pair{p, p6} {
			for range 2 {
				fails(p.tell(p.client, "NOOP\r\n"))
				fails(p.tell(p.server, "200 well\r\n"))
			}
		}
	}
	everyCommand()

	// The table is lost: what is in it comes back with it. An acknowledgement that
	// is sent meanwhile would be invalid.
	for _, s := range []side{p.client, p.server, p6.client, p6.server} {
		fails(s.acknowledged())
	}
	if _, err := l.Exec(lab.Gateway, "nft", "delete", "table", "inet", "ftpinhole"); err != nil {
		t.Fatal(err)
	}
	patience.Within(t, readyAgain, "the session's packets are queued again", func() bool {
		text, err := l.Ruleset()
		return err == nil && strings.Contains(text, "10.0.2.101 . "+port(p.client))
	})
	everyCommand()

	for range 2 {
		fails(p.tell(p.client, "NOOP\r\n"))
		d.Kill()
		fails(p.server.write("200 nobody\r\n"))
		fails(p.client.write("NOOP reads this\r\n"))
		d = d.Restart()
		fails(p.client.hear("200 nobody\r\n"))
		fails(p.server.hear("NOOP reads this\r\n"))
		fails(p.tell(p.server, "200 well\r\n"))
		inStep()
		everyCommand()
	}

	// A line of which the client believes that the server has its beginning.
	at, err := p.free("PORT")
	fails(err)
	text := lab.Announce("PORT", at) + "\r\n"
	fails(p.client.write(text[:10]))
	fails(p.client.acknowledged())
	d.Kill()
	d = d.Restart()
	fails(p.client.write(text[10:]))
	fails(p.server.hear(text)) // the next daemon has not seen all of it, and opens nothing
	fails(p.tell(p.server, "200 fine\r\n"))
	inStep()
	everyCommand()

	fails(p.end())
	fails(p6.end())
	noneInvalid(t, l)
	d.Stop()
	if text, err := l.Ruleset(); err != nil || strings.Contains(text, "ftpinhole") {
		t.Errorf("after the stop: %v\n%s", err, text)
	}
}
