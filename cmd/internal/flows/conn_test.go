package flows

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ftpinhole/cmd/internal/patience"
)

func dialKernel(t *testing.T) *Conn {
	t.Helper()
	c, err := Dial(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// flowOf names a connection as the packets of its client do.
func flowOf(conn net.Conn) Flow {
	return Flow{
		Client: netip.MustParseAddrPort(conn.LocalAddr().String()),
		Server: netip.MustParseAddrPort(conn.RemoteAddr().String()),
	}
}

func TestGetCountsBytes(t *testing.T) {
	for _, tt := range []struct {
		name, host, acct string
		counted          bool
	}{
		{"IPv4", "127.0.0.1", "1", true},
		{"IPv6", "::1", "1", true},
		{"accounting off", "127.0.0.1", "0", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNetNS(t)
			if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_acct", []byte(tt.acct), 0); err != nil {
				t.Skipf("cannot set nf_conntrack_acct: %v", err)
			}
			command(t, ruleset, "nft", "-f", "-")
			serve(t, net.JoinHostPort(tt.host, "2121"))
			conn := dial(t, net.JoinHostPort(tt.host, "2121"))
			echo(t, conn, 5000)
			c := dialKernel(t)
			f, ok, err := c.Get(flowOf(conn))
			if err != nil || !ok {
				t.Fatalf("Get: %v, %v", ok, err)
			}
			if f.Counted != tt.counted {
				t.Fatalf("counted = %v, want %v", f.Counted, tt.counted)
			}
			// 5,000 bytes each way and a few headers of at most 80 bytes.
			if tt.counted && (f.BytesOrig < 5000 || f.BytesOrig > 7000 || f.BytesReply < 5000 || f.BytesReply > 7000) {
				t.Errorf("%d and %d bytes for an echo of 5,000", f.BytesOrig, f.BytesReply)
			}
			if f.State != Established || !f.Assured || f.Mark != 0x30000000 {
				t.Errorf("got %+v", f)
			}
			if f, ok, err = c.Get(Flow{Client: f.Client, Server: f.Server, ID: f.ID + 1}); ok || err != nil {
				t.Errorf("Get with another id: %+v, %v, %v", f, ok, err)
			}
			other := f
			other.Client, other.Server = flowOf(conn).Server, flowOf(conn).Server
			if _, ok, err := c.Get(other); ok || err != nil {
				t.Errorf("Get of no flow: %v, %v", ok, err)
			}
		})
	}
}

func TestDeleteSynSent(t *testing.T) {
	inNetNS(t)
	command(t, ruleset, "nft", "-f", "-")
	if conn, err := net.DialTimeout("tcp", "127.0.0.1:2122", 50*time.Millisecond); err == nil {
		conn.Close()
		t.Fatal("port 2122 answered")
	}
	c := dialKernel(t)
	flows, err := c.Dump(testMark, testMark)
	if err != nil || len(flows) != 1 || flows[0].State != SynSent || flows[0].Assured {
		t.Fatalf("dump: %+v, %v; want one SYN_SENT", flows, err)
	}
	another := flows[0]
	another.ID++
	if err := c.Delete(another); err != nil {
		t.Errorf("delete with another id: %v", err)
	}
	if _, ok, _ := c.Get(flows[0]); !ok {
		t.Error("a delete with another id deleted the flow")
	}
	if err := c.Delete(flows[0]); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, ok, err := c.Get(flows[0]); ok || err != nil {
		t.Errorf("still there after delete: %v, %v", ok, err)
	}
	if err := c.Delete(flows[0]); err != nil {
		t.Errorf("delete of what is gone: %v", err)
	}
}

func TestDumpByMark(t *testing.T) {
	inNetNS(t)
	command(t, ruleset, "nft", "-f", "-")
	serve(t, "127.0.0.1:2121")
	serve(t, "[::1]:2121")
	serve(t, "127.0.0.1:8080")
	for _, a := range []string{"127.0.0.1:2121", "[::1]:2121", "127.0.0.1:8080"} {
		dial(t, a)
	}
	c := dialKernel(t)
	for _, tt := range []struct {
		mark, mask uint32
		want       int
	}{
		{0x10000000, 0x10000000, 2},
		{0x30000000, 0x30000000, 2},
		{0x30000000, 0xffffffff, 2},
		{0x10000000, 0xffffffff, 0},
		{0x40000000, 0x40000000, 0},
		{0, 0x10000000, 1},
		{0, 0, 3},
	} {
		flows, err := c.Dump(tt.mark, tt.mask)
		if err != nil || len(flows) != tt.want {
			t.Errorf("Dump(%#x, %#x): %v, %v; want %d", tt.mark, tt.mask, flows, err, tt.want)
		}
	}
}

func TestControlConnections(t *testing.T) {
	inNetNS(t)
	command(t, ruleset+`
table inet nat {
	chain output {
		type nat hook output priority -100
		meta nfproto ipv4 tcp dport 2100 redirect to :21
		meta nfproto ipv4 tcp dport 2121 redirect to :8080
	}
}
`, "nft", "-f", "-")
	for _, a := range []string{"127.0.0.1:21", "[::1]:21", "[::1]:2121", "127.0.0.1:8080", "127.0.0.1:20"} {
		serve(t, a)
	}
	want := []Flow{}
	for _, a := range []string{"127.0.0.1:21", "127.0.0.1:2100", "[::1]:21", "[::1]:2121"} {
		f := flowOf(dial(t, a))
		want = append(want, f)
	}
	for _, a := range []string{"127.0.0.1:2121", "127.0.0.1:8080", "127.0.0.1:20"} {
		dial(t, a) // redirected away, or never a control port
	}
	over := dial(t, "127.0.0.1:21")
	_ = over.SetLinger(0)
	over.Close()

	got, err := dialKernel(t).ControlConnections([]uint16{21, 2121, 21})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("%d control connections, want %d: %+v", len(got), len(want), got)
	}
	for _, w := range want {
		i := slices.IndexFunc(got, func(f Flow) bool { return f.Client == w.Client && f.Server == w.Server })
		if i < 0 {
			t.Errorf("missing %v to %v", w.Client, w.Server)
			continue
		}
		client, server := got[i].Ends()
		if client != w.Client || server.Port() != 21 && server.Port() != 2121 {
			t.Errorf("the hooks show %v to %v", client, server)
		}
	}
}

// The kernel itself must leave out the others: a gateway holds many.
func TestServerPortFilterIsTheKernels(t *testing.T) {
	inNetNS(t)
	command(t, ruleset, "nft", "-f", "-")
	serve(t, "127.0.0.1:8080")
	dial(t, "127.0.0.1:8080")
	var seen int
	if _, err := dialKernel(t).dump(2 /* AF_INET */, putServerPort(21), func(Flow) bool { seen++; return false }); err != nil {
		t.Fatal(err)
	}
	var release unix.Utsname
	_ = unix.Uname(&release)
	if seen != 0 {
		t.Errorf("%d flows of other ports came over (kernel %s; the filter needs 5.8)", seen, unix.ByteSliceToString(release.Release[:]))
	}
}

func TestRequestsNeedCapability(t *testing.T) {
	inNetNS(t)
	c := dialKernel(t)
	dropCapabilities(t)
	if _, err := c.Dump(0, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("Dump without CAP_NET_ADMIN: %v, want EPERM", err)
	}
	a := netip.MustParseAddrPort("127.0.0.1:1")
	if _, _, err := c.Get(Flow{Client: a, Server: a}); !errors.Is(err, unix.EPERM) {
		t.Errorf("Get without CAP_NET_ADMIN: %v, want EPERM", err)
	}
}

func TestSilentKernelIsNotWaitedFor(t *testing.T) {
	inNetNS(t)
	c := dialKernel(t)
	m := patience.NewMeter()
	// The kernel says nothing to a NOOP that asks for no acknowledgement.
	err := c.ask(netlink.Message{Header: netlink.Header{Type: netlink.Noop, Flags: netlink.Request}, Data: make([]byte, 4)}, func(Flow) {})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v, want a deadline", err)
	}
	m.Within(t, timeout+time.Second, "the answer is no longer waited for")
	a := netip.MustParseAddrPort("127.0.0.1:1")
	if _, ok, err := c.Get(Flow{Client: a, Server: a}); ok || err != nil {
		t.Errorf("Get after it: %v, %v", ok, err)
	}
}
