package nft_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ftpinhole/rules"
	"ftpinhole/rules/nft"
)

// lengthening gives a pinhole more time.
type lengthening func(t *nft.Table, id string, d time.Duration) (bool, error)

// lengthenings are what the kernel in hand does, and what those before 6.12 do.
var lengthenings = map[string]lengthening{
	"lengthen": func(t *nft.Table, id string, d time.Duration) (bool, error) { return t.Lengthen(id, d, time.Now()) },
	"exchange": nft.Exchange,
}

// A pinhole that is lengthened waits on, translated or not, for one connection.
func TestLengthen(t *testing.T) {
	for name, lengthen := range lengthenings {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.server.listen(t, port)
			table := l.gateway.installed(t, forward())
			outside := at(gateway4, outsidePort)
			for to, p := range map[string]rules.Pinhole{
				data4: pinhole("a-1", client4, data4), data6: pinhole("a-2", client6, data6),
				outside: translated(client4, data4, outside, "10.0.2.1"),
			} {
				add(t, table, p)
				for range 2 {
					if done, err := lengthen(table, p.ID, time.Hour); !done || err != nil {
						t.Fatalf("%s: %v, %v", to, done, err)
					}
				}
				if got := l.gateway.elements(t); strings.Count(got, "expires 59m") != strings.Count(got, p.ID) || !strings.Contains(got, p.ID) {
					t.Errorf("%s: elements: %q", to, got)
				}
				l.gateway.run(t, "nft list ruleset; nft -j list ruleset", "")
				if !l.client.attempt(t, 0, to, soon) || l.client.attempt(t, 0, to, drop) {
					t.Errorf("%s: want one connection, and no second", to)
				}
				if came, err := table.Remove(p.ID); !came || err != nil {
					t.Errorf("%s: removed, arrived %v, %v", to, came, err)
				}
			}
			add(t, table, pinhole("b-1", client4, data4))
			if done, err := lengthen(table, "b-1", time.Second); !done || err != nil {
				t.Errorf("%v, %v", done, err)
			}
			for deadline := time.Now().Add(soon); l.gateway.elements(t) != ""; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it does not end by its new time")
				}
			}
			if l.client.attempt(t, 0, data4, drop) {
				t.Error("open after its longer time")
			}
		})
	}
}

// What a connection has used, what has had its time and what was removed takes no
// connection by being lengthened. (law 4)
func TestLaw4LengthenOpensNothingAgain(t *testing.T) {
	for name, lengthen := range lengthenings {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.server.listen(t, port)
			table := l.gateway.installed(t, forward())
			shut := func(why, id string) {
				t.Helper()
				if done, err := lengthen(table, id, time.Minute); done || err != nil {
					t.Errorf("%s: lengthened: %v, %v", why, done, err)
				}
				if l.client.attempt(t, 0, data4, drop) {
					t.Errorf("%s: a connection came through", why)
				}
			}
			add(t, table, pinhole("used", client4, data4))
			if !l.client.attempt(t, 0, data4, soon) {
				t.Fatal("the pinhole is shut")
			}
			shut("used", "used")
			if ids, err := table.Arrived(); !slices.Equal(ids, []string{"used"}) || err != nil {
				t.Errorf("arrived: %v, %v", ids, err)
			}
			shut("used, and known to be", "used")
			remove(t, table, "used")

			add(t, table, pinhole("lost", client4, data4))
			l.gateway.run(t, "nft flush set inet ftpinhole pinholes4", "")
			shut("removed by somebody else", "lost")
			if got := l.gateway.elements(t); got != "" {
				t.Errorf("left: %q", got)
			}
		})
	}
	ns := newNamespace(t, "gone")
	table := ns.installed(t, forward())
	add(t, table, pinhole("old", client4, data4))
	add(t, table, pinhole("new", client4, data4))
	for _, id := range []string{"never seen", "old"} {
		if done, err := table.Lengthen(id, time.Minute, time.Now()); done || err != nil {
			t.Errorf("%s: %v, %v", id, done, err)
		}
	}
	if done, err := table.Lengthen("new", time.Minute, time.Now().Add(time.Minute)); done || err != nil {
		t.Errorf("after its time: %v, %v", done, err)
	}
	ns.run(t, "nft flush ruleset", "")
	if done, err := table.Lengthen("new", time.Minute, time.Now()); done || err == nil {
		t.Errorf("in a table that is gone: %v, %v", done, err)
	}
}

// Of SYNs that come at the moment of lengthening exactly one gets through. (law 4)
func TestLaw4LengthenRace(t *testing.T) {
	outside := at(gateway4, outsidePort)
	for name, lengthen := range lengthenings {
		for to, p := range map[string]rules.Pinhole{
			data4: pinhole("", client4, data4), outside: translated(client4, data4, outside, "10.0.2.1"),
		} {
			t.Run(name+" "+to, func(t *testing.T) {
				l := newLab(t)
				l.server.listen(t, port)
				table := l.gateway.installed(t, forward())
				const atOnce = 4
				trials := 120
				if p.Outside.IsValid() { // a second each where the first SYN is lost
					trials = 25
				}
				before, after := 0, 0
				for trial := range trials {
					p.ID = fmt.Sprintf("t-%d", trial)
					add(t, table, p)
					lengthened := make(chan bool, 1)
					go func() {
						time.Sleep(time.Duration(rand.N(200)) * time.Microsecond)
						done, err := lengthen(table, p.ID, time.Minute)
						if err != nil {
							t.Error(err)
						}
						lengthened <- done
					}()
					if through := l.client.race(t, netip.MustParseAddrPort(to), atOnce); through != 1 {
						t.Fatalf("trial %d: %d of %d came through", trial, through, atOnce)
					}
					if <-lengthened {
						before++
					} else {
						after++
					}
				}
				t.Logf("lengthened before the first SYN in %d trials, after it in %d", before, after)
			})
		}
	}
}

// Where a pinhole has just gone, nothing comes through while it is lengthened, not
// even for a moment. (law 4)
func TestLaw4LengthenedTooLate(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	table := l.gateway.installed(t, forward())
	end := make(chan struct{})
	tries := make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-end:
				tries <- n
				return
			default:
				l.client.do(t, func() { segment(t, uint16(20000+n%40000), 2) })
				n++
			}
		}
	}()
	for trial := range 200 {
		id := fmt.Sprintf("t-%d", trial)
		add(t, table, pinhole(id, client4, "10.0.2.2:50056"))
		nft.Redirect(table, id, data4) // what is lengthened is not there
		if done, err := table.Lengthen(id, time.Minute, time.Now()); done || err != nil {
			t.Fatalf("%v, %v", done, err)
		}
	}
	close(end)
	n := <-tries
	if got := l.gateway.run(t, "conntrack -L -m 0x10000000/0x10000000 2>/dev/null", ""); got != "" || n == 0 {
		t.Errorf("of %d SYNs some came through: %s", n, got)
	}
}
