package gateway

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"ftpinhole/cmd/internal/config"
	"ftpinhole/cmd/internal/control"
	"ftpinhole/rules"
	"ftpinhole/rules/nft"

	"github.com/google/go-cmp/cmp"
)

// passiveOnly is a configuration that refuses active mode.
func passiveOnly() config.Config {
	c := config.Default()
	c.Policy.Modes = []string{rules.PassiveMode}
	return c
}

// deadTable is one that the kernel is not asked for any more.
func deadTable(t *testing.T) *nft.Table {
	t.Helper()
	table, err := nft.Dial(nft.Config{Ports: []uint16{21}, Hooks: []nft.Hook{nft.Forward}})
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	return table
}

// Where the kernel refuses, all stays as it was.
func TestReloadThatFailsInTheKernelChangesNothing(t *testing.T) {
	table := deadTable(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		g := r.asGateway()
		g.table = table
		err := g.Reload(passiveOnly())
		g.table = nil // for Close
		if err == nil || errors.Is(err, control.ErrBadConfig) {
			t.Fatalf("Reload: %v, want that the kernel failed", err)
		}
		r.login(40000).c("PORT 10,0,1,2,195,80")
		if diff := cmp.Diff([]string{"open"}, r.said()); diff != "" {
			t.Errorf("the refused policy is in effect: %s", diff)
		}
		if g.current.Load().Policy.Modes != nil {
			t.Error("the refused configuration is shown")
		}
	})
}

// Where a shard does not answer, neither it nor the others change, whenever it
// turns again.
func TestReloadWithAShardThatDoesNotAnswerChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		other := r.another()
		g := r.asGateway(other)
		if err := g.Reload(passiveOnly()); !errors.Is(err, errBusy) {
			t.Fatalf("Reload: %v, want %v", err, errBusy)
		}
		r.login(40000).c("PORT 10,0,1,2,195,80")
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { other.run(ctx, func() {}) })
		defer running.Wait()
		defer cancel()
		synctest.Wait()
		r.shard = other
		r.login(40001).c("PORT 10,0,1,2,195,81")
		if diff := cmp.Diff([]string{"open", "open"}, r.said()); diff != "" {
			t.Errorf("the refused policy is in effect: %s", diff)
		}
	})
}

// What cannot change at run time is refused by its key; a policy that is none,
// too.
func TestReloadRefusesByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		g := r.asGateway()
		for want, change := range map[string]func(*config.Config){
			"queue_num": func(c *config.Config) { c.QueueNum++ },
			"mark":      func(c *config.Config) { c.Mark = 1 },
			"fail":      func(c *config.Config) { c.Fail = config.FailClosed },
			"audit":     func(c *config.Config) { c.Audit.KeepDays = 1 },
			"modes":     func(c *config.Config) { c.Policy.Modes = []string{"fast"} },
		} {
			c := config.Default()
			change(&c)
			if err := g.Reload(c); !errors.Is(err, control.ErrBadConfig) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", want, err)
			}
		}
	})
}

// Sessions that were read before are not joined again: those that could not be
// followed would be, by a reload.
func TestUnreadPorts(t *testing.T) {
	for _, tt := range []struct {
		ports []uint16
		hooks []string
		want  []uint16
	}{
		{[]uint16{21}, []string{"forward"}, nil},
		{[]uint16{2121, 21, 990}, []string{"forward"}, []uint16{2121, 990}},
		{[]uint16{990}, []string{"forward"}, []uint16{990}},
		{[]uint16{21, 2121}, []string{"input", "forward"}, []uint16{21, 2121}},
	} {
		now, next := config.Default(), config.Default()
		next.Ports, next.Hooks = tt.ports, tt.hooks
		if got := unread(&now, &next); !slices.Equal(got, tt.want) {
			t.Errorf("%v at %v: %v, want %v", tt.ports, tt.hooks, got, tt.want)
		}
	}
}
