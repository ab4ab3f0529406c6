package nft_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"ftpinhole/rules/nft"
)

// watch calls onChange for each change to the table until the test ends.
func watch(t *testing.T, ns namespace, table *nft.Table, onChange func(who string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		entered := ns.enter(func() { err = table.Watch(ctx, func() { close(ready) }, onChange) })
		done <- errors.Join(entered, err)
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Watch: %v", err)
			}
		case <-time.After(soon):
			t.Error("Watch does not return when its context is done")
		}
	})
}

func TestWatch(t *testing.T) {
	ns := newNamespace(t, "watch")
	table := ns.installed(t, forward())
	changes := make(chan string, 100)
	watch(t, ns, table, func(who string) { changes <- who })
	none := func(after string) {
		t.Helper()
		select {
		case who := <-changes:
			t.Errorf("%s: change by %q", after, who)
		case <-time.After(50 * time.Millisecond):
		}
	}
	add(t, table, pinhole("a-1", client4, data4))
	remove(t, table, "a-1")
	if err := table.Install(time.Now()); err != nil {
		t.Fatal(err)
	}
	none("own changes")
	ns.run(t, "nft add table inet other; nft add chain inet other c; nft add table ip ftpinhole; nft add chain ip ftpinhole c", "")
	none("other tables")
	for _, script := range []string{
		"nft flush set inet ftpinhole pinholes4; nft add element inet ftpinhole pinholes4 '{ 10.0.0.1 . 10.0.0.2 . 5000 }'",
		"nft flush chain inet ftpinhole control_forward",
		"nft flush ruleset",
	} {
		start := time.Now()
		ns.run(t, script, "")
		select {
		case who := <-changes:
			if !strings.HasPrefix(who, "nft, pid ") {
				t.Errorf("%s: change by %q", script, who)
			}
			t.Logf("%s: noticed %v after it began", script, time.Since(start))
		case <-time.After(soon):
			t.Errorf("%s: not noticed", script)
		}
		if err := table.Install(time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	none("own changes")
}

// Changes that come faster than they are read end in a change by nobody
// known, and the next ones are seen again.
func TestWatchOverflow(t *testing.T) {
	ns := newNamespace(t, "flood")
	table := ns.installed(t, forward())
	changes := make(chan string, 1000)
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	watch(t, ns, table, func(who string) { <-gate; changes <- who })
	t.Cleanup(open)
	expect := func(want string) {
		t.Helper()
		var seen []string
		for deadline := time.After(soon); ; {
			select {
			case who := <-changes:
				if seen = append(seen, who); strings.TrimRight(who, "0123456789") == want {
					return
				}
			case <-deadline:
				t.Fatalf("no change by %q, only %q", want, seen)
			}
		}
	}
	// The first change makes Watch wait in its callback while a flood comes.
	ns.run(t, "nft flush chain inet ftpinhole control_forward", "")
	var elements strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&elements, "10.0.0.1 . %d,", i+1)
	}
	ns.run(t, "nft -f -", "table inet other {\n set s {\n type ipv4_addr . inet_service\n }\n }\n")
	for range 20 {
		ns.run(t, "nft -f -", "add element inet other s {"+elements.String()+"}\n")
		ns.run(t, "nft flush set inet other s", "")
	}
	open()
	expect("")
	ns.run(t, "nft flush ruleset", "")
	expect("nft, pid ")
}
