package expect

import (
	"errors"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ftpinhole/rules"
)

// ours is a pinhole on the loopback interface.
func ours(id string, c rules.Tuple, dst string) rules.Pinhole {
	return rules.Pinhole{ID: id, Src: c.Src.Addr(), Dst: netip.MustParseAddrPort(dst), Timeout: 30 * time.Second, Control: c}
}

func TestRegister(t *testing.T) {
	b := registered(t)
	if b.config.Helper == "ftp" {
		t.Skip("the kernel has no nfnetlink_cthelper; TestGolden compares what is sent, and Debian's kernels run this test in scripts/test-kernels")
	}
	h := Helper{Name: b.config.Helper, Queue: 2100, Max: 4, Timeout: 30}
	h6 := h
	h6.IPv6 = true
	same := func(want ...Helper) {
		t.Helper()
		got, err := b.Registered()
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(got, func(a, b Helper) int {
			if a.IPv6 {
				return 1
			}
			return -1
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	same(h, h6)
	// A daemon after this one takes it over, with another policy.
	c := b.config
	c.Max, c.Timeout = 8, 1500*time.Millisecond
	next := dialed(t, c)
	if err := next.Register(); err != nil {
		t.Fatal(err)
	}
	h.Max, h.Timeout, h6.Max, h6.Timeout = 8, 2, 8, 2
	same(h, h6)
	b.attach(t, "")
	if err := b.Unregister(); !errors.Is(err, ErrInUse) {
		t.Errorf("remove a helper that nft names: %v", err)
	}
	command(t, "", "nft", "flush", "ruleset")
	if err := b.Unregister(); err != nil {
		t.Error(err)
	}
	if err := b.Unregister(); err != nil {
		t.Errorf("remove it again: %v", err)
	}
	if got, err := b.Registered(); err != nil || len(got) != 0 {
		t.Errorf("after it was removed: %v, %v", got, err)
	}
}

// One connection is let in as related, exactly the one that was agreed on.
func TestPinhole(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	for _, test := range []struct{ name, client, other, server, data, wrong string }{
		{"IPv4", "127.0.0.1", "127.0.0.2", "127.0.0.1:21", "127.0.0.1:50055", "127.0.0.1:50056"},
		{"IPv6", "::1", "::1", "[::1]:21", "[::1]:50055", "[::1]:50056"},
	} {
		listen(t, test.server)
		listen(t, test.data)
		listen(t, test.wrong)
		c := control(t, test.client, test.server)
		if leaks(t, test.client, test.data) {
			t.Fatalf("%s: the firewall drops nothing", test.name)
		}
		add(t, b, ours("a", c, test.data))
		if ids, err := b.Arrived(); err != nil || len(ids) != 0 {
			t.Errorf("%s: arrived before anything came: %v, %v", test.name, ids, err)
		}
		if leaks(t, test.client, test.wrong) {
			t.Errorf("%s: another port is open", test.name)
		}
		if test.other != test.client && leaks(t, test.other, test.data) {
			t.Errorf("%s: it is open for another client", test.name)
		}
		if !passes(t, test.client, test.data) {
			t.Errorf("%s: the port is shut", test.name)
		}
		if leaks(t, test.client, test.data) {
			t.Errorf("%s: a second connection passed", test.name)
		}
		if ids, err := b.Arrived(); err != nil || !slices.Equal(ids, []string{"a"}) {
			t.Errorf("%s: arrived: %v, %v", test.name, ids, err)
		}
		removed(t, b, "a", true)
		removed(t, b, "a", false)
	}
}

func TestRemove(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	listen(t, "127.0.0.1:21")
	listen(t, "127.0.0.1:50055")
	c := control(t, "127.0.0.1", "127.0.0.1:21")
	add(t, b, ours("a", c, "127.0.0.1:50055"))
	removed(t, b, "a", false)
	if n, _ := left(t, b); n != 0 {
		t.Errorf("%d expectations are left", n)
	}
	if leaks(t, "127.0.0.1", "127.0.0.1:50055") {
		t.Error("the port is open")
	}
	// A newer pinhole of the same connection stays when the older one is removed.
	add(t, b, ours("b", c, "127.0.0.1:50055"))
	add(t, b, ours("c", c, "127.0.0.1:50055"))
	removed(t, b, "b", false)
	if !passes(t, "127.0.0.1", "127.0.0.1:50055") {
		t.Error("the newer one is shut")
	}
	removed(t, b, "c", true)
}

// Removed before anybody asked, it still tells that its SYN came.
func TestRemoveAfterUse(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	listen(t, "127.0.0.1:21")
	listen(t, "127.0.0.1:50055")
	add(t, b, ours("a", control(t, "127.0.0.1", "127.0.0.1:21"), "127.0.0.1:50055"))
	if !passes(t, "127.0.0.1", "127.0.0.1:50055") {
		t.Error("the port is shut")
	}
	removed(t, b, "a", true)
}

func TestTimeout(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	listen(t, "127.0.0.1:21")
	listen(t, "127.0.0.1:50055")
	c := control(t, "127.0.0.1", "127.0.0.1:21")
	long, short := ours("a", c, "127.0.0.1:50055"), ours("b", c, "127.0.0.1:50055")
	long.Timeout, short.Timeout = 100*time.Second, 3*time.Second
	add(t, b, long)
	if _, s := left(t, b); s < 95 || s > 100 {
		t.Errorf("%d s are left of 100", s)
	}
	add(t, b, short) // takes its place, and its time
	if n, s := left(t, b); n != 1 || s > 3 {
		t.Errorf("%d expectations, %d s are left of 3", n, s)
	}
	deadline := time.Now().Add(soon)
	for n := 1; n > 0; n, _ = left(t, b) {
		if time.Now().After(deadline) {
			t.Fatal("it does not expire")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if leaks(t, "127.0.0.1", "127.0.0.1:50055") {
		t.Error("the port is open")
	}
	if ids, err := b.Arrived(); err != nil || len(ids) != 0 {
		t.Errorf("expired, but arrived: %v, %v", ids, err)
	}
	removed(t, b, "b", false)
}

// What is left is the kernel's view, and only of what it holds.
func TestLeft(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	if left, err := b.Left(); err != nil || len(left) != 0 {
		t.Errorf("before any: %v, %v", left, err)
	}
	for _, address := range []string{"127.0.0.1:21", "127.0.0.1:50055"} {
		listen(t, address)
	}
	// Each has a control connection: for another one the kernel's own helper, where
	// that stands in, drops the first.
	for id, dst := range map[string]string{"used": "127.0.0.1:50055", "stays": "127.0.0.1:50056", "deleted": "127.0.0.1:50057"} {
		p := ours(id, control(t, "127.0.0.1", "127.0.0.1:21"), dst)
		p.Timeout = 20 * time.Second
		add(t, b, p)
	}
	if left, err := b.Left(); err != nil || len(left) != 3 {
		t.Errorf("of three: %v, %v", left, err)
	}
	if !passes(t, "127.0.0.1", "127.0.0.1:50055") {
		t.Error("the port is shut")
	}
	if err := b.take(expected(ours("", rules.Tuple{Src: netip.MustParseAddrPort("127.0.0.1:1")}, "127.0.0.1:50057"))); err != nil {
		t.Fatal(err)
	}
	left, err := b.Left()
	if d := left["stays"]; err != nil || len(left) != 1 || d < 15*time.Second || d > 20*time.Second {
		t.Errorf("%v, %v, want one of up to 20 s", left, err)
	}
}

// Armed again, it takes one more SYN in what is left of its time.
func TestLaw4Rearm(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	listen(t, "127.0.0.1:21")
	listen(t, "127.0.0.1:50055")
	begin := time.Now()
	if err := b.Add(ours("a", control(t, "127.0.0.1", "127.0.0.1:21"), "127.0.0.1:50055"), begin); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if !passes(t, "127.0.0.1", "127.0.0.1:50055") || leaks(t, "127.0.0.1", "127.0.0.1:50055") {
			t.Error("not exactly one connection passed")
		}
		if err := b.Rearm("a", begin.Add(20*time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, s := left(t, b); n != 1 || s > 10 {
			t.Errorf("%d expectations, %d s are left of 10", n, s)
		}
		if ids, err := b.Arrived(); err != nil || len(ids) != 0 {
			t.Errorf("armed again, but arrived: %v, %v", ids, err)
		}
	}
	removed(t, b, "a", false)
	if err := b.Rearm("a", begin); err != nil {
		t.Errorf("one that is gone: %v", err)
	}
	if n, _ := left(t, b); n != 0 {
		t.Errorf("%d expectations are left", n)
	}
}

// The kernel takes a control connection's expectations along. Nobody came.
func TestControlConnectionEnds(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	listen(t, "127.0.0.1:21")
	add(t, b, ours("a", control(t, "127.0.0.1", "127.0.0.1:21"), "127.0.0.1:50055"))
	command(t, "", "conntrack", "-D", "-p", "tcp", "--orig-port-dst", "21")
	if n, _ := left(t, b); n != 0 {
		t.Fatalf("%d expectations are left", n)
	}
	if ids, err := b.Arrived(); err != nil || len(ids) != 0 {
		t.Errorf("arrived: %v, %v", ids, err)
	}
	removed(t, b, "a", false)
}

func TestNoHelper(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	listen(t, "127.0.0.1:22")
	without := control(t, "127.0.0.1", "127.0.0.1:22")
	unknown := without
	unknown.Src = netip.MustParseAddrPort("127.0.0.1:1")
	for _, p := range []rules.Pinhole{ours("a", without, "127.0.0.1:50055"), ours("a", unknown, "127.0.0.1:50055")} {
		if err := b.Add(p, time.Now()); !errors.Is(err, ErrNoHelper) {
			t.Errorf("control connection %v: %v", p.Control, err)
		}
	}
	if n, _ := left(t, b); n != 0 {
		t.Errorf("%d expectations", n)
	}
}

// Flush removes what a daemon before us has left.
func TestFlush(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	listen(t, "127.0.0.1:21")
	add(t, b, ours("a", control(t, "127.0.0.1", "127.0.0.1:21"), "127.0.0.1:50055"))
	add(t, b, ours("b", control(t, "127.0.0.1", "127.0.0.1:21"), "127.0.0.1:50056"))
	next := dialed(t, Config{Helper: "fph-other", Max: 4, Timeout: time.Second})
	if err := next.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _ := left(t, b); n != 2 {
		t.Errorf("another helper's flush left %d of 2", n)
	}
	next.config.Helper = b.config.Helper
	if err := next.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _ := left(t, b); n != 0 {
		t.Errorf("%d expectations are left", n)
	}
}

// Both directions of a session through a gateway that translates both ends: the
// client 127.0.1.1 connects to 127.0.3.3:21, which is 127.0.2.2:2121, and is seen
// there as 127.0.4.4.
func TestTranslated(t *testing.T) {
	const nat = `
table ip nat {
	chain output {
		type nat hook output priority -100
		ip daddr 127.0.3.3 tcp dport 21 dnat to 127.0.2.2:2121
	}
	chain postrouting {
		type nat hook postrouting priority srcnat
		ip saddr 127.0.1.1 tcp dport 2121 snat to 127.0.4.4
	}
}
`
	b := registered(t)
	b.attach(t, nat)
	from := listen(t, "127.0.2.2:2121")
	c := control(t, "127.0.1.1", "127.0.3.3:21")
	if client := <-from; client.Addr() != netip.MustParseAddr("127.0.4.4") {
		t.Fatalf("the server sees %v", client)
	}

	back := rules.Tuple{Src: netip.MustParseAddrPort("127.0.2.2:2121"), Dst: netip.AddrPortFrom(netip.MustParseAddr("127.0.4.4"), c.Src.Port())}
	passive := ours("passive", c, "127.0.2.2:3762")
	passive.ControlReply = back
	passive.Outside, passive.SeenAs = netip.MustParseAddrPort("127.0.3.3:50055"), netip.MustParseAddr("127.0.4.4")
	from = listen(t, "127.0.2.2:3762")
	add(t, b, passive)
	if !passes(t, "127.0.1.1", "127.0.3.3:50055") {
		t.Fatal("passive: the port is shut")
	}
	if client := <-from; client.Addr() != passive.SeenAs {
		t.Errorf("passive: the server sees %v", client)
	}
	removed(t, b, "passive", true)

	active := ours("active", c, "127.0.1.1:3763")
	active.ControlReply = back
	active.Src, active.SrcPort = netip.MustParseAddr("127.0.2.2"), 20
	active.Outside, active.SeenAs = netip.MustParseAddrPort("127.0.4.4:50056"), netip.MustParseAddr("127.0.3.3")
	from = listen(t, "127.0.1.1:3763")
	add(t, b, active)
	if leaks(t, "127.0.2.2", "127.0.4.4:50056") {
		t.Error("active: another source port passed")
	}
	if !passes(t, "127.0.2.2:20", "127.0.4.4:50056") {
		t.Fatal("active: the port is shut")
	}
	if server := <-from; server.Addr() != active.SeenAs {
		t.Errorf("active: the client sees %v", server)
	}
	removed(t, b, "active", true)
}

func TestWatch(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	listen(t, "127.0.0.1:21")
	events := make(chan Event, 10)
	watch(t, b, func(e Event) { events <- e })
	// Of connections from before there was a listener no event tells.
	p := ours("a", control(t, "127.0.0.1", "127.0.0.1:21"), "127.0.0.1:50055")
	add(t, b, p)
	removed(t, b, "a", false)
	for _, want := range []Kind{New, Gone} {
		select {
		case e := <-events:
			if e.Kind != want || e.Expectation.Tuple != expected(p) || e.Expectation.Control != p.Control {
				t.Errorf("%+v, want kind %d", e, want)
			}
		case <-time.After(soon):
			t.Fatal("no event")
		}
	}
	// What another program deletes is not taken for used.
	add(t, b, p)
	if e := <-events; e.Kind != New {
		t.Errorf("%+v, want kind %d", e, New)
	}
	command(t, "", "conntrack", "-F", "expect")
	if e := <-events; e.Kind != Deleted || e.ID != "a" || e.Expectation.Tuple != expected(p) {
		t.Errorf("%+v, want kind %d", e, Deleted)
	}
	if ids, err := b.Arrived(); err != nil || len(ids) != 0 {
		t.Errorf("deleted, but arrived: %v, %v", ids, err)
	}
}

// The notice that a pinhole was deleted is read when the next one of its tuple is
// open: that one is still there, and still ours.
func TestDeletedIsNotTheNext(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	listen(t, "127.0.0.1:21")
	turn, events := make(chan struct{}), make(chan Event, 10)
	watch(t, b, func(e Event) {
		select {
		case <-turn:
		case <-t.Context().Done():
		}
		events <- e
	})
	c := control(t, "127.0.0.1", "127.0.0.1:21")
	add(t, b, ours("a", c, "127.0.0.1:50055"))
	command(t, "", "conntrack", "-F", "expect")
	add(t, b, ours("b", c, "127.0.0.1:50055"))
	close(turn)
	for _, want := range []Kind{New, Deleted, New} {
		select {
		case e := <-events:
			if e.Kind != want || e.ID != "" {
				t.Errorf("%+v, want kind %d of no pinhole", e, want)
			}
		case <-time.After(soon):
			t.Fatal("no event")
		}
	}
	removed(t, b, "b", false)
	if n, _ := left(t, b); n != 0 {
		t.Errorf("b was removed, and the kernel still holds %d expectations", n)
	}
}

// The name stands in conntrack's own listing.
func TestListing(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	listen(t, "127.0.0.1:21")
	add(t, b, ours("a", control(t, "127.0.0.1", "127.0.0.1:21"), "127.0.0.1:50055"))
	out, err := exec.Command("conntrack", "-L", "expect").Output()
	if err != nil || !strings.Contains(string(out), "dport=50055") || !strings.Contains(string(out), "helper="+b.config.Helper) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []Config{
		{Helper: "ftp", Max: 4, Timeout: time.Second},
		{Helper: "sixteen-bytes-xx", Max: 4, Timeout: time.Second},
		{Max: 0, Timeout: time.Second},
		{Max: 256, Timeout: time.Second},
		{Max: 4},
	} {
		if _, err := Dial(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	c := rules.Tuple{Src: netip.MustParseAddrPort("10.0.1.2:40000"), Dst: netip.MustParseAddrPort("10.0.2.2:21")}
	good := ours("a", c, "10.0.2.2:50055")
	for _, change := range []func(*rules.Pinhole){
		func(p *rules.Pinhole) { p.ID = "" },
		func(p *rules.Pinhole) { p.Src = netip.Addr{} },
		func(p *rules.Pinhole) { p.Dst = netip.MustParseAddrPort("[::1]:50055") },
		func(p *rules.Pinhole) { p.Outside = netip.MustParseAddrPort("[::1]:50055") },
		func(p *rules.Pinhole) { p.Control = rules.Tuple{} },
		func(p *rules.Pinhole) { p.Timeout = 0 },
	} {
		p := good
		change(&p)
		if check(p) == nil {
			t.Errorf("%+v was taken", p)
		}
	}
	if err := check(good); err != nil {
		t.Error(err)
	}
}
