package main

import (
	"fmt"
	"io"
	"time"

	"ftpinhole/cmd/internal/control"
	"ftpinhole/conntrack"
)

// expectEvents shows pinholes as conntrack -E expect does expectations: new
// when it is opened, destroyed when its connection came or when it is closed.
type expectEvents struct {
	ends map[string]time.Time // of the pinholes that were seen to be opened
}

func newExpectEvents() *expectEvents { return &expectEvents{make(map[string]time.Time)} }

// maxExpected is how many pinholes are remembered for the time that is left
// when they go; it is 0 for others.
const maxExpected = 65536

func (e *expectEvents) show(w io.Writer, ev control.Event) error {
	if ev.Skipped > 0 {
		return nil
	}
	r, err := ev.Record()
	if err != nil {
		return err
	}
	word, left, ok := e.happened(&r)
	if !ok {
		return nil
	}
	line, err := expectation{
		left: left, src: r.Pinhole.Src, fromPort: r.Pinhole.FromPort, dst: r.Pinhole.Dst,
		client: r.Client, server: r.Server,
	}.line()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%9s %s\n", word, line)
	return err
}

// happened says which event of an expectation the record is, if any, and how
// much of the expectation's time is left then.
func (e *expectEvents) happened(r *conntrack.Record) (word string, left time.Duration, ok bool) {
	id := r.Pinhole.ID
	switch r.Action {
	case conntrack.Open:
		if len(e.ends) >= maxExpected { // their ends were skipped
			clear(e.ends)
		}
		e.ends[id] = r.Time.Add(r.Pinhole.Timeout)
		return "[NEW]", r.Pinhole.Timeout, true
	case conntrack.Close:
		if r.Pinhole.SrcPort != 0 { // its use was the end of the expectation
			return "", 0, false
		}
	case conntrack.Use:
	default:
		return "", 0, false
	}
	if end, seen := e.ends[id]; seen {
		left = max(0, end.Sub(r.Time))
	}
	delete(e.ends, id)
	return "[DESTROY]", left, true
}
