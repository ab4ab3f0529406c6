//go:build guest

// Not every kernel has netem: scripts/test-kernels runs this.

package lab_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// Packets that are late, out of order or lost, of control and data connections:
// transfers complete, also where the lines change their length.
func TestNetem(t *testing.T) {
	t.Parallel()
	l, d := translated(t, lab.NAT{Kind: "none"})
	l.StartServer("vsftpd", lab.Server)
	for _, device := range []string{"client", "server"} {
		args := "qdisc add dev " + device + " root netem delay 10ms 5ms loss 2% reorder 25% 50%"
		if _, err := l.Exec(lab.Gateway, "tc", strings.Fields(args)...); err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for _, n := range []lab.NAT{{Kind: "none"}, {Kind: "both", Length: "longer"}} {
		l.Translate(n)
		total += everyCommand(t, l, n)
	}
	for _, record := range lab.Pinholes(d.WaitClosed(t, total), "close") {
		if record.Pinhole.Reason != "finished" {
			t.Errorf("want finished: %s", record.Raw)
		}
	}
	out, err := l.Exec(lab.Gateway, "tc", "-s", "qdisc")
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, match := range regexp.MustCompile(`dropped ([0-9]+)`).FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(match[1]) // it is a number
		lost += n
	}
	late := 0
	for _, where := range []lab.Where{lab.Client, lab.Server} {
		out, err := l.Exec(where, "nstat", "-a", "-z", "TcpExtTCPOFOQueue")
		if err != nil {
			t.Fatal(err)
		}
		match := regexp.MustCompile(`TCPOFOQueue +([0-9]+)`).FindStringSubmatch(out)
		if match == nil {
			t.Fatalf("no count in %q", out)
		}
		n, _ := strconv.Atoi(match[1])
		late += n
	}
	if lost == 0 || late == 0 {
		t.Errorf("%d packets lost, %d late, want some of both", lost, late)
	}
	t.Logf("%d packets lost, %d late", lost, late)
}
