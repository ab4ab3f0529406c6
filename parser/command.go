package parser

// Command is a client's line.
type Command struct {
	Verb Verb
	// Arg is what follows the verb; it aliases the line. A pathname is
	// everything after exactly one blank, since RFC 959 5.3.1 writes
	// <SP> <pathname> and servers take the blanks around a name for a part of
	// it. Other arguments come without the blanks around them: no address,
	// mechanism or user name begins or ends with one.
	Arg []byte
}

// ParseCommand reads a line without its line end. Case, blanks before the verb
// and the number and kind of blanks behind it do not matter. It never fails,
// it only knows less: what is no command, a reply for one, is Unknown, with
// the whole line as its argument.
func ParseCommand(line []byte) Command {
	text := line[blanks(line):]
	var name [longest]byte
	n := 0
	for n < len(text) && !blank(text[n]) {
		if n == longest {
			return Command{Arg: line}
		}
		name[n] = upper(text[n])
		n++
	}
	v := verbOf(name[:n])
	if v == Unknown {
		return Command{Arg: line}
	}
	arg := text[n:]
	if v.path() {
		if len(arg) > 0 {
			arg = arg[1:]
		}
		return Command{Verb: v, Arg: arg}
	}
	return Command{Verb: v, Arg: trim(arg)}
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

func digit(c byte) bool { return '0' <= c && c <= '9' }

// blanks counts the blanks that b begins with.
func blanks(b []byte) int {
	n := 0
	for n < len(b) && blank(b[n]) {
		n++
	}
	return n
}

// trim cuts off the blanks on both sides of b.
func trim(b []byte) []byte {
	b = b[blanks(b):]
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}
