package parser

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCommand(t *testing.T) {
	for _, tt := range []struct {
		line string
		verb Verb
		arg  string
	}{
		{"USER anonymous", USER, "anonymous"},
		{"user anonymous", USER, "anonymous"},
		{"uSeR\tanonymous", USER, "anonymous"},
		{"PORT 192,0,2,1,195,75", PORT, "192,0,2,1,195,75"},
		{"PORT  192,0,2,1,195,75 ", PORT, "192,0,2,1,195,75"},
		{"PORT\t \t192,0,2,1,195,75\t", PORT, "192,0,2,1,195,75"},
		{" \tPASV", PASV, ""},
		{"PASV ", PASV, ""},
		{"P@SW", PASV, ""},
		{"EPSV ALL", EPSV, "ALL"},
		{"EPSV", EPSV, ""},
		{"AUTH TLS", AUTH, "TLS"},
		{"HOST ftp.example.com", HOST, "ftp.example.com"},
		{"CCC", CCC, ""},
		{"ABOR", ABOR, ""},
		{"CWD  pub", Other, "pub"},
		{"xsha256 a.bin", Other, "a.bin"},
		{"OPEN ftp.example.com", OPEN, "ftp.example.com"},
		{" open\tftp.example.com 2121 ", OPEN, "ftp.example.com 2121"},
		{"OPENSSH x", Unknown, "OPENSSH x"},
		{"opts utf8 on", Other, "utf8 on"},

		// A pathname keeps its blanks.
		{"RETR a b", RETR, "a b"},
		{"RETR  a b ", RETR, " a b "},
		{"stor\ta", STOR, "a"},
		{"MLST /pub ", MLST, "/pub "},
		{"LIST", LIST, ""},
		{"LIST ", LIST, ""},
		{"NLST -a", NLST, "-a"},

		// What is not FTP.
		{"", Unknown, ""},
		{"   ", Unknown, "   "},
		{"POST / HTTP/1.1", Unknown, "POST / HTTP/1.1"},
		{"Host: ftp.example.com", Unknown, "Host: ftp.example.com"},
		{"EHLO mail.example.com", Unknown, "EHLO mail.example.com"},
		{"MAIL FROM:<a@example.com>", Unknown, "MAIL FROM:<a@example.com>"},
		{"227 Entering Passive Mode (192,0,2,1,195,75)", Unknown, "227 Entering Passive Mode (192,0,2,1,195,75)"},
		{"XPRT |2|::1|5000|", Unknown, "XPRT |2|::1|5000|"},
		{"PORT,192,0,2,1,195,75", Unknown, "PORT,192,0,2,1,195,75"},
		{"PORTS 192,0,2,1,195,75", Unknown, "PORTS 192,0,2,1,195,75"},
		{"POR 192,0,2,1,195,75", Unknown, "POR 192,0,2,1,195,75"},
		{"XSHA2567", Unknown, "XSHA2567"},
		{"PAS\x08SV", Unknown, "PAS\x08SV"},
		{"\xff\xf4PASV", Unknown, "\xff\xf4PASV"},
	} {
		got := ParseCommand([]byte(tt.line))
		if got.Verb != tt.verb || string(got.Arg) != tt.arg {
			t.Errorf("%q: %v %q, want %v %q", tt.line, got.Verb, got.Arg, tt.verb, tt.arg)
		}
	}
}

func TestVerbs(t *testing.T) {
	var names, transfers []string
	for v := Unknown; v <= OPEN; v++ {
		names = append(names, v.String())
		if v.Transfer() {
			transfers = append(transfers, v.String())
		}
		if v.Known() != (v != Unknown && v != OPEN) {
			t.Errorf("%v: Known is %v", v, v.Known())
		}
		if v == Unknown || v == Other {
			continue
		}
		if got := ParseCommand([]byte(strings.ToLower(v.String()))).Verb; got != v {
			t.Errorf("%v is read as %v", v, got)
		}
	}
	if v := OPEN + 1; v.Known() || v.String() != "UNKNOWN" {
		t.Errorf("a verb that is none: %v %v", v, v.Known())
	}
	if diff := cmp.Diff("UNKNOWN USER PASS ACCT REIN QUIT PORT EPRT PASV EPSV AUTH ADAT CCC ABOR HOST "+
		"RETR STOR STOU APPE LIST NLST MLSD MLST OTHER OPEN", strings.Join(names, " ")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("RETR STOR STOU APPE LIST NLST MLSD", strings.Join(transfers, " ")); diff != "" {
		t.Error(diff)
	}
}

// What a server may be asked without being FTP's, and what every client that
// speaks FTP may begin with.
func TestOtherVerbs(t *testing.T) {
	for name := range strings.FieldsSeq(`CWD CDUP SMNT TYPE STRU MODE ALLO REST RNFR RNTO DELE RMD MKD PWD SITE SYST
		STAT HELP NOOP XCWD XMKD XPWD XRMD XCUP LPRT LPSV PBSZ PROT MIC CONF ENC FEAT OPTS LANG MDTM SIZE MFMT MFCT
		MFF CLNT XCRC XMD5 XSHA1 XSHA256 XSHA512 HASH RANG COMB AVBL DSIZ THMB`) {
		if got := ParseCommand([]byte(name)).Verb; got != Other {
			t.Errorf("%s is %v", name, got)
		}
	}
	for name := range strings.FieldsSeq("GET HEAD PUT DELETE OPTIONS CONNECT PATCH TRACE HELO EHLO MAIL RCPT DATA VRFY STARTTLS TOP UIDL NICK SSH-2.0-x") {
		if got := ParseCommand([]byte(name)).Verb; got.Known() {
			t.Errorf("%s is %v", name, got)
		}
	}
}

func FuzzCommand(f *testing.F) {
	for _, s := range []string{"PASV", " port 1,2,3,4,5,6 ", "RETR  a ", "227 x", "\t", "XSHA256 \x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		got := ParseCommand(line)
		// The judge: the first word, as strings.Fields sees it when only space
		// and tab divide.
		words := strings.FieldsFunc(string(line), func(r rune) bool { return r == ' ' || r == '\t' })
		want := Unknown
		if len(words) > 0 {
			if ascii := strings.IndexFunc(words[0], func(r rune) bool { return r >= 0x80 }) < 0; ascii {
				want = verbOf([]byte(strings.ToUpper(words[0])))
			}
		}
		if got.Verb != want {
			t.Fatalf("%q is %v, want %v", line, got.Verb, want)
		}
		if want == Unknown {
			if string(got.Arg) != string(line) {
				t.Fatalf("%q: argument %q", line, got.Arg)
			}
			return
		}
		_, rest, _ := strings.Cut(string(line), words[0])
		if !want.Transfer() && want != MLST {
			rest = strings.Trim(rest, " \t")
		} else if rest != "" {
			rest = rest[1:]
		}
		if string(got.Arg) != rest {
			t.Fatalf("%q: argument %q, want %q", line, got.Arg, rest)
		}
	})
}
