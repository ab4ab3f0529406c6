package metrics

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ftpinhole/cmd/internal/patience"
	"ftpinhole/cmd/internal/socket"
	"ftpinhole/conntrack"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// fake is a daemon with every kind of number.
type fake struct {
	numbers Numbers
	acks    prometheus.Histogram
	wait    chan struct{} // Numbers waits for it, if it is there
	asked   atomic.Int32
	asking  atomic.Int32
	most    atomic.Int32 // that asked at once
}

func newFake() *fake {
	f := &fake{acks: NewAcknowledgements(), numbers: Numbers{
		Started: time.UnixMicro(1_790_000_000_250_000), Ready: true, TablePresent: true, TableRebuilt: 2,
		Held:   &conntrack.Counts{Sessions: 4, HalfOpen: 1, Pinholes: 2, Data: 3},
		Opened: 10, Used: 9,
		Closed: map[string]uint64{"finished": 7, "blocked": 1},
		Denied: map[string]uint64{"kernel_error": 5, "foreign_address": 6},
		Queues: []Queue{
			{Num: 2100, Packets: map[string]uint64{"accepted": 100, "rewritten": 7, "dropped": 8, "unseen": 1}, Late: 2, Errors: 3, Overruns: 4,
				Kernel: &Kernel{Waiting: 5, Dropped: 6, UserDropped: 7}},
			{Num: 2101, Packets: map[string]uint64{"accepted": 200, "unseen": 0}},
		},
		EventsLost: 8, ConntrackDumps: 13, Panics: 9,
		Stores: []Store{{"log", 30, 1, 2}, {"trail", 29, 3, 4}},
	}}
	f.acks.Observe(0.0002)
	return f
}

func (f *fake) Numbers() Numbers {
	f.asked.Add(1)
	f.most.Store(max(f.most.Load(), f.asking.Add(1)))
	defer f.asking.Add(-1)
	if f.wait != nil {
		<-f.wait
	}
	return f.numbers
}

func (f *fake) Acknowledgements() prometheus.Collector { return f.acks }

func registered(t testing.TB, f *fake) *prometheus.Registry {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	for _, c := range []prometheus.Collector{newCollector(f, Build{"1.2.3", "abcdef", "go1.26"}), f.acks} {
		if err := r.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(registered(t, newFake()))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// values are all samples but the histogram's, as "name label=value …".
func values(t testing.TB, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "ftpinhole_")
			for _, l := range m.GetLabel() {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				all[name] = m.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				all[name] = m.GetGauge().GetValue()
			}
		}
	}
	return all
}

func TestValues(t *testing.T) {
	got := values(t, registered(t, newFake()))
	want := map[string]float64{
		"build_info commit=abcdef goversion=go1.26 version=1.2.3": 1,
		"start_time_seconds": 1_790_000_000.25, "ready": 1, "table_present": 1, "table_rebuilt_total": 2,
		"conntrack_events_lost_total": 8, "conntrack_dumps_total": 13, "panics_total": 9,
		"sessions": 4, "half_open_sessions": 1, "pinholes": 2, "data_connections": 3,
		"pinholes_opened_total": 10, "pinholes_used_total": 9,
		"packets_total queue=2100 verdict=accepted": 100, "packets_total queue=2100 verdict=rewritten": 7, "packets_total queue=2100 verdict=dropped": 8, "packets_total queue=2100 verdict=unseen": 1,
		"packets_total queue=2101 verdict=accepted": 200, "packets_total queue=2101 verdict=unseen": 0,
		"verdict_errors_total queue=2100 reason=late": 2, "verdict_errors_total queue=2100 reason=error": 3,
		"verdict_errors_total queue=2101 reason=late": 0, "verdict_errors_total queue=2101 reason=error": 0,
		"netlink_overruns_total queue=2100": 4, "netlink_overruns_total queue=2101": 0,
		"queue_length queue=2100":                                   5,
		"queue_dropped_packets_total queue=2100 reason=queue_full":  6,
		"queue_dropped_packets_total queue=2100 reason=socket_full": 7,
		"audit_records_written_total store=log":                     30, "audit_records_written_total store=trail": 29,
		"audit_records_buffered store=log": 2, "audit_records_buffered store=trail": 4,
		"audit_records_lost_total store=log": 1, "audit_records_lost_total store=trail": 3,
	}
	for _, r := range conntrack.CloseReasons() {
		want["pinholes_closed_total reason="+string(r)] = map[conntrack.Reason]float64{conntrack.Finished: 7, conntrack.Blocked: 1}[r]
	}
	for _, r := range denyReasons() {
		want["pinholes_refused_total reason="+string(r)] = map[conntrack.Reason]float64{conntrack.KernelError: 5, "foreign_address": 6}[r]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is not known is absent, not 0.
func TestUnknown(t *testing.T) {
	f := newFake()
	f.numbers.Held, f.numbers.Ready, f.numbers.TablePresent = nil, false, false
	got := values(t, registered(t, f))
	for name := range got {
		for _, gone := range []string{"sessions", "half_open_sessions", "pinholes", "data_connections", "queue_length queue=2101"} {
			if name == gone {
				t.Errorf("%s is there", name)
			}
		}
	}
	if got["ready"] != 0 || got["table_present"] != 0 {
		t.Errorf("ready %v, table %v, want 0", got["ready"], got["table_present"])
	}
}

// start serves f at an address until the test ends.
func start(t *testing.T, at string, f *fake) net.Addr {
	t.Helper()
	s, err := Listen(at, f, Build{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s.listener.Addr()
}

// get asks at an address.
func get(t *testing.T, method string, at net.Addr, path string) (code int, body string) {
	t.Helper()
	client := http.Client{Timeout: patience.Limit, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, at.Network(), at.String())
		},
	}}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://daemon"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

func TestServe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "m.sock")
	for _, at := range []string{"127.0.0.1:0", "unix:" + path} {
		f := newFake()
		addr := start(t, at, f)
		if code, body := get(t, "GET", addr, "/metrics"); code != 200 || !strings.Contains(body, "\nftpinhole_ready 1\n") ||
			!strings.Contains(body, "\nftpinhole_acknowledgement_seconds_bucket{le=\"0.00025\"} 1\n") || strings.Contains(body, "\ngo_") {
			t.Errorf("%s: %d\n%s", at, code, body)
		}
		if code, body := get(t, "GET", addr, "/"); code != 200 || !strings.Contains(body, "/metrics") {
			t.Errorf("%s: the page at /: %d %q", at, code, body)
		}
		for request, want := range map[string]int{"POST /metrics": 405, "DELETE /": 405, "GET /metrics/x": 404, "GET /debug/pprof/": 404} {
			method, target, _ := strings.Cut(request, " ")
			if code, _ := get(t, method, addr, target); code != want {
				t.Errorf("%s: %s: %d, want %d", at, request, code, want)
			}
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v (%v)", st.Mode(), err)
	}
	if _, err := Listen("unix:"+path, newFake(), Build{}, quiet); !errors.Is(err, socket.ErrInUse) || !strings.Contains(err.Error(), "--metrics") {
		t.Errorf("a second one on the same socket: %v", err)
	}
}

func TestAddressInUse(t *testing.T) {
	addr := start(t, "127.0.0.1:0", newFake())
	if _, err := Listen(addr.String(), newFake(), Build{}, quiet); err == nil || !strings.Contains(err.Error(), "name another address (metrics, --metrics)") {
		t.Errorf("a second one: %v", err)
	}
}

// However many ask, the daemon is asked by one at a time, and all are answered.
func TestOneQuestionAtATime(t *testing.T) {
	f := newFake()
	f.wait = make(chan struct{})
	addr := start(t, "127.0.0.1:0", f)
	codes := make(chan int)
	for range 8 {
		go func() {
			code, _ := get(t, "GET", addr, "/metrics")
			codes <- code
		}()
	}
	for f.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(f.wait)
	for range 8 {
		if code := <-codes; code != 200 {
			t.Errorf("answer %d", code)
		}
	}
	if n := f.most.Load(); n != 1 {
		t.Errorf("the daemon was asked by %d at once", n)
	}
}

// A client that says nothing, sends without end or does not read costs its
// connection, and others are answered.
func TestHostileClients(t *testing.T) {
	addr := start(t, "127.0.0.1:0", newFake())
	var hostile []net.Conn
	for i := range maxConns - 1 {
		c, err := net.Dial(addr.Network(), addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		hostile = append(hostile, c)
		switch i % 3 {
		case 1: // never ends its header
			_, err = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 2*maxHeader))
		case 2: // never reads
			err = c.(*net.TCPConn).SetReadBuffer(1)
			for range 100 {
				if err == nil {
					_, err = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
				}
			}
		}
		if err != nil && i%3 != 1 { // it may have been hung up on by now
			t.Fatal(err)
		}
	}
	m := patience.NewMeter()
	if code, _ := get(t, "GET", addr, "/metrics"); code != 200 {
		t.Errorf("an honest client gets %d", code)
	}
	m.Within(t, 3*time.Second, "an honest client has its answer")
	for i, c := range hostile {
		if err := c.SetReadDeadline(patience.Deadline()); err != nil {
			t.Fatal(err)
		}
		if i%3 == 2 {
			continue // its answers wait for it in the socket
		}
		if _, err := io.Copy(io.Discard, bufio.NewReader(c)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("client %d was not hung up on", i)
		}
	}
}

// A bug in a number costs the scrape, not the daemon.
func TestPanic(t *testing.T) {
	f := newFake()
	f.numbers.Stores[0].Name = "\xff" // no label can have this value
	addr := start(t, "127.0.0.1:0", f)
	if code, body := get(t, "GET", addr, "/metrics"); code != 500 {
		t.Errorf("answer %d: %s", code, body)
	}
	f.numbers.Stores[0].Name = "log"
	if code, _ := get(t, "GET", addr, "/metrics"); code != 200 {
		t.Errorf("the next answer: %d", code)
	}
}
