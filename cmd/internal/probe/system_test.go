package probe

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"ftpinhole/cmd/internal/patience"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"
)

func TestAllRows(t *testing.T) {
	inNetNS(t)
	var names []string
	for _, r := range Run(context.Background(), defaults()) {
		names = append(names, r.Name)
		if r.Level == Error {
			t.Errorf("error in an empty namespace: %+v", r)
		}
	}
	want := []string{"capabilities", "nft", "queue statement", "translation", "queue", "backend", "conntrack", "events", "accounting",
		"window", "forgotten sessions", "landlock", "kernel",
		"accept line", "open ports", "kernel helper", "flowtable", "notrack", "synproxy", "mark"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// A check must leave nothing behind, and disturb nobody.
func TestNothingIsChanged(t *testing.T) {
	inNetNS(t)
	nft(t, base("inet", "forward", "drop"))
	list := func() string {
		out, err := exec.Command("nft", "-a", "list", "ruleset").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	heard := monitor(t)
	before := list()
	Run(context.Background(), defaults())
	if diff := cmp.Diff(before, list()); diff != "" {
		t.Errorf("ruleset changed:\n%s", diff)
	}
	if others := heard(); len(others) > 0 {
		t.Errorf("others heard of it: %q", others)
	}
	if nums, err := boundQueues(); err != nil || len(nums) > 0 {
		t.Errorf("queues left bound: %v, %v", nums, err)
	}
}

// monitor has nft tell of each change from now on. What it returns are the lines
// until then: two changes of its own mark the beginning and the end.
func monitor(t *testing.T) (heard func() []string) {
	t.Helper()
	cmd := exec.Command("nft", "monitor")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()

	// Nobody knows when it begins to listen.
	patience.Until(t, "nft monitor listens", func() bool {
		nft(t, "add table inet begin; delete table inet begin")
		select {
		case <-lines:
			return true
		default:
			return false
		}
	})
	mark := func(name string) (before []string) {
		t.Helper()
		nft(t, "add table inet "+name)
		for line := range lines {
			if strings.HasPrefix(line, "add table inet "+name) {
				<-lines // the generation
				return before
			}
			before = append(before, line)
		}
		t.Fatal("nft monitor ended")
		return nil
	}
	mark("listens")
	return func() []string { return mark("end") }
}

func TestAccounting(t *testing.T) {
	for value, level := range map[string]Level{"0": Warning, "1": OK} {
		inNetNS(t)
		if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_acct", []byte(value), 0); err != nil {
			t.Skip(err)
		}
		row := worst(t, defaults(), "accounting")
		if row.Level != level || level != OK && !strings.Contains(row.Mend, "sysctl -w net.netfilter.nf_conntrack_acct=1") {
			t.Errorf("nf_conntrack_acct=%s: %+v", value, row)
		}
	}
}

func TestWindow(t *testing.T) {
	for value, level := range map[string]Level{"0": OK, "1": Warning} {
		inNetNS(t)
		if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", []byte(value), 0); err != nil {
			t.Fatal(err)
		}
		row := worst(t, defaults(), "window")
		if row.Level != level || level != OK && !strings.Contains(row.Mend, "sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=0") {
			t.Errorf("nf_conntrack_tcp_be_liberal=%s: %+v", value, row)
		}
	}
}

func TestForgotten(t *testing.T) {
	for _, tt := range []struct {
		loose, timeout string
		level          Level
		detail         string
	}{
		{"1", "432000", OK, "is picked up again with its client's next segment"},
		{"1", "7440", OK, "is picked up again"},
		{"1", "7439", Warning, "nf_conntrack_tcp_timeout_established=7439"},
		{"0", "432000", OK, "is not picked up again"},
		{"0", "600", Warning, "nf_conntrack_tcp_timeout_established=600"},
	} {
		inNetNS(t)
		for key, value := range map[string]string{"loose": tt.loose, "timeout_established": tt.timeout} {
			if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_tcp_"+key, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
		row := worst(t, defaults(), "forgotten sessions")
		if row.Level != tt.level || !strings.Contains(row.Detail, tt.detail) ||
			row.Level != OK && !strings.Contains(row.Mend, "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established=432000") {
			t.Errorf("%+v: %+v", tt, row)
		}
	}
}

// Which way the kernel filters and confines is said, and is no matter.
func TestFeatures(t *testing.T) {
	inNetNS(t)
	if row := worst(t, defaults(), "conntrack"); row.Level != OK || !strings.Contains(row.Detail, "CTA_FILTER") {
		t.Errorf("%+v; Linux has it since 5.8", row)
	}
	row := worst(t, defaults(), "landlock")
	_, err := os.Stat("/sys/kernel/security/lsm")
	lsm, _ := os.ReadFile("/sys/kernel/security/lsm")
	if row.Level != OK || err == nil && strings.Contains(string(lsm), "landlock") != strings.Contains(row.Detail, "version") {
		t.Errorf("with the security modules %q: %+v", lsm, row)
	}
}

func TestEventsSwitchedOff(t *testing.T) {
	inNetNS(t)
	if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_events", []byte("0"), 0); err != nil {
		t.Skip(err)
	}
	if row := worst(t, defaults(), "events"); row.Level != Error {
		t.Errorf("%+v", row)
	}
}

func TestCapabilityIsMissing(t *testing.T) {
	inNetNS(t)
	runtime.LockOSThread()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
	rows := Run(context.Background(), defaults())
	if len(rows) != 1 || rows[0].Level != Error || rows[0].Cause != Permission || rows[0].Mend == "" {
		t.Errorf("%+v", rows)
	}
}

// becomeNobody leaves this thread, which the test never gives back, with
// CAP_NET_ADMIN alone.
func becomeNobody(t *testing.T) {
	t.Helper()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	only := uint32(1 << unix.CAP_NET_ADMIN)
	data := [2]unix.CapUserData{{Effective: only, Permitted: only}}
	if _, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0); errno != 0 {
		t.Fatal(errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 { // this thread only
		t.Fatal(errno)
	}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
}

// CAP_NET_ADMIN alone is enough, also for another user.
func TestOneCapabilityIsEnough(t *testing.T) {
	inNetNS(t)
	becomeNobody(t)
	for _, r := range Run(context.Background(), defaults()) {
		if r.Level == Error {
			t.Errorf("%+v", r)
		}
	}
}

// hold binds a queue until the test ends.
func hold(t *testing.T, num uint16) {
	t.Helper()
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	req, err := message(netfilter.NFSubsysQueue, 2, netlink.Acknowledge, 0, num,
		func(ae *netlink.AttributeEncoder) { ae.Bytes(1, []byte{1, 0, 0, 0}) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Execute(req); err != nil {
		t.Fatal(err)
	}
}

func TestQueue(t *testing.T) {
	const table = "table inet ftpinhole { chain c { type filter hook forward priority 50\n }\n }\n"
	for _, tt := range []struct {
		name   string
		bound  uint16
		table  bool
		num    uint16
		level  Level
		detail string
	}{
		{"free", 0, false, 2100, OK, "queues 2100-2103 can be bound"},
		{"another program", 2102, false, 2100, Error, "another program reads queue 2102"},
		{"beside it", 2104, false, 2100, OK, "can be bound"},
		{"ourselves", 2100, true, 2100, OK, "ftpinhole is running"},
		{"our table, nobody reads", 0, true, 2100, OK, "nobody reads queues 2100-2103"},
		{"number too high", 0, false, 65534, Error, "over 65535"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNetNS(t)
			if tt.bound != 0 {
				hold(t, tt.bound)
			}
			if tt.table {
				nft(t, table)
			}
			cfg := defaults()
			cfg.QueueNum = tt.num
			if row := worst(t, cfg, "queue"); row.Level != tt.level || !strings.Contains(row.Detail, tt.detail) {
				t.Errorf("%+v, want %v, %q", row, tt.level, tt.detail)
			}
		})
	}
}

// Others than root do not see who reads what, but notice.
func TestQueueAsNobody(t *testing.T) {
	inNetNS(t)
	hold(t, 2101)
	becomeNobody(t)
	if row := worst(t, defaults(), "queue"); row.Level != Error || !strings.Contains(row.Detail, "another program reads queue 2101") {
		t.Errorf("%+v", row)
	}
}

func TestQueueStatement(t *testing.T) {
	no := unix.ENOENT
	for _, tt := range []struct {
		native, compat error
		level          Level
		detail         string
	}{
		{nil, nil, OK, "nft queue"},
		{nil, no, OK, "nft queue"},
		{no, nil, OK, "NFQUEUE through nft_compat"},
		{no, no, Error, "no such file"},
	} {
		row := queueStatement(tt.native, tt.compat)
		if row.Level != tt.level || !strings.Contains(row.Detail, tt.detail) {
			t.Errorf("%v, %v: %+v", tt.native, tt.compat, row)
		}
		if tt.level == Error && row.Cause != Missing {
			t.Errorf("cause %d", row.Cause)
		}
	}
	// And what this kernel can do is what nft finds.
	inNetNS(t)
	cmd := exec.Command("nft", "-c", "-f", "-")
	cmd.Stdin = strings.NewReader("table inet t {\n chain c {\n queue num 1 bypass\n }\n }\n")
	native := cmd.Run() == nil
	if row := worst(t, defaults(), "queue statement"); native != (row.Detail == "nft queue") {
		t.Errorf("nft queue works: %v, but %+v", native, row)
	}
}

// A kernel without a feature refuses the whole transaction, and says so.
func TestRefusedTransaction(t *testing.T) {
	inNetNS(t)
	k, err := dialKernel()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	err = k.tryIn(func(t table) []draft {
		return t.rule("nosuchthing", func(*netlink.AttributeEncoder) {})
	})
	if !errnoIs(err, unix.ENOENT) {
		t.Errorf("a rule of an unknown expression: %v, want ENOENT", err)
	}
	err = k.tryIn(func(t table) []draft { // a set without a key
		d := addSet(t)
		d[0].put = func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_SET_TABLE, string(t))
			ae.String(unix.NFTA_SET_NAME, "s")
		}
		return d
	})
	if !errnoIs(err, unix.EINVAL) {
		t.Errorf("a set without a key: %v, want EINVAL", err)
	}
	if out, _ := exec.Command("nft", "list", "tables").Output(); len(out) > 0 {
		t.Errorf("left behind: %s", out)
	}
}
