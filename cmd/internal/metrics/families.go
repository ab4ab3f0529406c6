package metrics

import (
	"strconv"
	"time"

	"ftpinhole/conntrack"
	"ftpinhole/rules"

	"github.com/prometheus/client_golang/prometheus"
)

func gauge(name, help string, read func(*Numbers, put), labels ...string) family {
	return family{prometheus.NewDesc("ftpinhole_"+name, help, labels, nil), prometheus.GaugeValue, read}
}

func counter(name, help string, read func(*Numbers, put), labels ...string) family {
	return family{prometheus.NewDesc("ftpinhole_"+name, help, labels, nil), prometheus.CounterValue, read}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func general(b Build) []family {
	return []family{
		gauge("build_info", "Always 1; the labels say which program this is.",
			func(_ *Numbers, put put) { put(1, b.Version, b.Commit, b.Go) }, "version", "commit", "goversion"),
		gauge("start_time_seconds", "When the daemon started, in seconds since 1970.",
			func(n *Numbers, put put) { put(seconds(n.Started)) }),
		gauge("ready", "1 if sessions are read and pinholes opened, else 0.",
			func(n *Numbers, put put) { put(truth(n.Ready)) }),
		gauge("table_present", "1 if table inet ftpinhole is in the kernel as it should be, else 0.",
			func(n *Numbers, put put) { put(truth(n.TablePresent)) }),
		counter("table_rebuilt_total", "Times that table inet ftpinhole was taken away or changed, and made again.",
			func(n *Numbers, put put) { put(float64(n.TableRebuilt)) }),
		counter("conntrack_events_lost_total", "Times that news of connections got lost; a dump of conntrack makes up for it.",
			func(n *Numbers, put put) { put(float64(n.EventsLost)) }),
		counter("conntrack_dumps_total", "Dumps of conntrack, for news of connections that may have been lost.",
			func(n *Numbers, put put) { put(float64(n.ConntrackDumps)) }),
		counter("panics_total", "Bugs in the packet path; the packet went on unchanged.",
			func(n *Numbers, put put) { put(float64(n.Panics)) }),
	}
}

// held is a gauge that is missing while a shard does not answer.
func held(name, help string, of func(*conntrack.Counts) int) family {
	return gauge(name, help, func(n *Numbers, put put) {
		if n.Held != nil {
			put(float64(of(n.Held)))
		}
	})
}

func pinholes() []family {
	return []family{
		held("sessions", "Control sessions that are followed.", func(h *conntrack.Counts) int { return h.Sessions }),
		held("half_open_sessions", "Control connections whose handshake is not completed.", func(h *conntrack.Counts) int { return h.HalfOpen }),
		held("pinholes", "Pinholes that wait for their connection.", func(h *conntrack.Counts) int { return h.Pinholes }),
		held("data_connections", "Data connections that came through a pinhole and have not ended.", func(h *conntrack.Counts) int { return h.Data }),
		counter("pinholes_opened_total", "Pinholes that the kernel acknowledged.",
			func(n *Numbers, put put) { put(float64(n.Opened)) }),
		counter("pinholes_used_total", "Pinholes whose connection came.",
			func(n *Numbers, put put) { put(float64(n.Used)) }),
		counter("pinholes_closed_total", "Pinholes closed, by the audit log's reason.",
			func(n *Numbers, put put) { byReason(n.Closed, conntrack.CloseReasons(), put) }, "reason"),
		counter("pinholes_refused_total", "Negotiations refused, by the audit log's reason.",
			func(n *Numbers, put put) { byReason(n.Denied, denyReasons(), put) }, "reason"),
	}
}

// byReason puts a value for each reason there is, so that the first event of a
// kind is a change.
func byReason(counts map[string]uint64, reasons []conntrack.Reason, put put) {
	for _, r := range reasons {
		put(float64(counts[string(r)]), string(r))
	}
}

func denyReasons() []conntrack.Reason {
	all := conntrack.DenyReasons()
	for _, r := range rules.Reasons() {
		all = append(all, conntrack.Reason(r))
	}
	return all
}

func queues() []family {
	return []family{
		counter("packets_total", "Packets of control connections, by what was done with them.",
			func(n *Numbers, put put) {
				for _, q := range n.Queues {
					for verdict, count := range q.Packets {
						put(float64(count), q.name(), verdict)
					}
				}
			}, "queue", "verdict"),
		counter("verdict_errors_total", "Verdicts that the kernel waited for no longer, and other errors of the queue's socket.",
			func(n *Numbers, put put) {
				for _, q := range n.Queues {
					put(float64(q.Late), q.name(), "late")
					put(float64(q.Errors), q.name(), "error")
				}
			}, "queue", "reason"),
		counter("netlink_overruns_total", "Times that the queue's socket was full, and packets could not be read.",
			func(n *Numbers, put put) {
				for _, q := range n.Queues {
					put(float64(q.Overruns), q.name())
				}
			}, "queue"),
		gauge("queue_length", "Packets that wait in the kernel for a verdict.",
			func(n *Numbers, put put) {
				for _, q := range n.Queues {
					if q.Kernel != nil {
						put(float64(q.Kernel.Waiting), q.name())
					}
				}
			}, "queue"),
		counter("queue_dropped_packets_total", "Packets that the kernel dropped, for the queue or its reader's socket was full.",
			func(n *Numbers, put put) {
				for _, q := range n.Queues {
					if q.Kernel != nil {
						put(float64(q.Kernel.Dropped), q.name(), "queue_full")
						put(float64(q.Kernel.UserDropped), q.name(), "socket_full")
					}
				}
			}, "queue", "reason"),
	}
}

func (q *Queue) name() string { return strconv.Itoa(int(q.Num)) }

func records() []family {
	return []family{
		counter("audit_records_written_total", "Audit records that were written.",
			func(n *Numbers, put put) {
				for _, s := range n.Stores {
					put(float64(s.Written), s.Name)
				}
			}, "store"),
		gauge("audit_records_buffered", "Audit records that wait for the disk.",
			func(n *Numbers, put put) {
				for _, s := range n.Stores {
					put(float64(s.Buffered), s.Name)
				}
			}, "store"),
		counter("audit_records_lost_total", "Audit records that were never written.",
			func(n *Numbers, put put) {
				for _, s := range n.Stores {
					put(float64(s.Lost), s.Name)
				}
			}, "store"),
	}
}
