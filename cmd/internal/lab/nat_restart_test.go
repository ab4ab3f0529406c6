package lab_test

import (
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// Law 6, for a session in which every packet has to be changed: it waits for
// the next daemon, and goes on. Bytes are sent while there is none.
func TestNATSessionOutlivesKilledDaemon(t *testing.T) {
	t.Parallel()
	n := lab.NAT{Kind: "both", Length: "longer"}
	l, d := translated(t, n)
	p := loginPair(t, l, n, n.Ends(4))
	p6 := loginPair(t, l, n, n.Ends(6))
	fails := func(err error) {
		t.Helper()
		if err != nil {
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
	everyCommand()
	for range 3 {
		d.Kill()
		fails(p.client.write("NOOP nobody reads\r\n"))
		fails(p.server.write("200 this\r\n"))
		d = d.Restart()
		fails(p.server.hear("NOOP nobody reads\r\n"))
		fails(p.client.hear("200 this\r\n"))
		fails(p6.tell(p6.client, "NOOP\r\n"))
		fails(p6.tell(p6.server, "200 well\r\n"))
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
	got, err := p.server.line()
	fails(err)
	if told, err := p.sameWords("PORT", text, got); err != nil && got != text {
		t.Errorf("a line that was kept back for the next daemon came neither as it was nor translated: %v", err)
	} else {
		t.Logf("announced as %v: %v", told, err)
	}
	fails(p.tell(p.server, "200 fine\r\n"))
	everyCommand()

	fails(p.end())
	fails(p6.end())
	noneInvalid(t, l)
	d.Stop()
	if text, err := l.Ruleset(); err != nil || strings.Contains(text, "ftpinhole") {
		t.Errorf("after the stop: %v\n%s", err, text)
	}
}
