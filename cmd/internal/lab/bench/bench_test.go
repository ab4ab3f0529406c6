package bench

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/lab/load"
	"ftpinhole/cmd/internal/patience"
)

var (
	rounds  = flag.Int("rounds", 1, "how often each case is measured with each gateway")
	seconds = flag.Float64("seconds", 1, "how long each of these runs takes")
	all     = flag.Bool("all", false, "all modes, both families, also 128 clients")
	out     = flag.String("out", "", "file for the table")
)

// role makes the test binary another program, which runs in a namespace of a lab.
const role = "FTPINHOLE_BENCH_ROLE"

func TestMain(m *testing.M) {
	what, arg, _ := strings.Cut(os.Getenv(role), " ")
	switch what {
	case "":
		os.Exit(lab.Main(m))
	case "server":
		end(serve(arg))
	case "client":
		end(run(arg))
	case "reader":
		end(load.Accept(queue))
	}
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// queue is what the accept-all reader reads.
const queue = 7

func serve(ports string) error {
	n, err := strconv.Atoi(ports)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", ":21")
	if err != nil {
		return err
	}
	return (&load.Server{Ports: n}).Serve(l)
}

func run(options string) error {
	var o load.Options
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(load.Run(context.Background(), o))
}

// as prepares the test binary to play a role in a namespace. ip becomes it.
func as(b *testing.B, l *lab.Lab, where lab.Where, what string) *exec.Cmd {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", l.Name+"-"+string(where), self)
	cmd.Env = append(os.Environ(), role+"="+what)
	cmd.Stderr = os.Stderr
	return cmd
}

// start starts a role that ends with the benchmark.
func start(b *testing.B, l *lab.Lab, where lab.Where, what string) *exec.Cmd {
	b.Helper()
	cmd := as(b, l, where, what)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	return cmd
}

// startServer starts the load's server, and waits for it.
func startServer(b *testing.B, l *lab.Lab, ports int) {
	b.Helper()
	start(b, l, lab.Server, fmt.Sprintf("server %d", ports))
	patience.Until(b, "the server answers", func() bool {
		c, err := l.Dial(lab.Server, netip.Addr{}, netip.AddrPortFrom(lab.Address(lab.Server, 4), 21), time.Second)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
	// A client's port may be used again before the minute of TIME_WAIT is over.
	for _, where := range []lab.Where{lab.Client, lab.Server} {
		if _, err := l.Exec(where, "sysctl", "-q", "-w", "net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=10000 65000"); err != nil {
			b.Fatal(err)
		}
	}
}

// clients runs the load's clients.
func clients(b *testing.B, l *lab.Lab, o load.Options) (r load.Result, err error) {
	b.Helper()
	options, err := json.Marshal(o)
	if err != nil {
		return r, err
	}
	text, err := as(b, l, lab.Client, "client "+string(options)).Output()
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}

// gateway is a lab with one of the variants.
type gateway struct {
	name string
	lab  *lab.Lab
	pid  int // of the program that reads the queue; 0: there is none
}

const (
	kernelHelper = "kernel helper"
	openFirewall = "open firewall"
	acceptAll    = "accept-all reader"
	ours         = "ftpinhole"
)

// gateways makes a lab for each variant.
func gateways(b *testing.B) []*gateway {
	var list []*gateway
	for _, name := range []string{kernelHelper, openFirewall, acceptAll, ours} {
		l := lab.New(b)
		g := &gateway{name: name, lab: l}
		l.Firewall(map[string]string{kernelHelper: "kernel-helper", openFirewall: "open", acceptAll: "open", ours: "accept-line"}[name])
		startServer(b, l, 0)
		switch name {
		case acceptAll:
			g.pid = start(b, l, lab.Gateway, "reader").Process.Pid
			for _, program := range []string{"iptables", "ip6tables"} {
				for _, port := range []string{"--dport", "--sport"} {
					if _, err := l.Exec(lab.Gateway, program, "-A", "FORWARD", "-p", "tcp", port, "21", "-j", "NFQUEUE", "--queue-num", strconv.Itoa(queue), "--queue-bypass"); err != nil {
						b.Fatal(err)
					}
				}
			}
		case ours:
			g.pid = l.StartDaemon().PID()
		}
		list = append(list, g)
	}
	return list
}

// cpu is what a process has used so far.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	if pid == 0 {
		return 0
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		b.Fatalf("process %d has no threads (%v)", pid, err)
	}
	var sum time.Duration
	for _, path := range tasks {
		var ns int64
		text, err := os.ReadFile(path)
		if err == nil {
			_, err = fmt.Sscan(string(text), &ns)
		}
		if err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(ns)
	}
	return sum
}

// memory is the process's resident memory in KiB.
func memory(b *testing.B, pid int) int {
	b.Helper()
	if pid == 0 {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	var kib int
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Fatal(err)
	}
	return kib
}

// measure is one run of a case.
func (g *gateway) measure(b *testing.B, mode string, family, n int) Figures {
	b.Helper()
	before := cpu(b, g.pid)
	r, err := clients(b, g.lab, load.Options{
		Server: netip.AddrPortFrom(lab.Address(lab.Server, family), 21), Mode: mode, Clients: n,
		For: time.Duration(*seconds * float64(time.Second)), Session: 10, Size: 1024,
	})
	if err != nil {
		b.Fatal(err)
	}
	used := cpu(b, g.pid) - before
	if r.Transfers == 0 {
		b.Fatalf("%s: no %s transfer succeeds: %s", g.name, mode, r.Failure)
	}
	if r.Failures > 0 {
		b.Logf("%s, %s, %d clients: %d failures: %s", g.name, mode, n, r.Failures, r.Failure)
	}
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	return Figures{
		Rate:   float64(r.Transfers) / r.Seconds,
		NOOP50: us(load.Quantile(r.NOOP, 0.5)), NOOP99: us(load.Quantile(r.NOOP, 0.99)),
		Data50: us(load.Quantile(r.Data, 0.5)), Data99: us(load.Quantile(r.Data, 0.99)),
		CPU: us(used) / float64(r.Transfers), Failures: r.Failures, Memory: memory(b, g.pid),
	}
}

// BenchmarkGateways measures all gateways, in turns.
func BenchmarkGateways(b *testing.B) {
	modes, numbers := []string{"PASV", "PORT"}, []int{1, 16}
	if *all {
		modes, numbers = []string{"PASV", "EPSV", "PORT", "EPRT"}, []int{1, 16, 128}
	}
	list := gateways(b)
	report := Report{Variants: []string{kernelHelper, openFirewall, acceptAll, ours}}
	for b.Loop() {
		for round := range *rounds {
			for _, mode := range modes {
				for _, family := range []int{4, 6} {
					if family == 6 && (!*all || mode == "PASV" || mode == "PORT") {
						continue
					}
					for _, n := range numbers {
						what := fmt.Sprintf("%s, IPv%d, %d at once", mode, family, n)
						for i := range list { // each round begins with another
							g := list[(i+round)%len(list)]
							report.Add(what, g.name, g.measure(b, mode, family, n))
						}
					}
				}
			}
		}
	}
	text := report.Markdown()
	b.Log("\n" + text)
	if *out != "" {
		if err := os.WriteFile(*out, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}
