package nft_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ftpinhole/rules/nft"
)

// Another configuration changes chains and leaves the sets as they are: what
// was used stays used, without a moment in which it is not.
func TestLaw4ReconfigureKeepsTheSets(t *testing.T) {
	l := newLab(t)
	l.server.listen(t, port)
	table := l.gateway.installed(t, forward())
	add(t, table, pinhole("used", client4, data4))
	add(t, table, pinhole("open", client4, "10.0.2.2:50056"))
	if !l.client.attempt(t, 0, data4, soon) {
		t.Fatal("no connection")
	}
	c := forward()
	for _, hooks := range [][]nft.Hook{{nft.Forward, nft.Input, nft.Output}, {nft.Input}, {nft.Forward}} {
		c.Hooks, c.Ports = hooks, append(c.Ports, c.Ports[len(c.Ports)-1]+1)
		if err := table.Reconfigure(c, time.Now()); err != nil {
			t.Fatal(err)
		}
		if ok, err := table.Verify(); !ok || err != nil {
			t.Errorf("%v: verify: %v, %v", hooks, ok, err)
		}
		for _, line := range strings.Split(strings.TrimSpace(l.gateway.elements(t)), "\n") {
			if used := strings.Contains(line, `"used"`); used == strings.Contains(line, "packets 0") {
				t.Errorf("%v: %s", hooks, line)
			}
		}
		// It is what is made of that configuration from the start.
		fresh := newNamespace(t, "fresh")
		fresh.installed(t, c)
		listing := func(ns namespace) string {
			ns.run(t, "nft flush set inet ftpinhole pinholes6", "")
			var rest strings.Builder
			for line := range strings.Lines(statements(ns.run(t, "nft -s list table inet ftpinhole", ""))) {
				if !strings.Contains(line, "elements") && !strings.Contains(line, "comment") {
					rest.WriteString(line)
				}
			}
			parts := strings.Split(strings.TrimSuffix(rest.String(), "}\n"), "\n\n") // chains stand as they came
			for i := range parts {
				parts[i] = strings.TrimSpace(parts[i])
			}
			slices.Sort(parts)
			return strings.Join(parts, "\n")
		}
		if diff := cmp.Diff(listing(fresh), listing(l.gateway)); diff != "" {
			t.Errorf("%v: made from the start and reconfigured (-want +got):\n%s", hooks, diff)
		}
	}
	if l.client.attempt(t, 0, data4, drop) {
		t.Error("a second connection came through")
	}
}

// Where the table was taken away, it is made anew.
func TestReconfigureOfALostTable(t *testing.T) {
	for _, loss := range []string{"nft delete table inet ftpinhole", "nft flush chain inet ftpinhole control_forward; nft delete chain inet ftpinhole control_forward",
		"nft 'chain inet ftpinhole control_forward { policy drop; }'"} {
		ns := newNamespace(t, "lost")
		table := ns.installed(t, forward())
		add(t, table, pinhole("a-1", client4, data4))
		ns.run(t, loss, "")
		c := forward()
		c.Ports = []uint16{21, 2121}
		if err := table.Reconfigure(c, time.Now()); err != nil {
			t.Fatal(err)
		}
		if ok, err := table.Verify(); !ok || err != nil {
			t.Errorf("verify: %v, %v", ok, err)
		}
		if got := ns.run(t, "nft list table inet ftpinhole", ""); !strings.Contains(got, "21, 2121") || !strings.Contains(got, `"a-1"`) || strings.Contains(got, "policy drop") {
			t.Errorf("%s: %s", loss, got)
		}
	}
}

// Verify takes our own changes for nobody else's.
func TestVerifyDuringReconfigure(t *testing.T) {
	ns := newNamespace(t, "both")
	table := ns.installed(t, forward())
	done := make(chan error, 1)
	go func() {
		c := forward()
		for i := range 200 {
			c.Ports = []uint16{21, uint16(2000 + i)}
			if err := table.Reconfigure(c, time.Now()); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for looked := 0; ; looked++ {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			t.Logf("looked %d times", looked)
			return
		default:
		}
		if ok, err := table.Verify(); !ok || err != nil {
			t.Errorf("verify: %v, %v", ok, err)
		}
	}
}
