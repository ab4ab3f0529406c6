package conntrack

import (
	"strings"
	"testing"
)

const (
	port     = "PORT 10,0,1,2,195,80"                        // port 50000 of the client
	entering = "227 Entering Passive Mode (10,0,2,2,195,80)" // port 50000 of the server
	extended = "229 Entering Extended Passive Mode (|||50000|)"

	opensPORT = "open PORT 10.0.1.2:50000"
	opensPASV = "open PASV 10.0.2.2:50000"
	opensEPSV = "open EPSV 10.0.2.2:50000"
)

// TestLaw5 goes through the table of the package comment, row by row.
func TestLaw5(t *testing.T) {
	performAll(t, []dialogue{
		// Who opens.
		{name: "PASV 227", script: "login\nC: PASV\nS: " + entering, want: opensPASV},
		{name: "EPSV 229", script: "login\nC: EPSV\nS: " + extended, want: opensEPSV},
		{name: "PORT", script: "login\nC: " + port, want: opensPORT},
		{name: "EPRT", script: "login\nC: EPRT |1|10.0.1.2|50000|", want: "open EPRT 10.0.1.2:50000"},

		// Login.
		{name: "before 220", script: "C: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "120 is no greeting", script: "S: 120 wait\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "120, then 220", script: "S: 120 wait\nlogin\nC: " + port, want: opensPORT},
		{name: "multi-line 220", script: `
			S: 220-hello | 230 not me | 220 go on
			C: ` + port,
			want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "after 220", script: "S: 220 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "after USER 331", script: "S: 220 x\nC: USER u\nS: 331 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "after USER 230", script: "S: 220 x\nC: USER u\nS: 230 x\nC: " + port, want: opensPORT},
		{name: "after USER 232", script: "S: 220 x\nC: USER u\nS: 232 x\nC: " + port, want: opensPORT},
		{name: "after PASS 332", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 332 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "after ACCT 230", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 332 x\nC: ACCT a\nS: 230 x\nC: " + port, want: opensPORT},
		{name: "after PASS 530", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 530 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		{name: "PASV after PASS 530", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 530 x\nC: PASV\nS: " + entering, want: "deny not_logged_in PASV 10.0.2.2:50000"},
		{name: "HOST 220", script: "S: 220 x\nC: HOST h\nS: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 230 x\nC: " + port, want: opensPORT},
		{name: "pipelined before 220", script: "C: USER u | PASS p\nS: 220 x | 331 x | 230 x\nC: " + port, want: opensPORT},
		{name: "no login asked for", script: "S: 220 x\nC: " + port, want: opensPORT,
			change: func(_ *Config, t *Terms) { t.LoginRequired = false }},

		// Login over.
		{name: "REIN 220", script: "login\nC: " + port + "\nS: 200 x\nC: REIN\nS: 220 x\nC: " + port,
			want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
		{name: "REIN 502", script: "login\nC: " + port + "\nS: 200 x\nC: REIN\nS: 502 x\nwait 31s",
			want: opensPORT + "\nclose expired PORT 50000"},
		{name: "REIN without answer yet", script: "login\nC: REIN\nC: " + port, want: opensPORT},
		{name: "second USER 331", script: "login\nC: " + port + "\nS: 200 x\nC: USER v\nS: 331 x\nC: " + port,
			want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
		{name: "second USER 230", script: "login\nC: " + port + "\nS: 200 x\nC: USER v\nS: 230 x\nC: " + port,
			want: opensPORT + "\nclose logout PORT 50000\n" + opensPORT},
		{name: "second USER 500", script: "login\nC: USER v\nS: 500 x\nC: " + port, want: opensPORT},
		{name: "data flows on after REIN", script: "login\nC: " + port + "\nS: 200 x\nuse 20\nestablished\nC: REIN\nS: 220 x\nended",
			want: opensPORT + "\nuse PORT 50000\nclose finished PORT 50000"},

		// Asked or not.
		{name: "227 nobody asked for", script: "login\nS: " + entering, want: "deny unrequested 10.0.2.2:50000"},
		{name: "227 before any command", script: "S: 220 x\nS: " + entering, want: "deny unrequested 10.0.2.2:50000"},
		{name: "227 again", script: "login\nC: PASV\nS: " + entering + "\nS: 227 again 10,0,2,2,195,81",
			want: opensPASV + "\ndeny unrequested 10.0.2.2:50001"},
		{name: "227 for EPSV", script: "login\nC: EPSV\nS: " + entering, want: "deny unrequested 10.0.2.2:50000"},
		{name: "229 for PASV", script: "login\nC: PASV\nS: " + extended, want: "deny unrequested 10.0.2.2:50000"},
		{name: "227 for NOOP", script: "login\nC: NOOP\nS: " + entering, want: "deny unrequested 10.0.2.2:50000"},
		{name: "227 Logout.", script: "login\nC: NOOP\nS: 227 Logout.", want: ""},
		{name: "227 without numbers for PASV", script: "login\nC: PASV\nS: 227 Logout.", want: "deny malformed PASV"},
		{name: "PASV 500", script: "login\nC: PASV\nS: 500 x\nS: " + entering, want: "deny unrequested 10.0.2.2:50000"},
		{name: "PASV, EPSV falling back", script: "login\nC: EPSV\nS: 500 x\nC: PASV\nS: " + entering, want: opensPASV},
		{name: "multi-line 227", script: "login\nC: PASV\nS: 227-text | 227 Entering Passive Mode (10,0,2,2,195,80)", want: opensPASV},
		{name: "227 inside 211-", script: "login\nC: PASV\nS: 211-text | " + entering + " | 211 end", want: ""},
		{name: "pipelined PASV and RETR", script: "login\nC: PASV | RETR a\nS: " + entering, want: opensPASV},
		{name: "two replies in a segment", script: "login\nC: TYPE I | PASV\nS: 200 x | " + entering, want: opensPASV},
		{name: "late 226", script: "login\nC: PASV\nS: 226 the one before\nS: " + entering, want: opensPASV},

		// EPSV ALL (RFC 2428 4).
		{name: "EPSV ALL, then PASV", script: "login\nC: EPSV ALL\nS: 200 x\nC: PASV\nS: " + entering, want: "deny epsv_all PASV 10.0.2.2:50000"},
		{name: "EPSV ALL, then PORT", script: "login\nC: EPSV ALL\nS: 200 x\nC: " + port, want: "deny epsv_all PORT 10.0.1.2:50000"},
		{name: "EPSV ALL, then EPRT", script: "login\nC: EPSV ALL\nS: 200 x\nC: EPRT |1|10.0.1.2|50000|", want: "deny epsv_all EPRT 10.0.1.2:50000"},
		{name: "EPSV ALL, then EPSV", script: "login\nC: EPSV ALL\nS: 200 x\nC: EPSV\nS: " + extended, want: opensEPSV},
		{name: "EPSV ALL refused", script: "login\nC: epsv all\nS: 500 x\nC: " + port, want: opensPORT},
		{name: "EPSV ALL 229", script: "login\nC: EPSV ALL\nS: " + extended, want: "deny unrequested 10.0.2.2:50000"},
		{name: "EPSV ALL over with REIN", script: "login\nC: EPSV ALL\nS: 200 x\nC: REIN\nS: 220 x\nC: USER u\nS: 230 x\nC: " + port, want: opensPORT},

		// PORT and its answer.
		{name: "PORT 200", script: "login\nC: " + port + "\nS: 200 x\nuse 20", want: opensPORT + "\nuse PORT 50000"},
		{name: "PORT 500", script: "login\nC: " + port + "\nS: 500 x", want: opensPORT + "\nclose refused PORT 50000"},
		{name: "PORT 425", script: "login\nC: " + port + "\nS: 425 x", want: opensPORT + "\nclose refused PORT 50000"},
		{name: "PORT used, then 500", script: "login\nC: " + port + "\nuse 20\nS: 500 x", want: opensPORT + "\nuse PORT 50000\nclose refused PORT 50000"},
		{name: "PORT used before 200", script: "login\nC: " + port + "\nuse 20\nestablished\nS: 200 x\nended",
			want: opensPORT + "\nuse PORT 50000\nclose finished PORT 50000"},
		{name: "PORT again", script: "login\nC: " + port + "\nS: 200 x\nC: " + port + "\nS: 200 x",
			want: opensPORT + "\nclose replaced PORT 50000\n" + opensPORT},
		{name: "PASV after PORT", script: "login\nC: " + port + "\nS: 200 x\nC: PASV\nS: " + entering,
			want: opensPORT + "\nclose replaced PORT 50000\n" + opensPASV},
		{name: "PORT after PASV", script: "login\nC: PASV\nS: " + entering + "\nC: " + port,
			want: opensPASV + "\nclose replaced PASV 50000\n" + opensPORT},
		{name: "foreign PORT keeps the former", script: "login\nC: PASV\nS: " + entering + "\nC: PORT 10,9,9,9,195,80",
			want: opensPASV + "\ndeny foreign_address PORT 10.9.9.9:50000"},
		{name: "malformed PORT", script: "login\nC: PORT 10,0,1,2,256,80", want: "deny malformed PORT"},
		{name: "privileged PORT", script: "login\nC: PORT 10,0,1,2,0,22", want: "deny privileged_port PORT 10.0.1.2:22"},
		{name: "PORT 0", script: "login\nC: PORT 10,0,1,2,0,0", want: "deny privileged_port PORT 10.0.1.2:0"},
		{name: "control port", script: "login\nC: EPRT |1|10.0.1.2|2121|", want: "deny denied_port EPRT 10.0.1.2:2121"},

		// wait_for_2xx.
		{name: "waiting PORT", script: "login\nC: " + port, want: "", change: wait2xx},
		{name: "waiting PORT 200", script: "login\nC: " + port + "\nS: 200 x", want: opensPORT, change: wait2xx},
		{name: "waiting PORT 500", script: "login\nC: " + port + "\nS: 500 x", want: "", change: wait2xx},
		{name: "waiting PORT refused by us at once", script: "login\nC: PORT 10,9,9,9,195,80",
			want: "deny foreign_address PORT 10.9.9.9:50000", change: wait2xx},
		{name: "waiting PORT, logged out meanwhile", script: "login\nC: REIN | " + port + "\nS: 220 x | 200 x",
			want: "deny not_logged_in PORT 10.0.1.2:50000", change: wait2xx},

		// TLS and other protection.
		{name: "AUTH TLS 234", script: "login\nC: " + port + "\nS: 200 x\nC: AUTH TLS\nS: 234 x\nC: " + port,
			want: opensPORT + "\nclose encrypted PORT 50000"},
		{name: "AUTH SSL 234", script: "S: 220 x\nC: AUTH SSL\nS: 234 x\nC: USER u\nS: 230 x\nC: " + port, want: ""},
		{name: "AUTH TLS unanswered", script: "login\nC: AUTH TLS\nC: " + port, want: opensPORT},
		{name: "AUTH TLS 500", script: "login\nC: AUTH TLS\nS: 500 x\nC: " + port, want: opensPORT},
		{name: "AUTH TLS, AUTH SSL", script: "login\nC: AUTH TLS\nS: 504 x\nC: AUTH SSL\nS: 234 x\nC: PASV\nS: " + entering, want: ""},
		{name: "ADAT 235", script: "S: 220 x\nC: AUTH GSSAPI\nS: 334 x\nC: ADAT abc\nS: 235 x\nC: USER u\nS: 232 x\nC: " + port, want: ""},
		{name: "ADAT 335", script: "S: 220 x\nC: AUTH GSSAPI\nS: 334 x\nC: ADAT abc\nS: 335 x\nC: USER u\nS: 230 x\nC: " + port, want: opensPORT},
		{name: "the rest of the segment of 234 is TLS", script: "login\nC: AUTH TLS | PASV\nS: 234 x | " + entering, want: ""},
		{name: "CCC", script: `
			login
			C: AUTH TLS
			S: 234 x
			C: "\x16\x03\x01\x00\x03abc\x17\x03\x03\x00\x02\r\n"
			S: "\x16\x03\x03\x00\x04\r\n22\x17\x03\x03\x00\x021\n"
			C: PASV
			S: ` + entering,
			want: opensPASV},
		{name: "CCC, records cut", script: `
			login
			C: AUTH TLS
			S: 234 x
			C: "\x16\x03"
			C: "\x01\x00\x03a"
			C: "bc"
			S: "\x16"
			S: "\x03\x03\x00\x01a"
			C: ` + port,
			want: opensPORT},
		{name: "CCC, server still mid-record", script: `
			login
			C: AUTH TLS
			S: 234 x
			C: "\x16\x03\x01\x00\x03abc"
			S: "\x16\x03\x03\x00\x04ab"
			C: ` + port,
			want: "deny out_of_step PORT 10.0.1.2:50000"},
		{name: "after CCC the first line must be FTP", script: `
			login
			C: AUTH TLS
			S: 234 x
			C: "\x16\x03\x01\x00\x03abc"
			S: "\x16\x03\x03\x00\x01a"
			C: what
			S: ` + entering,
			want: "deny out_of_step 10.0.2.2:50000"},
		{name: "no TLS after 234", script: "login\nC: AUTH TLS\nS: 234 x\nC: PASV\nS: " + entering + "\nC: " + port, want: ""},
		{name: "framing lost", script: `
			login
			C: AUTH TLS
			S: 234 x
			C: "\x16\x03\x01\x00\x01a\x16\x09\x01\x00\x01a"
			S: "\x16\x03\x03\x00\x01a"
			C: ` + port,
			want: ""},

		// ABOR.
		{name: "ABOR 426 226", script: "login\nC: " + port + " | RETR a\nS: 200 x | 150 x\nC: ABOR\nS: 426 x | 226 x",
			want: opensPORT + "\nclose replaced PORT 50000"},
		{name: "ABOR 225", script: "login\nC: " + port + "\nS: 200 x\nC: ABOR\nS: 225 x\nuse 20",
			want: opensPORT + "\nuse PORT 50000"},
		{name: "ABOR with telnet's words", script: `
			login
			C: ` + port + ` | RETR a
			S: 200 x | 150 x
			C: "\xff\xf4\xff\xf2ABOR\r\n"
			S: 426 x | 226 x
			C: PASV
			S: ` + entering,
			want: opensPORT + "\nclose replaced PORT 50000\n" + opensPASV},
		{name: "ABOR unanswered", script: "login\nC: RETR a\nS: 150 x\nC: ABOR\nS: 426 x\nC: PASV\nS: " + entering, want: opensPASV},
		{name: "ABOR 500", script: "login\nC: ABOR\nS: 500 x\nC: PASV\nS: " + entering, want: opensPASV},

		// QUIT and 421.
		{name: "QUIT 221", script: "login\nC: " + port + "\nS: 200 x\nC: QUIT\nS: 221 x\nC: " + port,
			want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
		{name: "QUIT 500", script: "login\nC: QUIT\nS: 500 x\nC: " + port, want: opensPORT},
		{name: "pipelined PORT, RETR, QUIT", script: `
			login
			C: ` + port + ` | RETR a | QUIT
			S: 200 x | 150 x
			use 20
			established
			S: 226 x | 221 x
			S FIN
			C FIN
			ended`,
			want: opensPORT + "\nuse PORT 50000\nclose finished PORT 50000"},
		{name: "pipelined PORT, RETR, PORT, RETR", script: `
			login
			C: ` + port + ` | RETR a | PORT 10,0,1,2,195,81 | RETR b
			S: 200 x | 150 x | 226 x | 200 x | 150 x`,
			want: opensPORT + "\nopen PORT 10.0.1.2:50001\nclose replaced PORT 50000"},
		{name: "pipelined PORT, RETR, PORT refused", script: `
			login
			C: ` + port + ` | RETR a | PORT 10,0,1,2,195,81 | RETR b
			S: 200 x | 150 x | 226 x | 500 x`,
			want: opensPORT + "\nopen PORT 10.0.1.2:50001\nclose refused PORT 50001"},
		{name: "421", script: "login\nC: " + port + "\nS: 200 x\nS: 421 timeout\nC: " + port,
			want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},

		// The wrong side.
		{name: "227 from the client", script: "login\nC: " + entering, want: "deny unrequested 10.0.2.2:50000"},
		{name: "229 from the client", script: "login\nC: " + extended, want: "deny unrequested 10.0.1.2:50000"},
		{name: "PORT from the server", script: "login\nS: " + port, want: "deny unrequested PORT 10.0.1.2:50000"},
		{name: "EPRT from the server", script: "login\nS: EPRT |1|10.0.1.2|50000|", want: "deny unrequested EPRT 10.0.1.2:50000"},
		{name: "PASV from the server", script: "login\nS: PASV\nC: " + entering, want: "deny unrequested 10.0.2.2:50000"},

		// Not FTP.
		{name: "HTTP", script: "C: POST / HTTP/1.1 | Host: x |  | " + port + "\nS: 220 x", want: "deny not_ftp PORT 10.0.1.2:50000"},
		{name: "HTTP to a server that helps", script: "S: 220 x\nC: GET / HTTP/1.1 | USER u\nS: 500 x | 230 x\nC: PASV\nS: " + entering,
			want: "deny not_ftp PASV 10.0.2.2:50000"},
		{name: "SMTP", script: "S: 220 mail ESMTP\nC: EHLO x\nS: 250 x\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
		{name: "SSH", script: "S: SSH-2.0-x\nC: USER u\nS: 230 x\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
		{name: "POP3", script: "S: +OK ready\nC: USER u\nS: 230 x\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
		{name: "implicit TLS", script: `
			C: "\x16\x03\x01\x00\x05abc\ndPORT\n"
			S: 220 x
			C: USER u
			S: 230 x
			C: ` + port,
			want: "deny not_ftp PORT 10.0.1.2:50000"},
		{name: "greeted with 227", script: "S: " + entering, want: "deny not_ftp 10.0.2.2:50000"},
		{name: "greeted with 500", script: "S: 500 x\nlogin\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
		{name: "first line overlong", script: `
			S: 220 x
			C: "USER ` + long + `\r\n"
			S: 230 x
			C: ` + port,
			want: "deny not_ftp PORT 10.0.1.2:50000"},

		// Unanswered lines do not put the rest out of step for ever.
		{name: "blank line unanswered", script: "login\nC: \"\\r\\n\"\nC: PASV\nS: " + entering, want: opensPASV},
		{name: "blank line answered", script: "login\nC: \"\\r\\n\"\nS: 500 x\nC: PASV\nS: " + entering, want: opensPASV},
		{name: "command unanswered", script: "login\nC: NOOP\nC: PASV\nS: " + entering + "\nC: PASV\nS: " + entering,
			want: "deny out_of_step PASV 10.0.2.2:50000\n" + opensPASV},
	})
}

// long is longer than a line may be.
var long = strings.Repeat("x", 5000)

func wait2xx(_ *Config, t *Terms) { t.WaitFor2xx = true }
