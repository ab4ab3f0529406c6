package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"io"
	"net/netip"
	"strconv"
	"time"

	"ftpinhole/cmd/internal/audit"
	"ftpinhole/conntrack"
)

// printRecords prints records in one of the formats; json is an array, and its
// elements are what jsonl has on each line and the audit log too.
func printRecords(w io.Writer, format string, records []conntrack.Record) error {
	out := bufio.NewWriter(w)
	switch format {
	case "json":
		printArray(out, records)
	case "jsonl":
		var line []byte
		for i := range records {
			line = audit.Append(line[:0], &records[i])
			out.Write(line)
		}
	case "csv":
		printCSV(out, records)
	default:
		printTable(out, records)
	}
	return out.Flush() // has the first error of all
}

func printArray(w *bufio.Writer, records []conntrack.Record) {
	w.WriteByte('[')
	var line []byte
	for i := range records {
		if i > 0 {
			w.WriteByte(',')
		}
		line = audit.Append(line[:0], &records[i])
		w.Write(bytes.TrimSuffix(line, []byte{'\n'}))
	}
	w.WriteString("]\n")
}

func printTable(w io.Writer, records []conntrack.Record) {
	rows := [][]string{{"TIME", "ACTION", "REASON", "CLIENT", "SERVER", "USER", "COMMAND", "FROM", "TO", "BYTES", "OPEN FOR", "ID", "TRANSFER", "PATH"}}
	for i := range records {
		r := &records[i]
		line := cells(r.Time.UTC().Format("2006-01-02T15:04:05.000Z"), actionWord(r.Action), string(r.Reason)+times(r.Count),
			endpoint(r.Client), endpoint(r.Server), r.User, r.Command, from(&r.Pinhole), endpoint(r.Pinhole.Dst),
			bytesOf(r), openFor(r), r.Pinhole.ID, r.Transfer, r.Path)
		rows = append(rows, shorter(line, 5, 13))
	}
	_ = printAligned(w, rows, 9) // w keeps its error
}

func times(count int) string {
	if count < 2 {
		return ""
	}
	return "×" + strconv.Itoa(count)
}

func endpoint(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// from is where a pinhole's connection comes from, with the port if it came.
func from(p *conntrack.Pinhole) string {
	switch {
	case !p.Src.IsValid():
		return ""
	case p.SrcPort == 0:
		return p.Src.String()
	}
	return netip.AddrPortFrom(p.Src, p.SrcPort).String()
}

// bytesOf are the bytes of both directions, if they were counted.
func bytesOf(r *conntrack.Record) string {
	if !r.Counted {
		return ""
	}
	return strconv.FormatUint(r.BytesToServer+r.BytesToClient, 10)
}

func openFor(r *conntrack.Record) string {
	if r.Action != conntrack.Close && r.Action != conntrack.End || r.Reason == conntrack.Lost {
		return ""
	}
	return r.Duration.Round(time.Millisecond).String()
}

var csvHeader = []string{
	"timestamp", "action", "reason", "flow_id", "src_ip", "src_port", "dest_ip", "dest_port", "user", "mode", "command", "transfer", "path",
	"id", "pinhole_src_ip", "pinhole_src_port", "pinhole_dest_ip", "pinhole_dest_port", "timeout_s",
	"bytes_toserver", "bytes_toclient", "duration_s", "count", "pinholes", "denied", "observed", "reconstructed",
	"nat_src_ip", "nat_dest_ip", "nat_dest_port",
	"backend", "from_port", "encrypted", "conflicts",
}

func printCSV(w io.Writer, records []conntrack.Record) {
	c := csv.NewWriter(w)
	c.Write(csvHeader)
	for i := range records {
		c.Write(csvRow(&records[i]))
	}
	c.Flush()
}

func csvRow(r *conntrack.Record) []string {
	p := &r.Pinhole
	counted := [2]string{}
	if r.Counted {
		counted = [2]string{strconv.FormatUint(r.BytesToServer, 10), strconv.FormatUint(r.BytesToClient, 10)}
	}
	return []string{
		r.Time.UTC().Format("2006-01-02T15:04:05.000000Z"), actionWord(r.Action), audit.CSVText(string(r.Reason)), strconv.FormatUint(r.FlowID, 10),
		addr(r.Client.Addr()), number(r.Client.Port()), addr(r.Server.Addr()), number(r.Server.Port()),
		audit.CSVText(r.User), r.Mode.String(), audit.CSVText(r.Command), audit.CSVText(r.Transfer), audit.CSVText(r.Path),
		audit.CSVText(p.ID), addr(p.Src), number(p.SrcPort), addr(p.Dst.Addr()), number(p.Dst.Port()), seconds(p.Timeout),
		counted[0], counted[1], seconds(r.Duration), number(r.Count), number(r.Pinholes), number(r.Denied), truth(r.Observed), truth(r.Reconstructed),
		addr(p.SeenAs), addr(p.Outside.Addr()), number(p.Outside.Port()),
		audit.CSVText(p.Backend), number(p.FromPort), truth(r.Encrypted), number(r.Conflicts),
	}
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// number is empty for 0, which means unknown or none.
func number[T int | uint16](n T) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(int(n))
}

func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}

func truth(b bool) string {
	if !b {
		return ""
	}
	return "true"
}
