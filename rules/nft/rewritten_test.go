package nft_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ftpinhole/rules"
	"ftpinhole/rules/nft"
)

// session returns both directions of a connection.
func session(client, server string) []rules.Tuple {
	return []rules.Tuple{tuple(client, server), tuple(server, client)}
}

// addRewritten adds the directions of sessions.
func addRewritten(t testing.TB, table *nft.Table, sessions ...[]rules.Tuple) {
	t.Helper()
	for _, s := range sessions {
		if err := table.AddRewritten(s); err != nil {
			t.Fatal(err)
		}
	}
}

// take takes from each reader, which is to have seen what want has for it.
func take(t *testing.T, want []seen, readers ...*reader) (out []seen) {
	t.Helper()
	for i, r := range readers {
		out = append(out, r.take(t, want[i]))
	}
	return out
}

// Each packet of a rewritten session is read once before conntrack and once
// after the filter, in both directions, and nowhere else; those of others are
// read where they always are.
func TestRewrittenSessionsAreReadTwice(t *testing.T) {
	l := newLab(t)
	for _, ns := range []namespace{l.client, l.gateway, l.server} {
		ns.listen(t, 21)
	}
	ordinary, acks, rewritten := l.gateway.read(t, 2100), l.gateway.read(t, 2101), l.gateway.read(t, 2102)
	F, I, O := nft.Forward, nft.Input, nft.Output
	const sport = 33000
	for _, test := range []struct {
		name            string
		from            namespace
		client, to      string
		hook            nft.Hook
		acks, rewritten seen
	}{
		{"through", l.client, client4, server4, F, seen{ToServer: "prerouting ", ToClient: "prerouting "}, seen{ToServer: "forward ", ToClient: "forward "}},
		{"through, IPv6", l.client, client6, server6, F, seen{ToServer: "prerouting ", ToClient: "prerouting "}, seen{ToServer: "forward ", ToClient: "forward "}},
		{"to the gateway", l.client, client4, gateway4, I, seen{ToServer: "prerouting ", ToClient: "output "}, seen{ToServer: "input ", ToClient: "output "}},
		{"to the gateway, IPv6", l.client, client6, gateway6, I, seen{ToServer: "prerouting ", ToClient: "output "}, seen{ToServer: "input ", ToClient: "output "}},
		{"from the gateway", l.gateway, gateway4, client4, O, seen{ToServer: "output ", ToClient: "prerouting "}, seen{ToServer: "output ", ToClient: "input "}},
		{"from the gateway, IPv6", l.gateway, gateway6, client6, O, seen{ToServer: "output ", ToClient: "prerouting "}, seen{ToServer: "output ", ToClient: "input "}},
		{"loopback", l.gateway, "127.0.0.1", "127.0.0.1", O, seen{ToServer: "output ", ToClient: "output "}, seen{ToServer: "output ", ToClient: "output "}},
		{"loopback, IPv6", l.gateway, "::1", "::1", O, seen{ToServer: "output ", ToClient: "output "}, seen{ToServer: "output ", ToClient: "output "}},
		{"the gateway to itself", l.gateway, gateway4, gateway4, O, seen{ToServer: "output ", ToClient: "output "}, seen{ToServer: "output ", ToClient: "output "}},
	} {
		for _, hooks := range [][]nft.Hook{{test.hook}, {F, I, O}} {
			t.Run(fmt.Sprint(test.name, hooks), func(t *testing.T) {
				c := forward()
				c.Hooks, c.Queues = hooks, 1
				table := l.gateway.installed(t, c)
				to := at(test.to, 21)
				read := func(when string, ordinarily, before, after seen) {
					t.Helper()
					// A packet of the connection before may come late.
					take(t, make([]seen, 3), ordinary, acks, rewritten)
					if !test.from.attempt(t, sport, to, soon) {
						t.Fatalf("%s: no control connection", when)
					}
					want := []seen{ordinarily, before, after}
					if diff := cmp.Diff(want, take(t, want, ordinary, acks, rewritten)); diff != "" {
						t.Errorf("%s: -want +got:\n%s", when, diff)
					}
					if l.gateway.marked(t, nft.DefaultControlMark) == 0 {
						t.Errorf("%s: not marked", when)
					}
					l.gateway.forget(t)
				}
				addRewritten(t, table, session(at(test.client, sport), to))
				read("rewritten", seen{}, test.acks, test.rewritten)
				if err := table.RemoveRewritten(session(at(test.client, sport), to)); err != nil {
					t.Fatal(err)
				}
				addRewritten(t, table, session(at(test.client, sport+1), to))
				read("not rewritten", test.rewritten, seen{}, seen{})
				if err := table.Uninstall(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// With NAT the packets are on the wire with other addresses than in the
// gateway: both are in the set.
func TestRewrittenSessionBehindNAT(t *testing.T) {
	l := newNATLab(t)
	l.server.listen(t, 21)
	l.gateway.run(t, "nft -f -", `table inet published {
		chain prerouting {
			type nat hook prerouting priority dstnat - 5; policy accept;
			ip daddr 10.0.1.1 tcp dport 2121 dnat ip to 10.0.2.2:21
		}
	}
`)
	c := forward()
	c.Queues = 1
	table := l.gateway.installed(t, c)
	ordinary, acks, rewritten := l.gateway.read(t, 2100), l.gateway.read(t, 2101), l.gateway.read(t, 2102)
	const sport = 33000
	client, published, server, masqueraded := at(client4, sport), at(gateway4, 2121), at(server4, 21), at("10.0.2.1", sport)
	addRewritten(t, table,
		[]rules.Tuple{tuple(client, published), tuple(server, masqueraded)}, // on the wire
		[]rules.Tuple{tuple(client, server), tuple(server, client)})
	if !l.client.attempt(t, sport, published, soon) {
		t.Fatal("no control connection")
	}
	// The reader takes what does not go to port 21 for the server's.
	want := []seen{{}, {ToClient: "prerouting "}, {ToServer: "forward ", ToClient: "forward "}}
	if diff := cmp.Diff(want, take(t, want, ordinary, acks, rewritten)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Without a reader of either queue no packet of a rewritten session passes, and
// with one the session goes on.
func TestRewrittenSessionWaitsForItsReaders(t *testing.T) {
	for _, queue := range []uint16{2101, 2102} {
		t.Run(fmt.Sprint("without ", queue), func(t *testing.T) {
			l := newLab(t)
			l.server.listen(t, 21)
			c := forward()
			c.Queues = 1
			table := l.gateway.installed(t, c)
			l.gateway.read(t, 2100)
			l.gateway.read(t, 2101+2102-queue)
			const sport = 33000
			addRewritten(t, table, session(at(client4, sport), at(server4, 21)))
			l.server.run(t, "nft -f -", "table inet seen {\n chain input {\n type filter hook input priority 0; policy accept;\n tcp sport 33000 counter\n }\n}\n")
			if l.client.attempt(t, sport, at(server4, 21), drop) {
				t.Error("it came through")
			}
			if got := l.server.run(t, "nft list table inet seen", ""); !strings.Contains(got, "packets 0 ") {
				t.Errorf("packets came to the server:\n%s", got)
			}
			if !l.client.attempt(t, sport+1, at(server4, 21), soon) {
				t.Error("another session did not come through")
			}
			l.gateway.read(t, queue)
			if !l.client.attempt(t, sport, at(server4, 21), soon) {
				t.Error("with a reader it did not come through")
			}
		})
	}
}

// Rewritten sessions are what was added and not removed, also before the table
// is there, and when it is made again.
func TestAddAndRemoveRewritten(t *testing.T) {
	ns := newNamespace(t, "rewritten")
	c := forward()
	c.SetSize = 8
	table := ns.table(t, c)
	holds := func(when string, want ...string) {
		t.Helper()
		got := ns.run(t, "nft list set inet ftpinhole rewritten4; nft list set inet ftpinhole rewritten6", "")
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in\n%s", when, w, got)
			}
		}
		if n := strings.Count(got, ". 33000"); n != len(want) {
			t.Errorf("%s: %d elements, want %d:\n%s", when, n, len(want), got)
		}
	}
	four, six := session(at(client4, 33000), at(server4, 21)), session(at(client6, 33000), at(server6, 21))
	const (
		up4, down4 = "10.0.1.2 . 33000 . 10.0.2.2 . 21", "10.0.2.2 . 21 . 10.0.1.2 . 33000"
		up6, down6 = "fd00:1::2 . 33000 . fd00:2::2 . 21", "fd00:2::2 . 21 . fd00:1::2 . 33000"
	)
	install := func() {
		t.Helper()
		if err := table.Install(time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(tuples []rules.Tuple) {
		t.Helper()
		if err := table.RemoveRewritten(tuples); err != nil {
			t.Fatal(err)
		}
	}
	addRewritten(t, table, four, six)
	remove(six)
	install()
	holds("added before Install", up4, down4)
	addRewritten(t, table, append(six, six...), four)
	holds("added twice", up4, down4, up6, down6)
	remove(append(four, four...))
	remove(four)
	holds("removed twice", up6, down6)
	addRewritten(t, table, []rules.Tuple{tuple("[::ffff:10.0.1.2]:33000", "[::ffff:10.0.2.2]:21")})
	holds("mapped", up4, up6, down6)
	remove(four[:1])

	ns.run(t, "nft flush set inet ftpinhole rewritten6", "")
	addRewritten(t, table, six[:1])
	holds("added again after somebody else's flush", up6)
	remove(six)
	holds("removed after somebody else's flush")

	addRewritten(t, table, four)
	ns.run(t, "nft flush ruleset", "")
	install()
	holds("installed again", up4, down4)
	if err := table.Reconfigure(c, time.Now()); err != nil {
		t.Fatal(err)
	}
	holds("reconfigured", up4, down4)
	ns.run(t, "nft flush ruleset", "")
	if err := table.AddRewritten(six); err == nil {
		t.Error("added to a table that is gone")
	}
	remove(four)
	install()
	holds("what could not be added, and what was removed while the table was gone")

	for _, bad := range [][]rules.Tuple{{tuple(at(client4, 33000), at(server6, 21))}, {{}}, {{Src: netip.MustParseAddrPort(at(client4, 33000))}}} {
		if err := table.AddRewritten(append(six, bad...)); err == nil || !strings.Contains(err.Error(), "one family") {
			t.Errorf("%v: got %v", bad, err)
		}
	}
	holds("what cannot be")

	for i := range uint16(4) {
		addRewritten(t, table, session(at(client4, 34000+i), at(server4, 21)))
	}
	if err := table.AddRewritten(six); !errors.Is(err, nft.ErrFull) {
		t.Errorf("a fifth session of four: %v", err)
	}
	addRewritten(t, table, session(at(client4, 34000), at(server4, 21)))
	remove(session(at(client4, 34000), at(server4, 21)))
	addRewritten(t, table, six)

	if err := table.Uninstall(); err != nil {
		t.Fatal(err)
	}
	install()
	holds("after Uninstall")
}
