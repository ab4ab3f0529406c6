package parser

import "testing"

// dialogue is what one transfer puts on the wire, with the oddities that are
// dropped and the errors that are refused.
var dialogue = struct{ client, server []byte }{
	[]byte("USER anonymous\r\nPASS a@example.com\r\n\xff\xf4\xff\xf2ABOR\r\nPORT 192,0,2,10,195,75\r\nPORT 1,2,3\r\n" +
		"PASV\r\nEPSV\r\nRETR /pub/a.bin\r\nGET / HTTP/1.1\r\nQUIT\r\n"),
	[]byte("220-Welcome\r\n  220 to us\r\n220 ready\r\n331 password\r\n230 in\r\n200 ok\r\n" +
		"227 Entering Passive Mode (192,0,2,1,195,75).\r\n227 Logout.\r\n229 Entering Extended Passive Mode (|||49995|)\r\n" +
		"150 here\r\nnoise\r\n226 done\r\n221 bye\r\n"),
}

// read reads the dialogue and gives the number of endpoints found.
func read(client, server *LineReader, replies *ReplyReader) int {
	found := 0
	count := func(_ Endpoint, err error) {
		if err == nil {
			found++
		}
	}
	for l, rest, ok := client.Next(dialogue.client); ok; l, rest, ok = client.Next(rest) {
		if c := ParseCommand(l.Text); c.Verb == PORT {
			count(ParseHostPort(c.Arg))
		}
	}
	for l, rest, ok := server.Next(dialogue.server); ok; l, rest, ok = server.Next(rest) {
		rep, _ := replies.Line(l.Text)
		switch rep.Code {
		case 227:
			count(ParsePassive(rep.Text))
		case 229:
			count(ParseExtendedPassive(rep.Text))
		}
	}
	return found
}

func TestNoAllocs(t *testing.T) {
	client, server := NewLineReader(0), NewLineReader(0)
	var replies ReplyReader
	allocs := testing.AllocsPerRun(100, func() {
		if n := read(client, server, &replies); n != 3 {
			t.Errorf("%d endpoints, want 3", n)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a dialogue", allocs)
	}
}

// netip.ParseAddr keeps the text of an address for its error: one copy.
func TestExtendedAllocs(t *testing.T) {
	arg := []byte("|2|2001:db8::10|50027|")
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := ParseExtended(arg); err != nil {
			t.Error(err)
		}
	})
	if allocs > 1 {
		t.Errorf("%v allocations an EPRT", allocs)
	}
}

func BenchmarkDialogue(b *testing.B) {
	client, server := NewLineReader(0), NewLineReader(0)
	var replies ReplyReader
	b.ReportAllocs()
	b.SetBytes(int64(len(dialogue.client) + len(dialogue.server)))
	for b.Loop() {
		read(client, server, &replies)
	}
}
