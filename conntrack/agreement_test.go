package conntrack

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	port     = "PORT 10,0,1,2,195,80"                        // port 50000 of the client
	entering = "227 Entering Passive Mode (10,0,2,2,195,80)" // port 50000 of the server
	extended = "229 Entering Extended Passive Mode (|||50000|)"
	toX11    = "227 Entering Passive Mode (10,0,2,2,23,112)" // port 6000, another service's

	opensPORT = "open PORT 10.0.1.2:50000"
	// Of a session of which nothing is known.
	joinedPORT = "deny out_of_step PORT 10.0.1.2:50000"
	opensPASV  = "open PASV 10.0.2.2:50000"
	opensEPSV  = "open EPSV 10.0.2.2:50000"
)

// agreementRow is a row of the package comment's table, "state: event", and the
// dialogues that go through it.
type agreementRow struct {
	name      string
	dialogues []dialogue
}

// TestLaw5 goes through the table of the package comment, row by row.
func TestLaw5(t *testing.T) {
	rows := []agreementRow{
		{"not greeted: 220", []dialogue{
			{name: "after 220, logged in", script: "login\nC: " + port, want: opensPORT},
			{name: "before 220", script: "C: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "multi-line 220", script: `
				S: 220-hello | 230 not me | 220 go on
				C: ` + port,
				want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "pipelined before 220", script: "C: USER u | PASS p\nS: 220 x | 331 x | 230 x\nC: " + port, want: opensPORT},
		}},
		{"not greeted: 230, 200", []dialogue{
			{name: "230, PASV", script: "S: 230 welcome\nC: PASV\nS: " + entering, want: opensPASV},
			{name: "200, EPSV", script: "S: 200 welcome\nC: EPSV\nS: " + extended, want: opensEPSV},
			{name: "230, PORT behind another command", script: "S: 230 welcome\nC: TYPE I\nS: 200 x\nC: " + port, want: opensPORT},
			{name: "230, PORT pipelined behind another command", script: "S: 230 welcome\nC: TYPE I | " + port, want: opensPORT},
			{name: "120, multi-line 230", script: "S: 120 wait\nS: 230-hello | 220 not me | 230 go on\nC: PASV\nS: " + entering, want: opensPASV},
			{name: "230, a login nevertheless", script: "S: 230 x\nC: USER u\nS: 331 x\nC: " + port + "\nS: 530 x\nC: PASS p\nS: 230 x\nC: " + port,
				want: "deny not_logged_in PORT 10.0.1.2:50000\n" + opensPORT},
			{name: "230, a login that fails", script: "S: 230 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 530 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "230, REIN", script: "S: 230 x\nC: REIN\nS: 230 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "other 2xx", script: "S: 250 x\nC: PASV\nS: " + entering, want: "deny not_ftp 10.0.2.2:50000"},
			{name: "HTTP to a server that welcomes it", script: "S: 230 x\nC: GET / HTTP/1.1 | NOOP | " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
			{name: "the greeting was missed, NOOP 200", script: "S! 220 x\nC: NOOP\nS: 200 x\nC: NOOP\nS: 200 x\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
		}},
		{"not greeted: 1xx", []dialogue{
			{name: "120 is no greeting", script: "S: 120 wait\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "120, then 220", script: "S: 120 wait\nlogin\nC: " + port, want: opensPORT},
		}},
		{"not greeted: another reply, or garbage", []dialogue{
			{name: "SSH", script: "S: SSH-2.0-x\nC: USER u\nS: 230 x\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
			{name: "POP3", script: "S: +OK ready\nC: USER u\nS: 230 x\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
			{name: "greeted with 227", script: "S: " + entering, want: "deny not_ftp 10.0.2.2:50000"},
			{name: "greeted with 500", script: "S: 500 x\nlogin\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
		}},
		{"no client line yet: an FTP command", []dialogue{
			{name: "blank lines, then a command", script: "S: 220 x\nC: \"\\r\\n \\r\\n\"\nS: 500 x | 500 x\nC: USER u\nS: 230 x\nC: " + port, want: opensPORT},
			{name: "NUL and telnet's words, then a command", script: "S: 220 x\nC: \"\\x00\\xff\\xfb\\x1fUSER u\\r\\n\"\nS: 230 x\nC: " + port, want: opensPORT},
		}},
		{"no client line yet: OPEN", []dialogue{
			{name: "OPEN, then a login", script: "S: 220 proxy\nC: OPEN ftp.example.com\nS: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 230 x\nC: " + port, want: opensPORT},
			{name: "open with a port, twice, pipelined", script: "S: 220 proxy\nC: open a.example.com | open b.example.com 2121 | USER u | PASS p\nS: 500 x | 200 x | 331 x | 230 x\nC: " + port, want: opensPORT},
			{name: "before the greeting", script: "C: OPEN h\nS: 220 x | 220 x\nC: USER u\nS: 230 x\nC: " + port, want: opensPORT},
			{name: "its 2xx is no login", script: "S: 220 proxy\nC: OPEN h\nS: 230 x\nC: NOOP\nS: 200 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PASS behind it is no login", script: "S: 220 proxy\nC: OPEN h\nS: 200 x\nC: PASS p\nS: 230 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "OPEN alone is not FTP", script: "S: 220 proxy\nC: OPEN h\nS: 227 x (10,0,2,2,195,80)", want: "deny unrequested 10.0.2.2:50000"},
			{name: "HTTP behind it", script: "S: 220 proxy\nC: OPEN h | GET / HTTP/1.1 | USER u\nS: 220 x | 500 x | 230 x\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
			{name: "the line behind it missed", script: "S: 220 proxy\nC: OPEN h\nS: 220 x\nC! GET /\nS: 230 x\nC: NOOP\nS: 200 x\nC: NOOP\nS: 200 x\nC: USER u\nS: 230 x\nC: " + port, want: "deny out_of_step PORT 10.0.1.2:50000"},
			{name: "a longer word", script: "S: 220 x\nC: OPENSSH h | USER u\nS: 500 x | 230 x\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
			{name: "joined", script: "join\nC: OPEN h\nS: 220 x\nC: PASV\nS: " + entering, want: "deny not_logged_in PASV 10.0.2.2:50000"},
			{name: "SITE and a user at a host", script: "S: 220 proxy\nC: SITE ftp.example.com\nS: 220 x\nC: USER u@ftp.example.com\nS: 331 x\nC: PASS p\nS: 230 x\nC: " + port, want: opensPORT},
			{name: "SITE is no login", script: "S: 220 proxy\nC: SITE ftp.example.com\nS: 230 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		}},
		{"no client line yet: anything else (HTTP, SMTP, SSH, TLS, overlong)", []dialogue{
			{name: "HTTP", script: "C: POST / HTTP/1.1 | Host: x |  | " + port + "\nS: 220 x", want: "deny not_ftp PORT 10.0.1.2:50000"},
			{name: "HTTP to a server that helps", script: "S: 220 x\nC: GET / HTTP/1.1 | USER u\nS: 500 x | 230 x\nC: PASV\nS: " + entering,
				want: "deny not_ftp PASV 10.0.2.2:50000"},
			{name: "SMTP", script: "S: 220 mail ESMTP\nC: EHLO x\nS: 250 x\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
			{name: "SSH of the client", script: "S: 220 x\nC: SSH-2.0-OpenSSH_9.2 | USER u\nS: 500 x | 230 x\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
			{name: "implicit TLS", script: `
				C: "\x16\x03\x01\x00\x05abc\ndPORT\n"
				S: 220 x
				C: USER u
				S: 230 x
				C: ` + port,
				want: "deny not_ftp PORT 10.0.1.2:50000"},
			{name: "first line overlong", script: `
				S: 220 x
				C: "USER ` + long + `\r\n"
				S: 230 x
				C: ` + port,
				want: "deny not_ftp PORT 10.0.1.2:50000"},
			{name: "blank lines, then HTTP", script: "S: 220 x\nC: \"\\r\\n\\r\\nGET / HTTP/1.1\\r\\nUSER u\\r\\n\"\nS: 230 x\nC: " + port, want: "deny not_ftp PORT 10.0.1.2:50000"},
		}},
		{"no client line yet: bytes missed", []dialogue{
			{name: "first line missed, in step again", script: "S: 220 x\nC! USER u\nS: 230 x\nC: NOOP\nS: 200 x\nC: NOOP\nS: 200 x\nC: " + port, want: "deny out_of_step PORT 10.0.1.2:50000"},
		}},
		{"greeted by 230, 200, or begun with OPEN; no login since: PORT, EPRT, if one was the client's first command", []dialogue{
			{name: "PORT", script: "S: 230 x\nC: " + port + "\nS: 200 x\nC: NOOP\nS: 200 x\nC: " + port,
				want: "deny not_logged_in PORT 10.0.1.2:50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "EPRT behind blank lines and telnet's words", script: "S: 200 x\nC: \"\\r\\n \\r\\n\\xff\\xfb\\x01EPRT |1|10.0.1.2|50000|\\r\\n\"", want: "deny not_logged_in EPRT 10.0.1.2:50000"},
			{name: "PORT before the greeting", script: "C: " + port + "\nS: 230 x | 200 x\nC: " + port,
				want: "deny not_logged_in PORT 10.0.1.2:50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PORT of a foreign address", script: "S: 230 x\nC: PORT 10,9,9,9,195,80\nS: 500 x\nC: " + port,
				want: "deny not_logged_in PORT 10.9.9.9:50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PORT, then a PASV", script: "S: 230 x\nC: " + port + "\nS: 200 x\nC: PASV\nS: " + entering,
				want: "deny not_logged_in PORT 10.0.1.2:50000\ndeny not_logged_in PASV 10.0.2.2:50000"},
			{name: "PORT, then a login", script: "S: 230 x\nC: " + port + "\nS: 500 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 230 x\nC: " + port,
				want: "deny not_logged_in PORT 10.0.1.2:50000\n" + opensPORT},
			{name: "no login required", script: "S: 230 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000",
				change: func(_ *Config, t *Terms) { t.LoginRequired = false }},
			{name: "OPEN, then PORT, no login required", script: "S: 220 x\nC: OPEN h\nS: 220 x\nC: " + port + "\nS: 200 x\nC: NOOP\nS: 200 x\nC: " + port,
				want: "deny not_logged_in PORT 10.0.1.2:50000\ndeny not_logged_in PORT 10.0.1.2:50000", change: func(_ *Config, t *Terms) { t.LoginRequired = false }},
			{name: "OPEN unanswered, then PORT", script: "S: 230 x\nC: OPEN h | " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "OPEN, then another command, no login required", script: "S: 220 x\nC: OPEN h\nS: 220 x\nC: TYPE I | " + port, want: opensPORT,
				change: func(_ *Config, t *Terms) { t.LoginRequired = false }},
			{name: "wait_for_2xx", script: "S: 230 x\nC: " + port + "\nS: 200 x", want: "deny not_logged_in PORT 10.0.1.2:50000", change: wait2xx},
		}},
		{"not logged in: 230, 232 to USER; to PASS, ACCT if USER was answered", []dialogue{
			{name: "after USER 230", script: "S: 220 x\nC: USER u\nS: 230 x\nC: " + port, want: opensPORT},
			{name: "after USER 232", script: "S: 220 x\nC: USER u\nS: 232 x\nC: " + port, want: opensPORT},
			{name: "after PASS 230", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 230 x\nC: " + port, want: opensPORT},
			{name: "after PASS 232", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 232 x\nC: " + port, want: opensPORT},
			{name: "after ACCT 230", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 332 x\nC: ACCT a\nS: 230 x\nC: " + port, want: opensPORT},
			{name: "after ACCT 232", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 332 x\nC: ACCT a\nS: 232 x\nC: " + port, want: opensPORT},
			{name: "230 to another command", script: "S: 220 x\nC: NOOP\nS: 230 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PASS again, 230", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 530 x\nC: PASS q\nS: 230 x\nC: " + port, want: opensPORT},
			{name: "USER's answer missed, PASS 230", script: "S: 220 x\nC: USER u\nS! 331 x\nC: NOOP\nS: 200 x\nC: PASS p\nS: 230 x\nC: " + port, want: opensPORT},
		}},
		{"not logged in: another 2xx to USER, to PASS behind USER's 3xx, to ACCT behind 332", []dialogue{
			{name: "USER 200", script: "S: 220 x\nC: USER u\nS: 200 x\nC: " + port, want: opensPORT},
			{name: "USER 202", script: "S: 220 x\nC: USER u\nS: 202 x\nC: " + port, want: opensPORT},
			{name: "PASS 200", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 200 x\nC: " + port, want: opensPORT},
			{name: "PASS 202", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 202 x\nC: " + port, want: opensPORT},
			{name: "PASS 220", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 220 x\nC: " + port, want: opensPORT},
			{name: "PASS 250", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 250 x\nC: " + port, want: opensPORT},
			{name: "PASS 200 behind 300", script: "S: 220 x\nC: USER u\nS: 300 x\nC: PASS p\nS: 200 x\nC: " + port, want: opensPORT},
			{name: "PASS 200-", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 200-hello | 530 not me | 200 x\nC: " + port, want: opensPORT},
			{name: "ACCT 200", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 332 x\nC: ACCT a\nS: 200 x\nC: " + port, want: opensPORT},
			{name: "ACCT 202 behind USER's 332", script: "S: 220 x\nC: USER u\nS: 332 x\nC: ACCT a\nS: 202 x\nC: " + port, want: opensPORT},
			{name: "pipelined", script: "S: 220 x\nC: USER u | PASS p | TYPE I | PASV\nS: 331 x | 200 x | 200 x | " + entering, want: opensPASV},
			{name: "second login", script: "login\nC: USER v\nS: 331 x\nC: PASS p\nS: 200 x\nC: " + port, want: opensPORT},
			{name: "behind bare LF, nothing else waits", script: "S: 220 x\nC: \"USER u\\n\"\nS: 331 x\nC: \"PASS p\\n\"\nS: 200 x\nC: " + port, want: opensPORT},
			{name: "USER 220", script: "S: 220 x\nC: USER u\nS: 220 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "two greetings", script: "S: 220 x\nC: USER u | PASS p\nS: 220 x | 331 x | 530 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "USER 221", script: "S: 220 x\nC: USER u\nS: 221 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PASS 221", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 221 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "a transfer's late 226", script: "login\nC: USER v\nS: 331 x\nC: PASS p\nS: 226 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		}},
		{"not logged in: the same while others wait, if a line was not text and CR LF, or once out of step", []dialogue{
			{name: "a server to which bare LF ends no line", script: "S: 220 x\nC: \"USER u\\nPASS p\\r\\nNOOP\\r\\n\"\nS: 331 x | 200 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "a server to which CR ends a line", script: "S: 220 x\nC: \"USER u\\rNOOP\\r\\nPASS p\\r\\nNOOP\\r\\n\"\nS: 331 x | 200 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "a server that reads 512 bytes at once", script: "S: 220 x\nC: " + strings.Repeat("x", 20) + "\nS: 500 x\nC: SITE " + strings.Repeat("x", 507) + "NOOP | USER u | NOOP\nS: 500 x | 200 x\nC: " + port,
				want: "deny not_ftp PORT 10.0.1.2:50000"},
			{name: "a server that reads 512 bytes at once, FTP", script: "S: 220 x\nC: SITE " + strings.Repeat("x", 507) + "NOOP | USER u | NOOP\nS: 500 x | 200 x\nC: " + port,
				want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "once out of step", script: "login\nC! NOOP\nS: 200 x\nC: NOOP\nS: 200 x\nC: NOOP\nS: 200 x\nC: USER v | NOOP\nS: 200 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		}},
		{"not logged in: the same behind others not answered, passed over, or forgotten out of step", loginsBehindOthers()},
		{"not logged in: any other 2xx to PASS, ACCT", []dialogue{
			{name: "PASS 202 before USER", script: "S: 220 x\nC: PASS p\nS: 202 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PASS 230 before USER", script: "S: 220 x\nC: PASS p\nS: 230 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "ACCT 202 before USER", script: "S: 220 x\nC: ACCT a\nS: 202 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "ACCT 230 before USER", script: "S: 220 x\nC: ACCT a\nS: 230 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "ACCT 202 in the place of PASS", script: "S: 220 x\nC: USER u\nS: 331 x\nC: ACCT a\nS: 202 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "ACCT 202 behind PASS 530", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 530 x\nC: ACCT a\nS: 202 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PASS 202 behind PASS 530", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 530 x\nC: PASS p\nS: 202 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PASS 202 behind PASS 332", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 332 x\nC: PASS p\nS: 202 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PASS 202 behind USER 530", script: "S: 220 x\nC: USER u\nS: 530 x\nC: PASS p\nS: 202 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PASS 200 behind USER 500", script: "S: 220 x\nC: USER u\nS: 500 x\nC: PASS p\nS: 200 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PASS 202 behind REIN", script: "login\nC: REIN\nS: 220 x\nC: PASS p\nS: 202 x\nC: ACCT a\nS: 230 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PASS 202 answered before USER is", script: "S: 220 x\nC: PASS p | USER u\nS: 202 x | 331 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "200 to NOOP between USER and PASS", script: "S: 220 x\nC: USER u\nS: 331 x\nC: NOOP\nS: 200 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		}},
		{"not logged in: 331, 332; 220 to HOST", []dialogue{
			{name: "after USER 331", script: "S: 220 x\nC: USER u\nS: 331 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "after PASS 332", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 332 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "HOST 220", script: "S: 220 x\nC: HOST h\nS: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 230 x\nC: " + port, want: opensPORT},
			{name: "HOST 220, not logged in", script: "S: 220 x\nC: HOST h\nS: 220 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		}},
		{"not logged in: PORT, EPRT, 227, 229", []dialogue{
			{name: "after 220", script: "S: 220 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "EPRT before the login", script: "S: 220 x\nC: EPRT |1|10.0.1.2|50000|", want: "deny not_logged_in EPRT 10.0.1.2:50000"},
			{name: "after PASS 530", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 530 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PASV after PASS 530", script: "S: 220 x\nC: USER u\nS: 331 x\nC: PASS p\nS: 530 x\nC: PASV\nS: " + entering, want: "deny not_logged_in PASV 10.0.2.2:50000"},
			{name: "EPSV before the login", script: "S: 220 x\nC: EPSV\nS: " + extended, want: "deny not_logged_in EPSV 10.0.2.2:50000"},
			{name: "no login asked for", script: "S: 220 x\nC: " + port, want: opensPORT,
				change: func(_ *Config, t *Terms) { t.LoginRequired = false }},
		}},
		{"logged in: USER: 2xx, 3xx, 530", []dialogue{
			{name: "second USER 331", script: "login\nC: " + port + "\nS: 200 x\nC: USER v\nS: 331 x\nC: " + port,
				want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "second USER 230", script: "login\nC: " + port + "\nS: 200 x\nC: USER v\nS: 230 x\nC: " + port,
				want: opensPORT + "\nclose logout PORT 50000\n" + opensPORT},
			{name: "second USER 232", script: "login\nC: " + port + "\nS: 200 x\nC: USER v\nS: 232 x\nC: " + port, want: opensPORT + "\nclose logout PORT 50000\n" + opensPORT},
			{name: "second USER 530", script: "login\nC: " + port + "\nS: 200 x\nC: USER v\nS: 530 x\nC: " + port, want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "second USER 500", script: "login\nC: USER v\nS: 500 x\nC: " + port, want: opensPORT},
		}},
		{"logged in: PASS, ACCT: 530", []dialogue{
			{name: "PASS 530 when logged in", script: "login\nC: " + port + "\nS: 200 x\nC: PASS p\nS: 530 x\nC: " + port, want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "ACCT 530 when logged in", script: "login\nC: " + port + "\nS: 200 x\nC: ACCT a\nS: 530 x\nC: " + port, want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "PASS 503 when logged in", script: "login\nC: " + port + "\nS: 200 x\nC: PASS p\nS: 503 x\nwait 31s", want: opensPORT + "\nclose expired PORT 50000"},
		}},
		{"logged in: OPEN: 2xx, 3xx, 530", []dialogue{
			{name: "OPEN 220", script: "login\nC: " + port + "\nS: 200 x\nC: OPEN h\nS: 220 x\nC: " + port,
				want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "OPEN 331", script: "login\nC: OPEN u@h\nS: 331 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "OPEN 120, 220", script: "login\nC: OPEN h\nS: 120 x\nS: 220 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "OPEN 530", script: "login\nC: OPEN h\nS: 530 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "OPEN 500", script: "login\nC: " + port + "\nS: 200 x\nC: OPEN h\nS: 500 x\nwait 31s", want: opensPORT + "\nclose expired PORT 50000"},
			{name: "OPEN, and a login", script: "login\nC: OPEN h\nS: 220 x\nC: USER v\nS: 331 x\nC: PASS p\nS: 230 x\nC: " + port, want: opensPORT},
			{name: "OPEN behind a greeting of 230", script: "S: 230 x\nC: NOOP | OPEN h\nS: 200 x | 220 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
		}},
		{"logged in: REIN: 2xx", []dialogue{
			{name: "REIN 220", script: "login\nC: " + port + "\nS: 200 x\nC: REIN\nS: 220 x\nC: " + port,
				want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "REIN 502", script: "login\nC: " + port + "\nS: 200 x\nC: REIN\nS: 502 x\nwait 31s",
				want: opensPORT + "\nclose expired PORT 50000"},
			{name: "EPSV ALL over with REIN", script: "login\nC: EPSV ALL\nS: 200 x\nC: REIN\nS: 220 x\nC: USER u\nS: 230 x\nC: " + port, want: opensPORT},
		}},
		{"logged in: QUIT: 2xx; any 421", []dialogue{
			{name: "QUIT 221", script: "login\nC: " + port + "\nS: 200 x\nC: QUIT\nS: 221 x\nC: " + port,
				want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "QUIT 221, USER 230", script: "login\nC: " + port + "\nS: 200 x\nC: QUIT\nS: 221 x\nC: USER u\nS: 230 x\nC: " + port, want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "QUIT 500", script: "login\nC: QUIT\nS: 500 x\nC: " + port, want: opensPORT},
			{name: "421", script: "login\nC: " + port + "\nS: 200 x\nS: 421 timeout\nC: " + port,
				want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "421 to a command", script: "login\nC: " + port + "\nS: 200 x\nC: NOOP\nS: 421 x\nC: " + port, want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "421, USER 230", script: "login\nC: " + port + "\nS: 200 x\nS: 421 x\nC: USER u\nS: 230 x\nC: " + port, want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
		}},
		{"logged in: any of these without answer", []dialogue{
			{name: "REIN without answer yet", script: "login\nC: REIN\nC: " + port, want: opensPORT},
			{name: "USER without answer yet", script: "login\nC: USER v\nC: " + port, want: opensPORT},
			{name: "QUIT without answer yet", script: "login\nC: QUIT\nC: " + port, want: opensPORT},
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
		}},
		{"logged in: data that flows", []dialogue{
			{name: "data flows on after REIN", script: "login\nC: " + port + "\nS: 200 x\nuse 20\nestablished\nC: REIN\nS: 220 x\nended",
				want: opensPORT + "\nuse PORT 50000\nclose finished PORT 50000"},
			{name: "data flows on after QUIT", script: "login\nC: " + port + "\nS: 200 x\nuse 20\nestablished\nC: QUIT\nS: 221 x\nended", want: opensPORT + "\nuse PORT 50000\nclose finished PORT 50000"},
			{name: "data flows on after AUTH", script: "login\nC: " + port + "\nS: 200 x\nuse 20\nestablished\nC: AUTH TLS\nS: 234 x\nended", want: opensPORT + "\nuse PORT 50000\nclose finished PORT 50000"},
		}},
		{"PASV outstanding: 227 to it", []dialogue{
			{name: "PASV 227", script: "login\nC: PASV\nS: " + entering, want: opensPASV},
			{name: "multi-line 227", script: "login\nC: PASV\nS: 227-text | 227 Entering Passive Mode (10,0,2,2,195,80)", want: opensPASV},
			{name: "pipelined PASV and RETR", script: "login\nC: PASV | RETR a\nS: " + entering, want: opensPASV},
			{name: "two replies in a segment", script: "login\nC: TYPE I | PASV\nS: 200 x | " + entering, want: opensPASV},
			{name: "227 without numbers for PASV", script: "login\nC: PASV\nS: 227 Logout.", want: "deny malformed PASV"},
			{name: "PASV after PORT", script: "login\nC: " + port + "\nS: 200 x\nC: PASV\nS: " + entering,
				want: opensPORT + "\nclose replaced PORT 50000\n" + opensPASV},
			{name: "PORT sent with PASV", script: "login\nC: PASV | RETR a | PORT 10,0,1,2,195,81 | RETR b\nS: " + entering + " | 150 x | 226 x | 200 x",
				want: "open PORT 10.0.1.2:50001\n" + opensPASV + "\nclose replaced PASV 50000"},
		}},
		{"EPSV outstanding: 229 to it", []dialogue{
			{name: "EPSV 229", script: "login\nC: EPSV\nS: " + extended, want: opensEPSV},
			{name: "229 without an endpoint for EPSV", script: "login\nC: EPSV\nS: 229 Entering", want: "deny malformed EPSV"},
		}},
		{"EPSV outstanding alone: 227 to it", []dialogue{
			{name: "227 for EPSV", script: "login\nC: EPSV\nS: " + entering, want: "open EPSV 10.0.2.2:50000"},
			{name: "227 for EPSV 1, in parts", script: "login\nC: EPSV 1\nS: 227-a | " + entering, want: "open EPSV 10.0.2.2:50000"},
			{name: "227 of another host for EPSV", script: "login\nC: EPSV\nS: 227 x (10,9,9,9,195,80)", want: "deny foreign_address EPSV 10.9.9.9:50000"},
			{name: "227 for EPSV ALL", script: "login\nC: EPSV ALL\nS: " + entering, want: "deny unrequested 10.0.2.2:50000"},
			{name: "227 for EPSV behind EPSV ALL", script: "login\nC: EPSV ALL\nS: 200 x\nC: EPSV\nS: " + entering, want: "deny epsv_all EPSV 10.0.2.2:50000"},
			{name: "two wait", script: "login\nC: EPSV | EPSV\nS: " + entering, want: "open EPSV 10.0.2.2:50000"},
			{name: "two wait behind a command not answered", script: "login\nC: NOOP | EPSV | EPSV\nS: " + entering, want: "deny unrequested 10.0.2.2:50000"},
			{name: "each its own", script: "login\nC: EPSV | PASV\nS: " + extended + " | 227 x (10,0,2,2,195,81)",
				want: "open EPSV 10.0.2.2:50000\nclose replaced EPSV 50000\nopen PASV 10.0.2.2:50001"},
		}},
		{"either: 225, 226, 250, 426", []dialogue{
			{name: "late 226", script: "login\nC: PASV\nS: 226 the one before\nS: " + entering, want: opensPASV},
			{name: "late 225", script: "login\nC: PASV\nS: 225 the one before\nS: " + entering, want: opensPASV},
			{name: "late 250", script: "login\nC: PASV\nS: 250 the one before\nS: " + entering, want: opensPASV},
			{name: "late 426", script: "login\nC: PASV\nS: 426 the one before\nS: " + entering, want: opensPASV},
			{name: "late 226, EPSV", script: "login\nC: EPSV\nS: 226 the one before\nS: " + extended, want: opensEPSV},
		}},
		{"either: 4xx, 5xx, 229 to PASV, another 2xx, 3xx", []dialogue{
			{name: "PASV 500", script: "login\nC: PASV\nS: 500 x\nS: " + entering, want: "deny unrequested 10.0.2.2:50000"},
			{name: "PASV 425", script: "login\nC: PASV\nS: 425 x\nS: " + entering, want: "deny unrequested 10.0.2.2:50000"},
			{name: "EPSV 522", script: "login\nC: EPSV\nS: 522 x\nS: " + extended, want: "deny unrequested 10.0.2.2:50000"},
			{name: "PASV, EPSV falling back", script: "login\nC: EPSV\nS: 500 x\nC: PASV\nS: " + entering, want: opensPASV},
			{name: "229 for PASV", script: "login\nC: PASV\nS: " + extended, want: "deny unrequested 10.0.2.2:50000"},
			{name: "229 for PASV, then 227", script: "login\nC: PASV\nS: " + extended + "\nS: " + entering, want: "deny unrequested 10.0.2.2:50000\ndeny unrequested 10.0.2.2:50000"},
			{name: "PASV 202", script: "login\nC: PASV\nS: 202 x\nS: " + entering, want: "deny unrequested 10.0.2.2:50000"},
		}},
		{"PASV, EPSV behind commands not answered: 227, 229, if the client had all of the server's when it asked", []dialogue{
			{name: "NOOP during a transfer", script: "login\nC: PASV\nS: " + entering + "\nC: RETR a\nS: 150 x\nC: NOOP\nS: 226 x\nC: PASV\nS: 227 x (10,0,2,2,195,81)",
				want: opensPASV + "\nclose replaced PASV 50000\nopen PASV 10.0.2.2:50001"},
			{name: "command unanswered", script: "login\nC: NOOP\nC: PASV\nS: " + entering, want: opensPASV},
			{name: "command unanswered, EPSV", script: "login\nC: NOOP\nC: EPSV\nS: " + extended, want: opensEPSV},
			{name: "command unanswered, EPSV 227", script: "login\nC: NOOP\nC: EPSV\nS: " + entering, want: "open EPSV 10.0.2.2:50000"},
			{name: "many unanswered", script: "login\nC: NOOP\nC: STAT\nC: TYPE I\nC: PASV\nS: " + entering, want: opensPASV},
			{name: "a transfer's end unanswered", script: "login\nC: LIST\nS: 150 x\nC: PASV\nS: " + entering, want: opensPASV},
			{name: "pipelined", script: "login\nC: NOOP | PASV\nS: " + entering, want: opensPASV},
			{name: "to a denied port", script: "login\nC: NOOP\nC: PASV\nS: " + toX11, want: "deny denied_port PASV 10.0.2.2:6000"},
			{name: "to a denied port behind ABOR", script: "login\nC: ABOR\nC: PASV\nS: " + toX11, want: "deny denied_port PASV 10.0.2.2:6000"},
			{name: "to a denied port behind a blank line", script: "login\nC: \"\\r\\n\"\nC: EPSV\nS: 229 ok (|||6000|)", want: "deny denied_port EPSV 10.0.2.2:6000"},
			{name: "to a denied port, the next one", script: "login\nC: NOOP\nC: PASV\nS: " + toX11 + "\nC: PASV\nS: " + toX11,
				want: "deny denied_port PASV 10.0.2.2:6000\nopen PASV 10.0.2.2:6000"},
			{name: "of another host", script: "login\nC: NOOP\nC: PASV\nS: 227 x (10,9,9,9,195,80)", want: "deny foreign_address PASV 10.9.9.9:50000"},
			{name: "not logged in", script: "S: 220 x\nC: NOOP\nC: PASV\nS: " + entering, want: "deny not_logged_in PASV 10.0.2.2:50000"},
			{name: "within a block", script: "login\nC: STAT\nC: PASV\nS: 211-x | " + entering + " | 211 end", want: ""},
		}},
		{"PASV, EPSV behind commands not answered: 227, 229, if it had not, or USER, PASS, ACCT, REIN, QUIT, AUTH, ADAT, OPEN, EPSV ALL or none of FTP's is one", unpassable()},
		{"PASV, EPSV behind commands not answered: another 2xx, 3xx after that", []dialogue{
			{name: "answered late", script: "login\nC: NOOP\nC: PASV\nS: " + entering + "\nC: PASV\nS: 200 x | 227 x (10,0,2,2,195,81)",
				want: opensPASV + "\nclose replaced PASV 50000\nopen PASV 10.0.2.2:50001"},
			{name: "refused late", script: "login\nC: NOOP\nC: PASV\nS: " + entering + "\nC: PASV\nS: 500 x | 227 x (10,0,2,2,195,81)",
				want: opensPASV + "\ndeny unrequested 10.0.2.2:50001"},
			{name: "as many as were passed over", script: "login\nC: NOOP\nC: PASV\nS: " + entering + "\nC: EPSV\nS: 200 x | 200 x | 229 x (|||50001|)",
				want: opensPASV + "\ndeny unrequested 10.0.2.2:50001"},
		}},
		{"USER, PASS, ACCT, QUIT behind commands without effect, not answered: 331; 332; 230, 232; 221, if the client had all of the server's when it asked", loginsBehindIdle()},
		{"PORT, a transfer behind commands not answered: 125, 150", []dialogue{
			{name: "NOOP unanswered, ten transfers", change: func(c *Config, _ *Terms) { c.Limits.Commands = 4 },
				script: "login" + strings.Repeat("\nC: "+port+"\nS: 200 x\nC: RETR a\nS: 150 x\nC: NOOP\nS: 226 x", 10),
				want:   opensPORT + strings.Repeat("\nclose replaced PORT 50000\n"+opensPORT, 9)},
			{name: "EPRT and 125", script: "login\nC: NOOP\nC: EPRT |1|10.0.1.2|50000|\nS: 200 x\nC: STOR a\nS: 125 x\nS: 226 x\nC: " + port + "\nS: 500 x",
				want: "open EPRT 10.0.1.2:50000\nclose replaced EPRT 50000\n" + opensPORT + "\nclose refused PORT 50000"},
			{name: "PORT refused afterwards", script: "login\nC: NOOP\nC: " + port + "\nS: 200 x\nC: RETR a\nS: 150 x\nS: 226 x\nC: " + port + "\nS: 500 x",
				want: opensPORT + "\nclose replaced PORT 50000\n" + opensPORT + "\nclose refused PORT 50000"},
			{name: "behind USER", script: "login\nC: USER v\nC: " + port + "\nC: RETR a\nS: 150 x\nS: 331 x\nC: " + port,
				want: opensPORT + "\nclose logout PORT 50000\ndeny not_logged_in PORT 10.0.1.2:50000"},
			{name: "wait_for_2xx", change: func(_ *Config, terms *Terms) { terms.WaitFor2xx = true },
				script: "login\nC: NOOP\nC: " + port + "\nC: RETR a\nS: 150 x", want: ""},
		}},
		{"a transfer that runs, another command: 2xx, 3xx but 225, 226, 250", []dialogue{
			{name: "NOOP answered at once", script: "login\nC: " + port + "\nS: 200 x\nC: RETR a\nS: 150 x\nC: NOOP\nS: 200 x\nC: PASV\nS: 226 x | " + entering,
				want: opensPORT + "\nclose replaced PORT 50000\n" + opensPASV},
			{name: "STAT answered at once", script: "login\nC: RETR a\nS: 150 x\nC: STAT\nS: 211-x | 211 x\nC: EPSV\nS: 226 x\nS: " + extended, want: opensEPSV},
		}},
		{"a reply in parts open: 227, 229 asked for, if the client goes on before its end", []dialogue{
			{name: "150 ends a 553 block", script: "login\nC: STOR a\nS: 553- | 553- precheck | 150 Opening\nS: 226 x\nC: PASV\nS: " + entering + "\nC: QUIT",
				want: "deny out_of_step 10.0.2.2:50000"},
			{name: "200 ends a FEAT block", script: "login\nC: FEAT\nS: 211-Features |  MDTM | 200 End\nC: EPSV\nS: " + extended + "\nC: PASV\nS: " + entering + "\nC: NOOP",
				want: "deny out_of_step 10.0.2.2:50000\ndeny out_of_step 10.0.2.2:50000"},
			{name: "then the session ends", script: "login\nC: FEAT\nS: 211-x | 200 End\nC: PASV\nS: " + entering + "\nC RST", want: "deny out_of_step 10.0.2.2:50000"},
			{name: "for the rest of the session", script: "login\nC: FEAT\nS: 211-x | 200 End" + strings.Repeat("\nC: PASV\nS: "+entering, 80) + "\nC: NOOP",
				want: strings.Repeat("deny out_of_step 10.0.2.2:50000\n", refusalBurst)},
			{name: "it is text", script: "login\nC: STAT | PASV\nS: 211-x | " + entering + " | 211 end\nC: NOOP", want: ""},
			{name: "not asked for", script: "login\nC: STAT\nS: 211-x | " + entering + "\nC: NOOP", want: ""},
			{name: "no endpoint", script: "login\nC: FEAT\nS: 211-x | 200 End\nC: PASV\nS: 227 Logout.\nC: NOOP", want: ""},
		}},
		{"none outstanding: 227, 229 with an endpoint", []dialogue{
			{name: "227 nobody asked for", script: "login\nS: " + entering, want: "deny unrequested 10.0.2.2:50000"},
			{name: "229 nobody asked for", script: "login\nS: " + extended, want: "deny unrequested 10.0.2.2:50000"},
			{name: "227 before any command", script: "S: 220 x\nS: " + entering, want: "deny unrequested 10.0.2.2:50000"},
			{name: "227 again", script: "login\nC: PASV\nS: " + entering + "\nS: 227 again 10,0,2,2,195,81",
				want: opensPASV + "\ndeny unrequested 10.0.2.2:50001"},
			{name: "227 for NOOP", script: "login\nC: NOOP\nS: " + entering, want: "deny unrequested 10.0.2.2:50000"},
			{name: "227 Logout.", script: "login\nC: NOOP\nS: 227 Logout.", want: ""},
			{name: "EPSV ALL 229", script: "login\nC: EPSV ALL\nS: " + extended, want: "deny unrequested 10.0.2.2:50000"},
			{name: "227 inside 211-", script: "login\nC: PASV\nS: 211-text | " + entering + " | 211 end", want: ""},
		}},
		{"logged in: PORT, EPRT", []dialogue{
			{name: "PORT", script: "login\nC: " + port, want: opensPORT},
			{name: "EPRT", script: "login\nC: EPRT |1|10.0.1.2|50000|", want: "open EPRT 10.0.1.2:50000"},
			{name: "PORT 200", script: "login\nC: " + port + "\nS: 200 x\nuse 20", want: opensPORT + "\nuse PORT 50000"},
			{name: "PORT used before 200", script: "login\nC: " + port + "\nuse 20\nestablished\nS: 200 x\nended",
				want: opensPORT + "\nuse PORT 50000\nclose finished PORT 50000"},
			{name: "PORT again", script: "login\nC: " + port + "\nS: 200 x\nC: " + port + "\nS: 200 x",
				want: opensPORT + "\nclose replaced PORT 50000\n" + opensPORT},
			{name: "PORT after PASV", script: "login\nC: PASV\nS: " + entering + "\nC: " + port,
				want: opensPASV + "\nclose replaced PASV 50000\n" + opensPORT},
			{name: "foreign PORT keeps the former", script: "login\nC: PASV\nS: " + entering + "\nC: PORT 10,9,9,9,195,80",
				want: opensPASV + "\ndeny foreign_address PORT 10.9.9.9:50000"},
			{name: "malformed PORT", script: "login\nC: PORT 10,0,1,2,256,80", want: "deny malformed PORT"},
			{name: "privileged PORT", script: "login\nC: PORT 10,0,1,2,0,22", want: "deny privileged_port PORT 10.0.1.2:22"},
			{name: "PORT 0", script: "login\nC: PORT 10,0,1,2,0,0", want: "deny privileged_port PORT 10.0.1.2:0"},
			{name: "control port", script: "login\nC: EPRT |1|10.0.1.2|2121|", want: "deny denied_port EPRT 10.0.1.2:2121"},
		}},
		{"a transfer waits: PORT, EPRT", []dialogue{
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
			{name: "pipelined PORT, RETR, EPRT, RETR", script: `
				login
				C: ` + port + ` | RETR a | EPRT !1!10.0.1.2!50001! | RETR b
				S: 200 x | 150 x | 226 x | 200 x | 150 x`,
				want: opensPORT + "\nopen EPRT 10.0.1.2:50001\nclose replaced PORT 50000"},
		}},
		{"wait_for_2xx: PORT, EPRT", []dialogue{
			{name: "waiting PORT", script: "login\nC: " + port, want: "", change: wait2xx},
			{name: "waiting PORT 200", script: "login\nC: " + port + "\nS: 200 x", want: opensPORT, change: wait2xx},
			{name: "waiting EPRT 200", script: "login\nC: EPRT |1|10.0.1.2|50000|\nS: 200 x", want: "open EPRT 10.0.1.2:50000", change: wait2xx},
			{name: "waiting PORT 500", script: "login\nC: " + port + "\nS: 500 x", want: "", change: wait2xx},
			{name: "waiting PORT refused by us at once", script: "login\nC: PORT 10,9,9,9,195,80",
				want: "deny foreign_address PORT 10.9.9.9:50000", change: wait2xx},
			{name: "waiting PORT, logged out meanwhile", script: "login\nC: REIN | " + port + "\nS: 220 x | 200 x",
				want: "deny not_logged_in PORT 10.0.1.2:50000", change: wait2xx},
		}},
		{"PORT, EPRT outstanding: 4xx, 5xx to it", []dialogue{
			{name: "PORT 500", script: "login\nC: " + port + "\nS: 500 x", want: opensPORT + "\nclose refused PORT 50000"},
			{name: "PORT 425", script: "login\nC: " + port + "\nS: 425 x", want: opensPORT + "\nclose refused PORT 50000"},
			{name: "EPRT 522", script: "login\nC: EPRT |1|10.0.1.2|50000|\nS: 522 x", want: "open EPRT 10.0.1.2:50000\nclose refused EPRT 50000"},
			{name: "PORT used, then 500", script: "login\nC: " + port + "\nuse 20\nS: 500 x", want: opensPORT + "\nuse PORT 50000\nclose refused PORT 50000"},
			{name: "data flows on after PORT 500", script: "login\nC: " + port + "\nuse 20\nestablished\nS: 500 x\nended", want: opensPORT + "\nuse PORT 50000\nclose finished PORT 50000"},
		}},
		{"transfer outstanding: its pinhole's time ends", []dialogue{
			{name: "waits on", script: "login\nC: PASV\nS: " + entering + "\nC: RETR a\nwait 290s\nuse 40001", want: opensPASV + "\nuse PASV 50000"},
			{name: "up to its longest time", script: "login\nC: " + port + "\nS: 200 x\nC: RETR a\nwait 300s", want: opensPORT + "\nclose expired PORT 50000"},
		}},
		{"EPSV ALL outstanding: 2xx to it", []dialogue{
			{name: "EPSV ALL, then PASV", script: "login\nC: EPSV ALL\nS: 200 x\nC: PASV\nS: " + entering, want: "deny epsv_all PASV 10.0.2.2:50000"},
			{name: "EPSV ALL, then PORT", script: "login\nC: EPSV ALL\nS: 200 x\nC: " + port, want: "deny epsv_all PORT 10.0.1.2:50000"},
			{name: "EPSV ALL, then EPRT", script: "login\nC: EPSV ALL\nS: 200 x\nC: EPRT |1|10.0.1.2|50000|", want: "deny epsv_all EPRT 10.0.1.2:50000"},
			{name: "EPSV ALL, then EPSV", script: "login\nC: EPSV ALL\nS: 200 x\nC: EPSV\nS: " + extended, want: opensEPSV},
			{name: "EPSV ALL refused", script: "login\nC: epsv all\nS: 500 x\nC: " + port, want: opensPORT},
		}},
		{"any: 234, 235 (AUTH, ADAT)", []dialogue{
			{name: "AUTH TLS 234", script: "login\nC: " + port + "\nS: 200 x\nC: AUTH TLS\nS: 234 x\nC: " + port,
				want: opensPORT + "\nclose encrypted PORT 50000"},
			{name: "AUTH SSL 234", script: "S: 220 x\nC: AUTH SSL\nS: 234 x\nC: USER u\nS: 230 x\nC: " + port, want: ""},
			{name: "AUTH TLS unanswered", script: "login\nC: AUTH TLS\nC: " + port, want: opensPORT},
			{name: "AUTH TLS 500", script: "login\nC: AUTH TLS\nS: 500 x\nC: " + port, want: opensPORT},
			{name: "AUTH TLS, AUTH SSL", script: "login\nC: AUTH TLS\nS: 504 x\nC: AUTH SSL\nS: 234 x\nC: PASV\nS: " + entering, want: ""},
			{name: "ADAT 235", script: "S: 220 x\nC: AUTH GSSAPI\nS: 334 x\nC: ADAT abc\nS: 235 x\nC: USER u\nS: 232 x\nC: " + port, want: ""},
			{name: "ADAT 335", script: "S: 220 x\nC: AUTH GSSAPI\nS: 334 x\nC: ADAT abc\nS: 335 x\nC: USER u\nS: 230 x\nC: " + port, want: opensPORT},
			{name: "the rest of the segment of 234 is TLS", script: "login\nC: AUTH TLS | PASV\nS: 234 x | " + entering, want: ""},
			{name: "234 that answers something else", script: "login\nC: NOOP\nS: 234 x\nC: " + port, want: ""},
			{name: "AUTH in a line that is too long", script: "login\nC: " + port + "\nS: 200 x\nC: \"AUTH TLS" + strings.Repeat(" ", 5000) + "\\r\\n\"\nS: 234 x\nC: " + port,
				want: opensPORT + "\nclose encrypted PORT 50000"},
			{name: "AUTH behind a bare CR", script: "login\nC: " + port + "\nS: 200 x\nC: \"NOOP\\rAUTH TLS\\r\\n\"\nS: 200 x | 234 x\nC: " + port,
				want: opensPORT + "\nclose encrypted PORT 50000"},
		}},
		{"blind: TLS records", []dialogue{
			{name: "PORT in a TLS record", script: `
				login
				C: AUTH TLS
				S: 234 x
				C: "\x16\x03\x01\x00\x1e\r\n` + port + `\r\n"
				S: "\x16\x03\x03\x00\x07200 x\r\n"`,
				want: ""},
		}},
		{"blind: clear text after a record", []dialogue{
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
		}},
		{"blind: anything else", []dialogue{
			{name: "no TLS after 234", script: "login\nC: AUTH TLS\nS: 234 x\nC: PASV\nS: " + entering + "\nC: " + port, want: ""},
			{name: "framing lost", script: `
				login
				C: AUTH TLS
				S: 234 x
				C: "\x16\x03\x01\x00\x01a\x16\x09\x01\x00\x01a"
				S: "\x16\x03\x03\x00\x01a"
				C: ` + port,
				want: ""},
		}},
		{"any: ABOR: 226", []dialogue{
			{name: "ABOR 426 226", script: "login\nC: " + port + " | RETR a\nS: 200 x | 150 x\nC: ABOR\nS: 426 x | 226 x",
				want: opensPORT + "\nclose replaced PORT 50000"},
			{name: "the next PORT sent with ABOR", script: `
				login
				C: ` + port + ` | RETR a
				S: 200 x | 150 x
				use 20
				established
				C: ABOR | PORT 10,0,1,2,195,81 | RETR b
				S: 426 x | 226 x | 200 x
				use 20`,
				want: opensPORT + "\nuse PORT 50000\nopen PORT 10.0.1.2:50001\nuse PORT 50001"},
			{name: "ABOR with telnet's words", script: `
				login
				C: ` + port + ` | RETR a
				S: 200 x | 150 x
				C: "\xff\xf4\xff\xf2ABOR\r\n"
				S: 426 x | 226 x
				C: PASV
				S: ` + entering,
				want: opensPORT + "\nclose replaced PORT 50000\n" + opensPASV},
		}},
		{"any: ABOR: 225", []dialogue{
			{name: "ABOR 225", script: "login\nC: " + port + "\nS: 200 x\nC: ABOR\nS: 225 x\nuse 20",
				want: opensPORT + "\nuse PORT 50000"},
		}},
		{"any: ABOR, blank line unanswered", []dialogue{
			{name: "ABOR unanswered", script: "login\nC: RETR a\nS: 150 x\nC: ABOR\nS: 426 x\nC: PASV\nS: " + entering, want: opensPASV},
			{name: "ABOR 500", script: "login\nC: ABOR\nS: 500 x\nC: PASV\nS: " + entering, want: opensPASV},
			{name: "blank line unanswered", script: "login\nC: \"\\r\\n\"\nC: PASV\nS: " + entering, want: opensPASV},
			{name: "blank line answered", script: "login\nC: \"\\r\\n\"\nS: 500 x\nC: PASV\nS: " + entering, want: opensPASV},
		}},
		{"any: 227, 229 of the client; PORT, EPRT of the server", []dialogue{
			{name: "227 from the client", script: "login\nC: " + entering, want: "deny unrequested 10.0.2.2:50000"},
			{name: "229 from the client", script: "login\nC: " + extended, want: "deny unrequested 10.0.1.2:50000"},
			{name: "PORT from the server", script: "login\nS: " + port, want: "deny unrequested PORT 10.0.1.2:50000"},
			{name: "EPRT from the server", script: "login\nS: EPRT |1|10.0.1.2|50000|", want: "deny unrequested EPRT 10.0.1.2:50000"},
			{name: "PASV from the server", script: "login\nS: PASV\nC: " + entering, want: "deny unrequested 10.0.2.2:50000"},
		}},
		{"any: bytes missed, too many commands outstanding; those without effect in a row count as one, up to 1,000", []dialogue{
			{name: "answer missed", script: "login\nC: PASV\nS! " + entering + "\nC: " + port, want: "deny out_of_step PORT 10.0.1.2:50000"},
			{name: "command missed", script: "login\nC! PASV\nS: " + entering, want: "deny out_of_step 10.0.2.2:50000"},
			{name: "one command too many", script: "login\nC: RETR a | NOOP | PASV\nS: 226 x | 200 x | " + entering, want: "deny out_of_step 10.0.2.2:50000", change: func(c *Config, _ *Terms) { c.Limits.Commands = 2 }},
			{name: "one command too many, PORT", script: "login\nC: RETR a | NOOP\nC: " + port + "\nC: PASV\nS: 226 x | 200 x | 200 x | " + entering,
				want: "deny limit_session PORT 10.0.1.2:50000\ndeny unrequested 10.0.2.2:50000", change: func(c *Config, _ *Terms) { c.Limits.Commands = 2 }},
			{name: "32 NOOPs during a transfer", script: "login\nC: RETR a\nS: 150 x" + strings.Repeat("\nC: NOOP", 32) + "\nS: 226 x" + strings.Repeat(" | 200 x", 32) + "\nC: PASV\nS: " + entering,
				want: opensPASV, change: func(c *Config, _ *Terms) { c.Limits.Commands = 4 }},
			{name: "50 times SIZE and PASV", script: "login\nC: " + strings.Repeat("SIZE a | ", 50) + "PASV\nS: " + strings.Repeat("213 1 | ", 50) + entering,
				want: opensPASV, change: func(c *Config, _ *Terms) { c.Limits.Commands = 4 }},
			{name: "SIZE and MDTM by turns, and PORT", script: "login\nC: " + strings.Repeat("SIZE a | MDTM a | ", 50) + port + "\nS: " + strings.Repeat("213 1 | 550 x | ", 50) + "500 x",
				want: opensPORT + "\nclose refused PORT 50000", change: func(c *Config, _ *Terms) { c.Limits.Commands = 4 }},
			{name: "40 that nobody knows, and PORT", script: "login\nC: " + strings.Repeat("XFOO | ", 40) + port + "\nS: " + strings.Repeat("500 x | ", 40) + "200 x\nC: PASV\nS: " + entering,
				want: opensPORT + "\nclose replaced PORT 50000\n" + opensPASV, change: func(c *Config, _ *Terms) { c.Limits.Commands = 4 }},
			{name: "one of those unanswered", script: "login\nC: NOOP | XFOO | XFOO | PASV\nS: 200 x | 500 x | " + entering, want: "deny out_of_step PASV 10.0.2.2:50000"},
			{name: "one reply of a run is missing", script: "login\nC: " + strings.Repeat("SIZE a | ", 50) + "PASV\nS: " + strings.Repeat("213 1 | ", 49) + entering,
				want: opensPASV, change: func(c *Config, _ *Terms) { c.Limits.Commands = 4 }},
			{name: "a run as long as it may be", script: "login\nC: " + strings.Repeat("NOOP | ", maxRun) + "PASV\nS: " + strings.Repeat("200 x | ", maxRun) + entering,
				want: opensPASV, change: func(c *Config, _ *Terms) { c.Limits.Commands = 2 }},
			{name: "a longer run", script: "login\nC: RETR a | " + strings.Repeat("NOOP | ", maxRun+1) + "PASV\nS: 226 x | " + strings.Repeat("200 x | ", maxRun+1) + entering,
				want: "deny unrequested 10.0.2.2:50000", change: func(c *Config, _ *Terms) { c.Limits.Commands = 2 }},
		}},
		{"out of step: a command while the client has all that the server sent", []dialogue{
			{name: "in step again", script: "login\nC: PASV\nS! " + entering + "\nC: NOOP\nS: 200 x\nC: NOOP\nS: 200 x\nC: " + port, want: opensPORT},
			{name: "not while the server speaks", script: "login\nC: PASV\nS! " + entering + "\nC: NOOP\nS: end of a line | 200-x\nC: NOOP\nS: 200 x\nC: " + port, want: "deny out_of_step PORT 10.0.1.2:50000"},
		}},
		{"joined in the middle: PORT, EPRT", []dialogue{
			{name: "joined, PORT", script: "join\nC: " + port, want: joinedPORT},
			{name: "joined, PORT answered", script: "join\nC: " + port + "\nS: 200 x\nC: " + port + "\nS: 200 x\nC: " + port,
				want: joinedPORT + "\n" + joinedPORT + "\n" + joinedPORT},
			{name: "joined, EPRT", script: "join\nC: EPRT |1|10.0.1.2|50000|\nS: 200 x\nC: EPRT |1|10.0.1.2|50000|",
				want: "deny out_of_step EPRT 10.0.1.2:50000\ndeny out_of_step EPRT 10.0.1.2:50000"},
			{name: "joined, PORT and a transfer", script: "join\nC: " + port + " | RETR a\nS: 200 x | 425 x\nC: " + port,
				want: joinedPORT + "\n" + opensPORT},
			{name: "joined, a command not answered yet", script: "join\nC: NOOP | " + port + "\nS: 200 x | 200 x", want: joinedPORT},
			{name: "joined, a preliminary reply", script: "join\nC: RETR a\nS: 150 x\nC: " + port, want: joinedPORT},
			{name: "joined, cut, pipelined with its proof", script: "join\nC: \"NOOP\\r\\nPORT 10,0,\"\nC: \"1,2,195,80\\r\\n\"\nS: 200 x", want: joinedPORT},
			{name: "joined, an answer nobody asked for", script: "join\nS: 200 x\nC: " + port, want: joinedPORT},
			{name: "joined, not FTP, answered", script: "join\nC: Host: x\nS: 500 x\nC: " + port, want: joinedPORT},
		}},
		{"joined in the middle: another command answered", []dialogue{
			{name: "joined, NOOP, PORT", script: "join\nC: NOOP\nS: 200 x\nC: " + port, want: opensPORT},
			{name: "joined, refused command, PORT", script: "join\nC: CWD a\nS: 550 x\nC: " + port, want: opensPORT},
			{name: "joined, PORT, NOOP, PORT", script: "join\nC: " + port + "\nS: 200 x\nC: NOOP\nS: 200 x\nC: " + port, want: joinedPORT + "\n" + opensPORT},
			{name: "joined, PASV", script: "join\nC: PASV\nS: " + entering, want: opensPASV},
			{name: "joined, no FTP command yet", script: "join\nC: hello\nS: " + entering, want: "deny out_of_step 10.0.2.2:50000"},
		}},
		{"joined in the middle: USER, 220, 331, 332, 530", []dialogue{
			{name: "joined at USER", script: "join\nC: USER u\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "joined before 220", script: "join\nS: 220 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "joined before 331", script: "join\nS: 331 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "joined before 332", script: "join\nS: 332 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "joined before 530", script: "join\nC: PASV\nS: 530 x\nC: " + port, want: "deny not_logged_in PORT 10.0.1.2:50000"},
			{name: "joined, logging in", script: "join\nC: USER u\nS: 331 x\nC: PASS p\nS: 230 x\nC: " + port, want: opensPORT},
		}},
		{"joined or once out of step, and in step again: 227, 229", []dialogue{
			{name: "neither, 227", script: "login\nC: PASV\nS: " + toX11, want: "open PASV 10.0.2.2:6000"},
			{name: "neither, 229", script: "login\nC: EPSV\nS: 229 ok (|||6000|)", want: "open EPSV 10.0.2.2:6000"},
			{name: "neither, PORT", script: "login\nC: PORT 10,0,1,2,23,112", want: "deny denied_port PORT 10.0.1.2:6000"},
			{name: "neither, control port", script: "login\nC: EPSV\nS: 229 ok (|||2121|)", want: "deny denied_port EPSV 10.0.2.2:2121"},
			{name: "joined, 227", script: "join\nC: NOOP\nS: 200 x\nC: PASV\nS: " + toX11, want: "deny denied_port PASV 10.0.2.2:6000"},
			{name: "joined, 229", script: "join\nC: NOOP\nS: 200 x\nC: EPSV\nS: 229 ok (|||6000|)", want: "deny denied_port EPSV 10.0.2.2:6000"},
			{name: "joined, and logged in again", script: "join\nC: USER u\nS: 331 x\nC: PASS p\nS: 230 x\nC: PASV\nS: " + toX11,
				want: "deny denied_port PASV 10.0.2.2:6000"},
			{name: "joined, another port", script: "join\nC: NOOP\nS: 200 x\nC: PASV\nS: " + entering, want: opensPASV},
			{name: "out of step once", script: "login\nC: PASV\nS! " + entering + "\nC: NOOP\nS: 200 x\nC: NOOP\nS: 200 x\nC: PASV\nS: " + toX11,
				want: "deny denied_port PASV 10.0.2.2:6000"},
			{name: "behind CCC", script: `
				login
				C: AUTH TLS
				S: 234 x
				C: "\x17\x03\x03\x00\x03abc"
				S: "\x17\x03\x03\x00\x03abc"
				C: PASV
				S: ` + toX11,
				want: "deny denied_port PASV 10.0.2.2:6000"},
		}},
	}
	var names []string
	for _, row := range rows {
		names = append(names, row.name)
		t.Run(row.name, func(t *testing.T) { performAll(t, row.dialogues) })
	}
	if diff := cmp.Diff(documentedRows(t), names); diff != "" {
		t.Errorf("rows of the package comment (-) and of this test (+):\n%s", diff)
	}
}

// documentedRows reads "state: event" of each row of the package comment's table.
// A row that says no state is of the one before; one that says no effect goes on
// with the row before.
func documentedRows(t *testing.T) []string {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "# The agreement")
	table, _, _ = strings.Cut(table, "# Translation")
	var rows [][2]string
	var events, effects int // where these columns begin
	for line := range strings.Lines(table) {
		line, indented := strings.CutPrefix(strings.TrimRight(line, "\n"), "//\t")
		if !indented {
			continue
		}
		if effects == 0 {
			events, effects = strings.Index(line, "event"), strings.Index(line, "effect")
			continue
		}
		line += strings.Repeat(" ", max(0, effects-len(line)))
		state, event := strings.TrimSpace(line[:events]), strings.TrimSpace(line[events:effects])
		switch last := len(rows) - 1; {
		case strings.TrimSpace(line[effects:]) == "":
			rows[last][0] = strings.TrimSpace(rows[last][0] + " " + state)
			rows[last][1] = strings.TrimSpace(rows[last][1] + " " + event)
		case state == "":
			rows = append(rows, [2]string{rows[last][0], event})
		default:
			rows = append(rows, [2]string{state, event})
		}
	}
	var names []string
	for _, row := range rows {
		names = append(names, row[0]+": "+row[1])
	}
	if len(names) == 0 || slices.Contains(names, ": ") {
		t.Fatalf("the package comment has no such table: %q", names)
	}
	return names
}

// long is longer than a line may be.
var long = strings.Repeat("x", 5000)

func wait2xx(_ *Config, t *Terms) { t.WaitFor2xx = true }

// unpassable are PASV and EPSV behind commands that are never passed over.
func unpassable() []dialogue {
	var list []dialogue
	for _, line := range []string{"USER v", "PASS p", "ACCT a", "REIN", "QUIT", "AUTH TLS", "ADAT x", "OPEN h", "EPSV ALL", "xyzzy"} {
		list = append(list,
			dialogue{name: line + " unanswered, PASV", script: "login\nC: " + line + "\nC: PASV\nS: " + entering, want: "deny out_of_step PASV 10.0.2.2:50000"},
			dialogue{name: line + " unanswered, EPSV", script: "login\nC: NOOP | " + line + "\nC: EPSV\nS: " + extended, want: "deny out_of_step EPSV 10.0.2.2:50000"},
		)
	}
	return append(list, dialogue{
		name: "asked before all was heard", want: "deny out_of_step PASV 10.0.2.2:50000\n" + opensPASV,
		script: "login\nC: NOOP\nS early 150\nC: PASV\nS: " + entering + "\nC: PASV\nS: " + entering,
	})
}

// loginsBehindOthers are logins whose replies are another command's.
func loginsBehindOthers() []dialogue {
	const denied = "deny not_logged_in PORT 10.0.1.2:50000"
	passed := "login\nC: NOOP\nC: PASV\nS: " + entering + "\n"
	shut := opensPASV + "\nclose logout PASV 50000\n"
	return []dialogue{
		{name: "NOOP passed over, 200 late at PASS", script: passed + "C: USER v\nS: 331 x\nC: PASS p\nS: 200 late | 530 x\nC: " + port, want: shut + denied},
		{name: "NOOP passed over, 200 late at USER", script: passed + "C: USER v\nS: 200 late | 331 x\nC: " + port, want: shut + denied},
		{name: "NOOP passed over, 200 late at ACCT", script: passed + "C: USER v\nS: 332 x\nC: ACCT a\nS: 200 late | 530 x\nC: " + port, want: shut + denied},
		{name: "NOOP passed over, and a login", script: passed + "C: USER v\nS: 331 x\nC: PASS p\nS: 230 x\nC: " + port, want: shut + opensPORT},
		{name: "NOOP passed over by 150", script: "login\nC: NOOP\nC: RETR a\nS: 150 x | 226 x\nC: USER v\nS: 331 x\nC: PASS p\nS: 200 late | 530 x\nC: " + port, want: denied},
		{name: "NOOP never answered", script: "login\nC: NOOP\nC: USER v\nS: 331 x\nC: NOOP\nS: 200 x\nC: " + port, want: denied},
		{name: "while a transfer runs, USER 331", script: "login\nC: RETR a\nS: 150 x\nC: USER v\nS: 331 x\nC: NOOP\nS: 200 x\nC: " + port, want: denied},
		{name: "while a transfer runs, USER 530", script: "login\nC: RETR a\nS: 150 x\nC: USER v\nS: 530 x\nC: NOOP\nS: 200 x\nC: " + port, want: denied},
		{name: "while a transfer runs, PASS 503", script: "S: 220 x\nC: USER u\nS: 331 x\nC: RETR a\nS: 150 x\nC: PASS p\nS: 503 x\nC: NOOP\nS: 200 x\nC: " + port, want: denied},
		{name: "too many commands, 200 late", script: "login\nC: RETR a | NOOP | ABOR\nC: USER v\nS: 200 late | 331 x\nC: " + port, want: denied,
			change: func(c *Config, _ *Terms) { c.Limits.Commands = 2 }},
		{name: "a blank line is none", script: "S: 220 x\nC: \"\\r\\n\"\nC: USER u\nS: 200 x\nC: " + port, want: opensPORT},
	}
}

// loginsBehindIdle are logins, and QUIT, behind commands that the server never
// answers, and what is none.
func loginsBehindIdle() []dialogue {
	const denied = "deny not_logged_in PORT 10.0.1.2:50000"
	return []dialogue{
		{name: "331, PORT before PASS", script: "login\nC: NOOP\nC: USER v\nS: 331 x\nC: " + port, want: denied},
		{name: "331, what was open", script: "login\nC: " + port + "\nS: 200 x\nC: NOOP\nC: USER v\nS: 331 x", want: opensPORT + "\nclose logout PORT 50000"},
		{name: "331, many", script: "login\nC: NOOP\nC: SIZE a\nC: \"\\r\\n\"\nC: MLST a\nC: USER v\nS: 331 x\nC: " + port, want: denied},
		{name: "230 to USER", script: "login\nC: NOOP\nC: USER v\nS: 230 x\nC: " + port, want: opensPORT},
		{name: "232 to PASS", script: "S: 220 x\nC: USER u\nS: 331 x\nC: NOOP\nC: PASS p\nS: 232 x\nC: PASV\nS: " + entering, want: opensPASV},
		{name: "230 to ACCT", script: "S: 220 x\nC: USER u\nS: 332 x\nC: NOOP\nC: ACCT a\nS: 230 x\nC: PASV\nS: " + entering, want: opensPASV},
		{name: "332 to PASS", script: "S: 220 x\nC: USER u\nS: 331 x\nC: NOOP\nC: PASS p\nS: 332 x\nC: " + port + "\nS: 530 x\nC: ACCT a\nS: 230 x\nC: " + port,
			want: denied + "\n" + opensPORT},
		{name: "a command before the login, PASV", script: "S: 220 x\nC: CLNT x\nC: USER u\nS: 331 x\nC: PASS p\nS: 230 x\nC: PASV\nS: " + entering, want: opensPASV},
		{name: "a command before the login, EPSV", script: "S: 220 x\nC: OPTS UTF8 ON\nC: USER u\nS: 331 x\nC: PASS p\nS: 230 x\nC: EPSV\nS: " + extended, want: opensEPSV},
		{name: "the password is refused", script: "login\nC: NOOP\nC: USER v\nS: 331 x\nC: PASS p\nS: 530 x\nC: " + port, want: denied},
		{name: "221", script: "login\nC: " + port + "\nS: 200 x\nC: NOOP\nC: QUIT\nS: 221 x\nC: " + port, want: opensPORT + "\nclose logout PORT 50000\n" + denied},
		{name: "200 to PASS is none", script: "S: 220 x\nC: CLNT x\nC: USER u\nS: 331 x\nC: PASS p\nS: 200 x\nC: " + port, want: denied},
		{name: "230 to another command", script: "S: 220 x\nC: USER u\nS: 331 x\nC: NOOP\nS: 230 x\nC: " + port, want: denied},
		{name: "230, asked before all was heard", script: "S: 220 x\nC: USER u\nS: 331 x\nC: NOOP\nS early 150\nC: PASS p\nS: 230 x\nC: " + port, want: denied},
		{name: "each its own", script: "login\nC: NOOP\nC: USER v\nS: 200 x | 331 x\nC: PASS p\nS: 230 x\nC: " + port, want: opensPORT},
		{name: "behind REIN", script: "login\nC: REIN\nC: USER v\nS: 230 x\nC: " + port, want: denied},
		{name: "behind what is not understood", script: "S: 220 x\nC: NOOP\nC: xyzzy\nC: USER v\nS: 230 x\nC: " + port, want: denied},
	}
}
