package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"ftpinhole/cmd/internal/patience"
)

// Record is a line of the audit log, with the fields that the tests look at.
type Record struct {
	Timestamp string `json:"timestamp"`
	EventType string `json:"event_type"`
	FlowID    uint64 `json:"flow_id"`
	SrcIP     string `json:"src_ip"`
	SrcPort   uint16 `json:"src_port"`
	DestIP    string `json:"dest_ip"`
	DestPort  uint16 `json:"dest_port"`
	FTP       struct {
		User     string `json:"user"`
		Mode     string `json:"mode"`
		Command  string `json:"command"`
		Path     string `json:"path"`
		Transfer string `json:"transfer"`
	} `json:"ftp"`
	Pinhole struct {
		ID            string `json:"id"`
		Action        string `json:"action"`
		SrcIP         string `json:"src_ip"`
		DestIP        string `json:"dest_ip"`
		DestPort      uint16 `json:"dest_port"`
		SrcPort       uint16 `json:"src_port"`
		NATSrcIP      string `json:"nat_src_ip"`
		NATDestIP     string `json:"nat_dest_ip"`
		NATDestPort   uint16 `json:"nat_dest_port"`
		Reason        string `json:"reason"`
		Count         int    `json:"count"`
		BytesToServer int    `json:"bytes_toserver"`
		BytesToClient int    `json:"bytes_toclient"`
	} `json:"pinhole"`
	Session struct {
		Action string `json:"action"`
		Reason string `json:"reason"`
	} `json:"session"`

	Raw string `json:"-"` // the whole line
}

// AuditRecords reads the audit log. A line that is not JSON fails the test.
func (d *Daemon) AuditRecords() []Record {
	t := d.lab.t
	t.Helper()
	text, err := os.ReadFile(d.AuditPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var records []Record
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // still being written
		}
		record := Record{Raw: string(line)}
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatalf("audit log: %v in %q", err, line)
		}
		records = append(records, record)
	}
	return records
}

// Pinholes are the records of one action: open, use, close or deny.
func Pinholes(records []Record, action string) []Record {
	var found []Record
	for _, record := range records {
		if record.EventType == "pinhole" && record.Pinhole.Action == action {
			found = append(found, record)
		}
	}
	return found
}

// KernelErrors are the refusals that law 1 excepts: the kernel failed, or did not
// answer for two seconds, as it does not where the machine is starved.
func (d *Daemon) KernelErrors() []Record {
	var found []Record
	for _, record := range Pinholes(d.AuditRecords(), "deny") {
		if record.Pinhole.Reason == "kernel_error" {
			found = append(found, record)
		}
	}
	return found
}

// WaitOpen waits for the record of the one pinhole that leads to a port, and
// returns it: the port is open before the record is in the file.
func (d *Daemon) WaitOpen(t testing.TB, port uint16) Record {
	t.Helper()
	var opened Record
	patience.Until(t, fmt.Sprintf("the pinhole to port %d has its open record", port), func() bool {
		for _, record := range Pinholes(d.AuditRecords(), "open") {
			if record.Pinhole.DestPort == port {
				opened = record
				return true
			}
		}
		return false
	})
	return opened
}

// WaitClosed waits until every pinhole that was opened has been closed, wants
// at least so many of them, and returns all records. Data connections are
// reported at their end, which conntrack may tell a little later.
func (d *Daemon) WaitClosed(t testing.TB, atLeast int) []Record {
	t.Helper()
	var records []Record
	patience.Until(t, "every pinhole has its close record", func() bool {
		records = d.AuditRecords()
		opened := len(Pinholes(records, "open"))
		return opened >= atLeast && opened == len(Pinholes(records, "close"))
	})
	return records
}
