package nft_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"ftpinhole/rules"
	"ftpinhole/rules/nft"
)

func TestAddAndRemove(t *testing.T) {
	ns := newNamespace(t, "add")
	table := ns.installed(t, forward())
	holds := func(when string, want ...string) {
		t.Helper()
		got := ns.elements(t)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in %q", when, w, got)
			}
		}
		if n := strings.Count(got, "comment"); n != len(want) {
			t.Errorf("%s: %d elements in %q, want %d", when, n, got, len(want))
		}
	}
	a1, a2 := pinhole("a-1", client4, data4), pinhole("a-2", client4, data4)

	add(t, table, a1)
	holds("added", "10.0.1.2 . 10.0.2.2 . 50055")
	add(t, table, a2)
	holds("its key repeated", `comment "a-2"`)
	remove(t, table, "a-1")
	holds("the older removed", `comment "a-2"`)
	remove(t, table, "a-2")
	holds("the newer removed")
	remove(t, table, "a-2")
	remove(t, table, "never seen")

	add(t, table, pinhole("b-1", client6, data6))
	holds("IPv6", `fd00:1::2 . fd00:2::2 . 50055`)
	add(t, table, pinhole("c-1", "::ffff:10.0.1.2", "[::ffff:10.0.2.2]:50055"))
	holds("mapped", "10.0.1.2 . 10.0.2.2 . 50055", `comment "b-1"`)

	ns.run(t, "nft flush set inet ftpinhole pinholes4", "")
	add(t, table, a1)
	holds("repeated after somebody else removed it", `comment "a-1"`, `comment "b-1"`)
	ns.run(t, "nft flush set inet ftpinhole pinholes4", "")
	remove(t, table, "a-1")
	holds("removed after somebody else did", `comment "b-1"`)
	add(t, table, a1)
	ns.run(t, "nft flush ruleset", "")
	remove(t, table, "a-1")
	if err := table.Add(a2, time.Now()); err == nil {
		t.Error("added to a table that is gone")
	}
}

// A table that starts on an older one's set, or has lost count, still gives an
// element of its key a fresh time and a name of its own.
func TestAddOverUnknown(t *testing.T) {
	ns := newNamespace(t, "unknown")
	old, table := ns.installed(t, forward()), ns.table(t, forward())
	p := pinhole("old", client4, data4)
	p.Timeout = time.Second
	add(t, old, p)
	p.ID, p.Timeout = "new", time.Hour
	add(t, table, p)
	if got := ns.elements(t); !strings.Contains(got, `comment "new"`) || !strings.Contains(got, "timeout 1h") {
		t.Errorf("got %q", got)
	}
}

func TestTimeout(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	table := l.gateway.installed(t, forward())
	short := pinhole("a-1", client4, data4)
	short.Timeout = time.Second
	repeated(t, table, short, func(patience time.Duration) bool { return l.client.attempt(t, 0, data4, patience) })

	add(t, table, short)
	time.Sleep(1100 * time.Millisecond)
	if l.client.attempt(t, 0, data4, drop) {
		t.Error("open after its time")
	}
	if got := l.gateway.elements(t); got != "" {
		t.Errorf("still listed: %q", got)
	}
	remove(t, table, "a-1") // expired: no error
	add(t, table, pinhole("a-1", client4, data4))
	if !l.client.attempt(t, 0, data4, soon) {
		t.Error("shut when opened again after its time")
	}
}

// repeated wants that a pinhole which is added again has its whole time again. A
// trial in which the machine slept over that time says nothing, and is made again.
func repeated(t *testing.T, table *nft.Table, short rules.Pinhole, passes func(patience time.Duration) bool) {
	t.Helper()
	for {
		add(t, table, short)
		time.Sleep(short.Timeout * 7 / 10)
		again := time.Now()
		add(t, table, short)
		time.Sleep(short.Timeout * 4 / 10)
		if passes(short.Timeout * 4 / 10) {
			return
		}
		if took := time.Since(again); took < short.Timeout {
			t.Fatalf("gone before its repeated time was over, %v after that began", took)
		}
		t.Log("this machine is starved: it slept over the pinhole's time")
	}
}

func TestFull(t *testing.T) {
	ns := newNamespace(t, "full")
	c := forward()
	c.SetSize = 4
	table := ns.installed(t, c)
	at := func(i int) rules.Pinhole {
		return pinhole(fmt.Sprintf("a-%d", i), client4, fmt.Sprintf("10.0.2.2:%d", 50000+i))
	}
	for i := range 4 {
		add(t, table, at(i))
	}
	err := table.Add(at(4), time.Now())
	if !errors.Is(err, nft.ErrFull) || !strings.Contains(err.Error(), "raise") {
		t.Errorf("got %v", err)
	}
	add(t, table, pinhole("b-1", client6, data6)) // the other family has room
	// Full is no reason to refuse a fresh time to what is there.
	if err := table.Add(at(3), time.Now()); err != nil {
		t.Errorf("repeated while full: %v", err)
	}
	remove(t, table, "a-0")
	add(t, table, at(4))
}

func TestAddErrors(t *testing.T) {
	ns := newNamespace(t, "bad")
	table := ns.installed(t, forward())
	for _, test := range []struct {
		name   string
		change func(*rules.Pinhole)
		want   string
	}{
		{"two families", func(p *rules.Pinhole) { p.Src = netip.MustParseAddr(client6) }, "one family"},
		{"no source", func(p *rules.Pinhole) { p.Src = netip.Addr{} }, "one family"},
		{"no destination", func(p *rules.Pinhole) { p.Dst = netip.AddrPort{} }, "one family"},
		{"source port", func(p *rules.Pinhole) { p.SrcPort = 20 }, "Config.SourcePorts"},
		{"outside of another family", func(p *rules.Pinhole) { p.Outside = netip.MustParseAddrPort(data6) }, "one family"},
		{"source of another family", func(p *rules.Pinhole) { p.SeenAs = netip.MustParseAddr(client6) }, "one family"},
		{"no time", func(p *rules.Pinhole) { p.Timeout = 0 }, "more than 0"},
		{"no id", func(p *rules.Pinhole) { p.ID = "" }, "1 to 127"},
		{"long id", func(p *rules.Pinhole) { p.ID = strings.Repeat("x", 128) }, "1 to 127"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := pinhole("a-1", client4, data4)
			test.change(&p)
			if err := table.Add(p, time.Now()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want something with %q", err, test.want)
			}
		})
	}
	p := pinhole(strings.Repeat("x", 127), client4, data4)
	add(t, table, p)
	if got := ns.elements(t); !strings.Contains(got, p.ID) {
		t.Errorf("the longest id is not listed: %q", got)
	}
}

// Install puts back what was open, with the time that is left, but not what a
// connection has used: that would let a second one through.
func TestInstallKeepsPinholes(t *testing.T) {
	for _, loss := range []string{"", "nft flush ruleset"} {
		t.Run(loss, func(t *testing.T) {
			l := newLab(t)
			l.server.listen(t, port)
			table := l.gateway.installed(t, forward())
			opened := time.Now()
			add(t, table, pinhole("used", client4, data4))
			add(t, table, pinhole("open", client4, "10.0.2.2:50056"))
			add(t, table, pinhole("removed", client4, "10.0.2.2:50057"))
			short := pinhole("expired", client4, "10.0.2.2:50058")
			short.Timeout = 10 * time.Second
			add(t, table, short)
			remove(t, table, "removed")
			if !l.client.attempt(t, 0, data4, soon) {
				t.Fatal("no connection")
			}
			if ids, err := table.Arrived(); !slices.Equal(ids, []string{"used"}) || err != nil {
				t.Errorf("arrived: %v, %v", ids, err)
			}
			l.gateway.run(t, loss, "")
			if err := table.Install(opened.Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			got := l.gateway.elements(t)
			if strings.Count(got, "comment") != 1 || !strings.Contains(got, `comment "open"`) {
				t.Errorf("elements: %q", got)
			}
			if !strings.Contains(got, " timeout 10s") {
				t.Errorf("20 s of 30 s are over, but: %q", got)
			}
			if ids, err := table.Arrived(); !slices.Equal(ids, []string{"used"}) || err != nil {
				t.Errorf("arrived, after: %v, %v", ids, err)
			}
		})
	}
}

// A pinhole whose SYN made no connection takes another, once, in the time that
// was left. (law 4)
func TestLaw4Rearm(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	table := l.gateway.installed(t, forward())
	opened := time.Now()
	if err := table.Add(pinhole("a-1", client4, data4), opened); err != nil {
		t.Fatal(err)
	}
	arrived := func(want bool) {
		t.Helper()
		for deadline := time.Now().Add(soon); ; time.Sleep(time.Millisecond) {
			ids, err := table.Arrived()
			switch {
			case err != nil || time.Now().After(deadline):
				t.Fatalf("arrived: %v, %v, want a-1 in it: %v", ids, err, want)
			case slices.Contains(ids, "a-1") == want:
				return
			}
		}
	}
	l.gateway.run(t, "nft -f -", "table inet shut { chain forward { type filter hook forward priority 1; policy drop\n}\n}\n")
	if l.client.attempt(t, 0, data4, drop) {
		t.Fatal("came through a firewall that drops")
	}
	l.gateway.run(t, "nft delete table inet shut", "")
	arrived(true)
	if l.client.attempt(t, 0, data4, drop) {
		t.Error("a second SYN came through")
	}
	// Also when it was made anew without it meanwhile.
	for _, reinstall := range []bool{false, true} {
		if reinstall {
			if err := table.Install(opened.Add(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		if err := table.Rearm("a-1", opened.Add(20*time.Second)); err != nil {
			t.Fatal(err)
		}
		arrived(false)
		if got := l.gateway.elements(t); strings.Count(got, "comment") != 1 || !strings.Contains(got, " timeout 10s") {
			t.Errorf("10 s are left, but: %q", got)
		}
		if !l.client.attempt(t, 0, data4, soon) || l.client.attempt(t, 0, data4, drop) {
			t.Error("want one connection, and no second")
		}
		arrived(true)
	}
	// What is gone stays gone.
	if err := table.Rearm("a-1", opened.Add(30*time.Second)); err != nil {
		t.Error(err)
	}
	arrived(true)
	remove(t, table, "a-1")
	if err := table.Rearm("a-1", opened); err != nil {
		t.Error(err)
	}
	if got := l.gateway.elements(t); got != "" {
		t.Errorf("left: %q", got)
	}
}

// Thousands of pinholes go back in one batch, which is larger than the usual
// socket buffer.
func TestInstallKeepsMany(t *testing.T) {
	ns := newNamespace(t, "many")
	table := ns.installed(t, forward())
	const many = 5000
	for i := range many {
		add(t, table, pinhole(fmt.Sprintf("a-%d", i), client4, fmt.Sprintf("10.0.2.2:%d", 10000+i)))
	}
	ns.run(t, "nft flush ruleset", "")
	if err := table.Install(time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(ns.elements(t), "comment"); got != many {
		t.Errorf("%d elements, want %d", got, many)
	}
	if err := table.Add(pinhole("b-1", client4, data4), time.Now()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A caller that never removes what has expired costs bounded memory.
func TestExpiredIsForgotten(t *testing.T) {
	ns := newNamespace(t, "sweep")
	table := ns.installed(t, forward())
	now := time.Now()
	most := 0
	for i := range 5000 {
		p := pinhole(fmt.Sprintf("a-%d", i), client4, fmt.Sprintf("10.0.2.2:%d", 10000+i))
		p.Timeout = time.Second
		if err := table.Add(p, now); err != nil {
			t.Fatal(err)
		}
		now = now.Add(10 * time.Millisecond) // so that 100 are open at once
		most = max(most, nft.Held(table))
	}
	if most > 1100 {
		t.Errorf("%d pinholes are remembered", most)
	}
}

// While another program loads a large set, a change waits for it, but what
// only reads does not.
func TestReadersDoNotWait(t *testing.T) {
	ns := newNamespace(t, "busy")
	table := ns.installed(t, forward())
	add(t, table, pinhole("a-1", client4, data4))
	var load strings.Builder
	load.WriteString("table inet other {\n set s {\n type ipv4_addr\n elements = {\n")
	for i := range 200000 {
		fmt.Fprintf(&load, "11.%d.%d.%d,\n", i>>16, i>>8&255, i&255)
	}
	load.WriteString("}\n }\n }\n")
	cmd := exec.Command("ip", "netns", "exec", string(ns), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(load.String())
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	loaded := make(chan error, 1)
	go func() { loaded <- cmd.Wait() }()
	var slowestRead, slowestAdd time.Duration
	for i := 0; ; i++ {
		select {
		case err := <-loaded:
			if err != nil {
				t.Error(err)
			}
			took := time.Since(begun)
			t.Logf("slowest read %v, slowest add %v, of %v", slowestRead, slowestAdd, took)
			// Who waits for the kernel waits for most of the load; a starved machine
			// takes a part of its time from everybody.
			if slowestRead > slowestAdd && slowestRead > max(200*time.Millisecond, took/4) {
				t.Errorf("a reader waited %v", slowestRead)
			}
			return
		default:
		}
		added := make(chan time.Duration, 1)
		go func() {
			start := time.Now()
			if err := table.Add(pinhole("b-1", client4, "10.0.2.2:50056"), start); err != nil {
				t.Error(err)
			}
			added <- time.Since(start)
		}()
		start := time.Now()
		if ok, err := table.Verify(); !ok || err != nil {
			t.Errorf("Verify: %v, %v", ok, err)
		}
		if _, err := table.Arrived(); err != nil {
			t.Errorf("Arrived: %v", err)
		}
		slowestRead = max(slowestRead, time.Since(start))
		slowestAdd = max(slowestAdd, <-added)
	}
}

// What an open and a close cost, with other pinholes open as in a busy gateway.
func BenchmarkAddAndRemove(b *testing.B) {
	for _, bench := range []struct {
		name    string
		pinhole rules.Pinhole
	}{
		{"plain", pinhole("b", client4, data4)},
		{"translated", translated(client4, data4, at(gateway4, outsidePort), outer4)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			table := newNamespace(b, "bench").installed(b, forward())
			for i := range 1000 {
				add(b, table, pinhole(fmt.Sprint("a-", i), client4, at(server4, uint16(51000+i))))
			}
			for b.Loop() {
				add(b, table, bench.pinhole)
				remove(b, table, bench.pinhole.ID)
			}
		})
	}
}
