package parser

// Reply is a server's complete reply (RFC 959 4.2).
type Reply struct {
	// Code is 100 to 699. Those from 600 (RFC 2228: 631, 632, 633) hide
	// their meaning in a Text that only the client can open.
	Code int
	// Text is the last line behind the code and its blank; it aliases that line.
	Text []byte
	// MultiLine says that there were lines before the last one.
	MultiLine bool
}

// ReplyReader puts the lines of a server together to replies. A line "ddd-"
// opens a block that only a line "ddd " with the same three digits, or these
// alone, ends; whatever stands between is text, even if it looks like a
// reply (RFC 959 4.2). The zero value is ready to use.
type ReplyReader struct {
	block   int // code of the block that is open, or 0
	garbage bool
}

// Line takes the next line, without its line end. Done says that it is the
// last line of a reply.
func (r *ReplyReader) Line(text []byte) (rep Reply, done bool) {
	code, sep := head(text)
	inBlock := r.block != 0
	r.garbage = false
	switch {
	case inBlock && code != r.block:
		return Reply{}, false
	case code == 0:
		r.garbage = true
		return Reply{}, false
	case sep == '-':
		r.block = code
		return Reply{}, false
	}
	r.block = 0
	return Reply{Code: code, Text: text[min(4, len(text)):], MultiLine: inBlock}, true
}

// Overlong takes the beginning of a line that was too long to be held, in the
// place of Line. It is never a reply and never ends a block; it may open one, as
// for that its first four bytes are enough. Lost says that the client has, or
// may have, taken the line for the end of a reply that is missing here, so
// that replies and commands are out of step.
func (r *ReplyReader) Overlong(begin []byte) (lost bool) {
	code, sep := head(begin)
	r.garbage = r.block == 0 && code == 0
	switch {
	case code == 0 || r.block != 0 && code != r.block:
		return false
	case sep == '-':
		r.block = code
		return false
	}
	return true
}

// Garbage says that the last line taken stood outside of a block and is no
// beginning of a reply. Clients skip such lines; a server whose first
// line is one does not speak FTP.
func (r *ReplyReader) Garbage() bool { return r.garbage }

// InBlock says whether a multi-line reply is open.
func (r *ReplyReader) InBlock() bool { return r.block != 0 }

// Reset forgets the open reply.
func (r *ReplyReader) Reset() { *r = ReplyReader{} }

// head reads a reply's code and the separator behind it, blank or hyphen; bare
// digits count as followed by a blank. The code is 0 when the line has none.
func head(text []byte) (code int, sep byte) {
	if len(text) < 3 || text[0] < '1' || text[0] > '6' || !digit(text[1]) || !digit(text[2]) {
		return 0, 0
	}
	sep = ' '
	if len(text) > 3 {
		sep = text[3]
	}
	if sep != ' ' && sep != '-' {
		return 0, 0
	}
	return int(text[0]-'0')*100 + int(text[1]-'0')*10 + int(text[2]-'0'), sep
}
