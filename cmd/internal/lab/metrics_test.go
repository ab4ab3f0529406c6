package lab_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

const metricsAt = "127.0.0.1:9521"

// samples are what a scrape shows: name{labels} and its value.
type samples map[string]float64

// sum adds up the samples whose names begin so.
func (s samples) sum(begin string) (total float64) {
	for name, value := range s {
		if strings.HasPrefix(name, begin) {
			total += value
		}
	}
	return total
}

// scrape asks the daemon as Prometheus does, and checks what it says as
// promlint does. The arguments are curl's.
func scrape(t *testing.T, l *lab.Lab, curl ...string) samples {
	t.Helper()
	text, err := l.Exec(lab.Gateway, "curl", append([]string{"-sS", "--fail", "--max-time", inSeconds(transferLimit)}, curl...)...)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	all := make(samples)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		all[strings.TrimPrefix(line[:at], "ftpinhole_")] = value
	}
	return all
}

// Transfers, a refusal, an open pinhole and a lost table show as what they are.
func TestMetrics(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon("--metrics", metricsAt)
	url := "http://" + metricsAt + "/metrics"
	idle := scrape(t, l, url)
	for _, name := range []string{"packets_total", "pinholes", "sessions", "pinholes_refused_total", "audit_records_written_total", "queue_length"} {
		if got := idle.sum(name); got != 0 {
			t.Errorf("%s is %v before anything came", name, got)
		}
	}

	mustFetch(t, l)
	mustFetch(t, l)
	d.WaitClosed(t, 2)
	s, _ := pinhole(t, l)
	if _, _, err := s.Command("PORT 10,9,9,9,195,80"); err != nil {
		t.Fatal(err)
	}
	var got samples
	want := samples{
		"ready": 1, "table_present": 1, "table_rebuilt_total": 0, "sessions": 1, "half_open_sessions": 0, "pinholes": 0, "data_connections": 0,
		"pinholes_opened_total": 3, "pinholes_used_total": 2, `pinholes_closed_total{reason="finished"}`: 2, `pinholes_closed_total{reason="replaced"}`: 1,
		`pinholes_refused_total{reason="foreign_address"}`: 1, "acknowledgement_seconds_count": 3,
		"conntrack_events_lost_total": 0, "panics_total": 0,
	}
	if _, _, err := s.Command("PASV"); err != nil {
		t.Fatal(err)
	}
	want["pinholes_opened_total"], want["acknowledgement_seconds_count"], want["pinholes"] = 4, 4, 1
	differ := func() (list []string) {
		for name, value := range want {
			if got[name] != value {
				list = append(list, fmt.Sprintf("%s is %v, want %v", name, got[name], value))
			}
		}
		return list
	}
	waitFor(t, "what happened is counted", func() bool {
		got = scrape(t, l, url)
		return len(differ()) == 0
	}, func() any { return differ() })
	if all := got.sum("pinholes_closed_total"); all != 3 {
		t.Errorf("%v pinholes were closed, want 3", all)
	}
	if sum := got["acknowledgement_seconds_sum"]; sum <= 0 || sum > 8 {
		t.Errorf("four acknowledgements took %v s", sum)
	}
	waitFor(t, "every queued packet and every record is counted", func() bool {
		queued, err := l.Queued()
		if err != nil {
			t.Fatal(err)
		}
		got = scrape(t, l, url)
		records := float64(len(d.AuditRecords()))
		return got.sum("packets_total") == float64(queued) && got[`audit_records_written_total{store="log"}`] == records &&
			got[`audit_records_written_total{store="trail"}`] == records && got.sum("audit_records_buffered") == 0
	}, func() any { return got })

	if _, err := l.Exec(lab.Gateway, "nft", "delete", "table", "inet", "ftpinhole"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the lost table is counted", func() bool {
		got = scrape(t, l, url)
		return got["table_rebuilt_total"] == 1 && got["table_present"] == 1
	}, func() any { return got })
	d.Stop()
}

// waitFor is patience.Until that says how far it came.
func waitFor(t *testing.T, what string, ok func() bool, last func() any) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Log(last())
		}
	}()
	patience.Until(t, what, ok)
}

// A unix socket shows the same, to its group, and goes with the daemon.
func TestMetricsOnAUnixSocket(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	path := filepath.Join(t.TempDir(), "m")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	d := l.StartDaemon("--metrics", "unix:"+path)
	if got := scrape(t, l, "--unix-socket", path, "http://daemon/metrics"); got["ready"] != 1 {
		t.Errorf("a scrape shows %v", got)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v (%v)", st.Mode(), err)
	}
	if out, err := l.Exec(lab.Gateway, "ss", "-Hltn"); err != nil || out != "" {
		t.Errorf("TCP listeners: %q (%v)", out, err)
	}
	d.Stop()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

// The daemon starts before the network: its address may come later.
func TestMetricsOnAnAddressThatComesLater(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	for _, host := range []string{"192.0.2.9", "2001:db8::9"} {
		at := net.JoinHostPort(host, "9521")
		d := l.StartDaemon("--metrics", at)
		if _, err := l.Exec(lab.Gateway, "ip", "address", "add", host, "dev", "lo"); err != nil {
			t.Fatal(err)
		}
		if got := scrape(t, l, "--globoff", "http://"+at+"/metrics"); got["ready"] != 1 {
			t.Errorf("a scrape shows %v", got)
		}
		d.Stop()
	}
}

// By default there are none; and an address that cannot be had is said at the
// start, before anything is changed.
func TestMetricsAreOffByDefault(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	d := l.StartDaemon()
	if out, err := l.Exec(lab.Gateway, "ss", "-Hltn"); err != nil || out != "" {
		t.Errorf("TCP listeners: %q (%v)", out, err)
	}
	d.Stop()
	other, err := l.Listen(lab.Gateway, netip.MustParseAddrPort(metricsAt))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, stderr, code := l.Program(lab.Gateway, nil, append(runArgs(t), "--metrics", metricsAt)...)
	if code != 1 || !strings.Contains(stderr, "--metrics") {
		t.Errorf("exit %d, want 1; it says %q", code, stderr)
	}
	if out, err := l.Ruleset(); err != nil || strings.Contains(out, "ftpinhole") {
		t.Errorf("rules are left behind (%v):\n%s", err, out)
	}
}

// Clients that stall or flood the metrics hold up no transfer.
func TestHostileScrapers(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Firewall("accept-line")
	l.StartServer("vsftpd", lab.Server)
	d := l.StartDaemon("--metrics", metricsAt)
	stop := make(chan struct{})
	done := make(chan int)
	const clients = 64
	for i := range clients {
		go func() {
			sent := 0
			defer func() { done <- sent }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := l.Dial(lab.Gateway, netip.Addr{}, netip.MustParseAddrPort(metricsAt), time.Second)
				if err != nil {
					continue
				}
				_ = c.SetDeadline(time.Now().Add(time.Second))
				if _, err = io.WriteString(c, "GET /metrics HTTP/1.0\r\n\r\n"); err == nil && i%2 == 0 {
					_, _ = io.Copy(io.Discard, c)
				}
				c.Close()
				sent++
			}
		}()
	}
	begun := time.Now()
	const transfers = 10
	for range transfers {
		mustFetch(t, l)
	}
	took := time.Since(begun)
	close(stop)
	total := 0
	for range clients {
		total += <-done
	}
	t.Logf("%d transfers in %v beside %d scrapes", transfers, took, total)
	if total < clients {
		t.Errorf("only %d scrapes were tried", total)
	}
	for _, r := range d.WaitClosed(t, transfers) {
		if r.Pinhole.Reason == "kernel_error" {
			t.Errorf("a transfer was refused: %s", r.Raw)
		}
	}
	d.Stop()
}
