package lab_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

// The firewall can stand before the client, before the server, or both: here
// are two gateways in a row, each with a daemon of its own.
func TestTwoGatewaysInARow(t *testing.T) {
	t.Parallel()
	near, far := lab.New(t), lab.New(t)
	join(t, near, far)
	far.StartServer("vsftpd", lab.Server)
	for _, name := range []string{"small.bin", "hello.txt"} {
		copyFile(t, far.Served(name), near.Served(name)) // what near's clients compare with
	}
	near.Firewall("accept-line")
	far.Firewall("accept-line")

	first := near.StartDaemon()
	_, data := pinhole(t, near)
	if c, err := near.Dial(lab.Client, netip.Addr{}, data, time.Second); err == nil {
		c.Close()
		t.Error("a data connection passed the gateway that has no daemon")
	}
	second := far.StartDaemon()
	patience.Until(t, "the first daemon has read the session that the second gateway stopped", func() bool {
		return len(lab.Pinholes(first.AuditRecords(), "open")) > 0
	})
	everyVariantPasses(t, near, 4, 6)
	for i, d := range []*lab.Daemon{first, second} {
		records := d.WaitClosed(t, len(lab.Variants()))
		finished := 0
		for _, r := range lab.Pinholes(records, "close") {
			if r.Pinhole.Reason == "finished" {
				finished++
			}
		}
		if finished != len(lab.Variants()) {
			t.Errorf("daemon %d: %d pinholes are finished, want %d", i+1, finished, len(lab.Variants()))
		}
	}
}

// join leads what near's client sends to the servers' network over to far's
// gateway, and back.
func join(t *testing.T, near, far *lab.Lab) {
	t.Helper()
	links(t, fmt.Sprintf(`
ip -n %[1]s-gateway link add row type veth peer name row netns %[2]s-gateway
ip -n %[1]s-gateway -batch - <<END
link set server down
addr add 10.0.9.1/24 dev row
addr add fd00:0:0:9::1/64 dev row nodad
link set row up
route add 10.0.2.0/24 via 10.0.9.2
route add fd00:0:0:2::/64 via fd00:0:0:9::2
END
ip -n %[2]s-gateway -batch - <<END
link set client down
addr add 10.0.9.2/24 dev row
addr add fd00:0:0:9::2/64 dev row nodad
link set row up
route add 10.0.1.0/24 via 10.0.9.1
route add fd00:0:0:1::/64 via fd00:0:0:9::1
END
`, near.Name, far.Name))
}

// links runs a script that changes the links between namespaces.
func links(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
