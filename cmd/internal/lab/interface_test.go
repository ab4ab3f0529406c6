package lab_test

import (
	"fmt"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

// A network interface goes with a pinhole open through it. The pinhole ends by
// its time, the daemon goes on, and when there is an interface again so does the
// session.
func TestInterfaceGone(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon("--pinhole-timeout", "2s")
	s, _ := pinhole(t, l)
	links(t, "ip -n "+l.Name+"-gateway link del server")
	closed := lab.Pinholes(d.WaitClosed(t, 1), "close")
	if len(closed) != 1 || closed[0].Pinhole.Reason != "expired" {
		t.Errorf("want one that expired: %+v", closed)
	}
	if code := d.Status(); code != 0 {
		t.Errorf("status has exit code %d", code)
	}
	links(t, fmt.Sprintf(`
ip -n %[1]s-gateway link add server type veth peer name uplink netns %[1]s-server
ip -n %[1]s-gateway link set server up
ip -n %[1]s-gateway addr add 10.0.2.1/24 dev server
ip -n %[1]s-server link set uplink up
ip -n %[1]s-server addr add 10.0.2.2/24 dev uplink
ip -n %[1]s-server route add default via 10.0.2.1`, l.Name))
	data, err := s.Passive("PASV")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Retrieve(data, "hello.txt"); err != nil {
		t.Error(err)
	}
	mustFetch(t, l)
}
