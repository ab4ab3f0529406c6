package conntrack

import (
	"bytes"
	"slices"

	"ftpinhole/parser"
)

// maxWithheld is how much of a line is withheld. No line that a program sends
// and that names an endpoint is as long, and it still fits a segment.
const maxWithheld = 512

// take takes bytes that are read next.
func (q *sequence) take(b []byte) {
	q.last = b[len(b)-1]
	if w := q.Withheld; w != nil {
		w.Bytes = append(w.Bytes, b[:min(len(b), maxWithheld+1)]...)
	}
}

// lineOver ends a line. If it was withheld and is not rewritten, it goes on as
// it came.
func (q *sequence) lineOver() {
	q.yield()
	q.tooLate = ""
}

// yield lets go on what is withheld. What the sender was told to have arrived
// becomes an edit, since it will not come again; one byte more is in it, if there
// is one, so that a packet carries it that does come again.
func (q *sequence) yield() {
	if back := q.unwithheld(); back != nil {
		q.Edits = append(q.Edits, *back)
	}
	q.Withheld, q.told = nil, 0
}

// unwithheld is the edit that lets go on what is withheld, if one is needed.
func (q *sequence) unwithheld() *Edit {
	w := q.Withheld
	if w == nil || q.told == 0 {
		return nil
	}
	b := slices.Clone(w.Bytes[:min(int(q.told)+1, len(w.Bytes))])
	return &Edit{Seq: w.Seq, Length: uint32(len(b)), Bytes: b, Told: q.told, Last: w.Last}
}

// withhold keeps back the line that a direction is in the midst of, if it may
// become one that is to be rewritten: what was sent on cannot be changed.
func (s *session) withhold(d *direction, q *sequence) {
	line, ok := d.lines.Partial()
	ok = ok && s.guarded(d)
	if w := q.Withheld; w != nil {
		if !ok || len(w.Bytes) > maxWithheld {
			q.yield()
			return
		}
		s.nat.keeps = true
		return
	}
	// What the receiver may have already is no use to keep from it: it would
	// acknowledge that, and what the sender was told to have arrived beside.
	if !ok || q.unsure || !line.Plain || q.tooLate != "" || q.waiting(&d.stream) >= maxUnacked {
		return
	}
	start := s.mayName(d, line.Text)
	if start < 0 || len(line.Text)-start > maxWithheld {
		return
	}
	at := d.next - uint32(len(line.Text)-start)
	if before(at, q.left) {
		return
	}
	q.Withheld = &Withheld{Seq: at, Bytes: slices.Clone(line.Text[start:]), Last: line.Text[start-1]}
	s.nat.keeps = true
}

// mayName says where in the beginning of a line the text begins that names an
// endpoint, if the line may yet open something; else it is negative.
func (s *session) mayName(d *direction, text []byte) int {
	if d == &s.up {
		cmd := parser.ParseCommand(text)
		names := cmd.Verb == parser.PORT || cmd.Verb == parser.EPRT
		if !names || len(cmd.Arg) == 0 || s.forbidden(s.step == inStep, s.ftp || !s.joined) != "" {
			return -1
		}
		return argument(text, cmd)
	}
	asker := -1
	switch {
	case len(text) < 5:
	case bytes.HasPrefix(text, []byte("227 ")):
		asker = s.asker(227)
	case bytes.HasPrefix(text, []byte("229 ")):
		asker = s.asker(229)
	}
	// Of a joined session this very reply is the proof that it speaks FTP.
	if asker < 0 || !s.outstanding[asker].trusted || s.forbidden(true, s.ftp || s.joined) != "" {
		return -1
	}
	return 4
}

// argument says where a command's argument begins in its line.
func argument(text []byte, cmd parser.Command) int {
	return len(bytes.TrimRight(text, " \t")) - len(cmd.Arg)
}
