package parser

// MaxLine is the usual limit of a LineReader in bytes, PATH_MAX of Linux: no
// line that names an endpoint comes near it, and a path cannot be longer.
const MaxLine = 4096

// Line is one line of a control connection.
type Line struct {
	// Text is the line without telnet commands, NULs and line end. It is valid
	// until the LineReader's next call.
	Text []byte
	// Offset is where the line's first raw byte stands in all that was fed.
	Offset uint64
	// RawLen counts the line's raw bytes, line end included. Of an overlong line
	// it counts those up to the one that was too many.
	RawLen int
	// Overlong says that the line has more than the limit of raw bytes, and that
	// Text is only its beginning. The rest is skipped.
	Overlong bool
	// Cut says that bytes are missing before this one (Resync): it may be the end
	// of a line.
	Cut bool
	// Plain says that nothing was stripped: the raw bytes are Text and, unless
	// the line is overlong, any number of CR and an LF.
	Plain bool
}

// LineReader cuts one direction of a control connection into lines, whatever
// pieces the bytes come in. A line ends with LF (RFC 959 asks for CR LF;
// many programs send and take LF alone). NUL, and CR NUL, which is telnet's bare
// carriage return (RFC 854), are dropped. It holds at most one line, and
// allocates only while its buffer grows to the longest line so far.
//
// The zero value is ready to use with the limit MaxLine.
type LineReader struct {
	limit  int
	buf    []byte
	telnet telnet
	next   uint64 // offset of the next byte to come
	start  uint64 // offset of the line's first byte
	odd    bool   // something of this line was stripped
	skip   bool   // this line is not wanted
	cut    bool   // this line may have begun before Resync
	given  bool   // buf holds the line that was returned last
}

// NewLineReader makes a reader for lines of at most limit bytes before the LF,
// counted on the wire. 0 means MaxLine.
func NewLineReader(limit int) *LineReader {
	return &LineReader{limit: limit}
}

// Next takes bytes up to the end of the first line and gives that line and the
// bytes behind it. Without a line it has taken all of b. It is called until
// there is no line:
//
//	for line, rest, ok := r.Next(b); ok; line, rest, ok = r.Next(rest) {
//
// An overlong line is given as soon as it is too long, as its end may never
// come.
func (r *LineReader) Next(b []byte) (line Line, rest []byte, ok bool) {
	if r.given {
		r.buf, r.given = r.buf[:0], false
	}
	limit := uint64(MaxLine)
	if r.limit > 0 {
		limit = uint64(r.limit)
	}
	for i, c := range b {
		text := r.telnet.text(c)
		r.next++
		switch {
		case text && c == '\n':
			if !r.skip {
				return r.give(false), b[i+1:], true
			}
			r.begin()
		case r.skip:
		case r.next-r.start > limit:
			line = r.give(true)
			r.skip = true
			return line, b[i+1:], true
		case text && c != 0:
			r.buf = append(r.buf, c)
		default:
			r.odd = true
			if n := len(r.buf); text && n > 0 && r.buf[n-1] == '\r' {
				r.buf = r.buf[:n-1]
			}
		}
	}
	return Line{}, nil, false
}

// give makes the line of what is held.
func (r *LineReader) give(overlong bool) Line {
	l := Line{
		Text:     r.buf,
		Offset:   r.start,
		RawLen:   int(r.next - r.start),
		Overlong: overlong,
		Plain:    !r.odd,
		Cut:      r.cut,
	}
	for n := len(l.Text); !overlong && n > 0 && l.Text[n-1] == '\r'; n-- {
		l.Text = l.Text[:n-1]
	}
	r.begin()
	r.given = true
	return l
}

// begin starts a line at the next byte.
func (r *LineReader) begin() {
	r.start = r.next
	r.odd, r.skip, r.cut = false, false, false
}

// MidLine says whether the next byte continues a line, wanted or not.
func (r *LineReader) MidLine() bool { return r.skip || r.cut || r.next != r.start }

// Resynced reports whether Resync was called and nothing was fed since.
func (r *LineReader) Resynced() bool { return r.cut && r.next == r.start }

// Partial gives what there is of a line that has not ended: its text, which may
// end with CR, and its raw bytes so far. There is none between lines, while
// a line is skipped, and of one that is cut.
func (r *LineReader) Partial() (line Line, ok bool) {
	if r.skip || r.cut || r.next == r.start {
		return Line{}, false
	}
	return Line{Text: r.buf, Offset: r.start, RawLen: int(r.next - r.start), Plain: !r.odd}, true
}

// Resync forgets the line that is held, since bytes are missing: what is fed next up
// to a line end is given as a line that is Cut. Offsets go on counting what is fed.
func (r *LineReader) Resync() {
	r.buf, r.given = r.buf[:0], false
	r.telnet = telnet{}
	r.begin()
	r.cut = true
}

// Reset makes the reader as new; it keeps its limit and its buffer.
func (r *LineReader) Reset() {
	*r = LineReader{limit: r.limit, buf: r.buf[:0]}
}
