package dialogue

import "strings"

// spelling are commands and replies as they are really written.
func spelling() []Dialogue {
	active := func(name, why, line string) Dialogue {
		return Dialogue{
			Name: name, Why: why,
			Steps: inAndOut(craw(line), s("200 ok"), c("RETR a"), s("150 ok"), opens(Active, Port), s("226 ok")),
			Trail: used(strings.ToUpper(strings.Trim(line, " ")[:4]) + " 50055"),
		}
	}
	passive := func(name, why, command, line string) Dialogue {
		return Dialogue{
			Name: name, Why: why,
			Steps: inAndOut(craw(command), sraw(line), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok")),
			Trail: used(strings.ToUpper(strings.TrimPrefix(command, "\xff\xfe\x01")[:4]) + " 50055"),
		}
	}
	const (
		pasv = "PASV\r\n"
		epsv = "EPSV\r\n"
		leap = "robustness principle"
	)
	return []Dialogue{
		active("PORT with a bare LF", "scripts; nc without -C", "PORT {PORT}\n"),
		active("port in lower case", "RFC 959 5.3: case does not matter", "port {PORT}\r\n"),
		active("PORT with two blanks", leap, "PORT  {PORT}\r\n"),
		active("PORT with a blank at its end", leap, "PORT {PORT} \r\n"),
		active("PORT with a TAB", leap, "PORT\t{PORT}\r\n"),
		active("PORT with blanks behind commas", leap, "PORT {C}, 195, 135\r\n"),
		active("PORT with CR CR LF", "text mode on Windows", "PORT {PORT}\r\r\n"),
		active("eprt in lower case with a bare LF", "RFC 959 5.3", "eprt {EPRT}\n"),
		active("EPRT with another delimiter", "RFC 2428 2: any of ASCII 33-126", "EPRT !1!{CLIENT}!50055!\r\n"),
		passive("PASV and 227 with bare LF", "scripts", "PASV\n", "227 Entering Passive Mode ({PASV}).\n"),
		passive("pasv in lower case with a blank", leap, "pasv \r\n", entering+"\r\n"),
		passive("PASV with NUL behind CR", "RFC 854: CR NUL", "PASV\r\x00\r\n", entering+"\r\n"),
		passive("227 with digits in its text", "servers with a clock or a version in the text", pasv, "227 2 of 10 ports: Entering Passive Mode ({PASV})\r\n"),
		passive("227 without parentheses", "RFC 1123 4.1.2.6: do not count on them", pasv, "227 Entering Passive Mode {PASV}\r\n"),
		passive("227 with =", "RFC 1123 4.1.2.6; wu-ftpd's ancestors, publicfile", pasv, "227 ={PASV}\r\n"),
		passive("227 with blanks behind commas", "RFC 1123 4.1.2.6", pasv, "227 Entering Passive Mode ({S BLANKS}, 195, 135)\r\n"),
		passive("227 with the tuple only", "RFC 1123 4.1.2.6", pasv, "227 {PASV}\r\n"),
		passive("227 in another language", "localised servers, Latin-1", pasv, "227 Passage en mode passif, \xe9tat (1) ({PASV})\r\n"),
		passive("229 with another delimiter", "RFC 2428 3", epsv, "229 Entering Extended Passive Mode (!!!50055!)\r\n"),
		passive("229 with an earlier parenthesis", "servers with (Extended) in the text", epsv, "229 Entering (Extended) Passive Mode ({EPSV})\r\n"),
		passive("229 without the usual words", "RFC 2428 3: the text is free", epsv, "229 ok ({EPSV})\r\n"),
		passive("EPSV 1", "RFC 2428 3: a protocol is asked for", "EPSV 1\r\n", extended+"\r\n"),
		passive("telnet option before 227", "RFC 854: IAC WONT", pasv, "\xff\xfc\x01"+entering+"\r\n"),
		passive("telnet option before PASV", "RFC 854: IAC DONT", "\xff\xfe\x01PASV\r\n", entering+"\r\n"),
	}
}

// replies are replies of more than one line (RFC 959 4.2).
func replies() []Dialogue {
	transfer := func(steps ...Step) []Step {
		return append(steps, c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok"), c("QUIT"), s("221-Bytes: 22", "221 Goodbye."))
	}
	welcome := []string{
		"230-Welcome, 227 users are logged in,", "230- of 331 allowed", "  220 since midnight", "550 is our number",
		"227 Entering Passive Mode (1,2,3,4,5,6)", "", "230 Guest login ok.",
	}
	return []Dialogue{
		{
			Name: "220- and 230- with digits inside", Why: "RFC 959 4.2; mirrors' banners",
			Steps: transfer(
				s("220-", "  100 years of files", "220-331 Password?", "220 ready"), c("USER u"), s("331 x"), c("PASS p"), s(welcome...),
				c("PASV"), s(entering),
			),
			Trail: used("PASV 50055"),
		},
		{
			Name: "230- in many segments", Why: "RFC 959 4.2",
			Steps: transfer(
				s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s(welcome...).cut(1, 3, 4, 30, 42, 70, 90, 110, 130, 150, -22, -20, -3),
				c("PASV"), s(entering),
			),
			Trail: used("PASV 50055"),
		},
		{
			Name: "227-, the last line has the tuple", Why: "RFC 959 4.2",
			Steps: transfer(in(c("PASV"), s("227-Take care:", " 1,2,3,4,5,6 is no address", entering))...),
			Trail: used("PASV 50055"),
		},
		{
			Name: "229-, the last line has the port", Why: "RFC 959 4.2",
			Steps: transfer(in(c("EPSV"), s("229-Take care:", "229-(|||22|)", extended))...),
			Trail: used("EPSV 50055"),
		},
		{
			Name: "211- of FEAT before PASV", Why: "RFC 2389 3.2",
			Steps: transfer(in(c("FEAT"), s("211-Features:", " EPRT", " EPSV", " PASV", " REST STREAM", "211 End"), c("PASV"), s(entering))...),
			Trail: used("PASV 50055"),
		},
		{
			Name: "a long line in 230-", Why: "banners without line ends",
			Steps: transfer(
				s("220 ready"), c("USER u"), s("331 x"), c("PASS p"),
				s("230-"+strings.Repeat("Welcome! ", 600), "230 Guest login ok."), c("PASV"), s(entering),
			),
			Trail: used("PASV 50055"),
		},
		{
			Name: "213- of STAT as multi-line reply with a listing", Why: "RFC 959 4.1.3",
			Steps: transfer(in(c("STAT ."), s("213-status of .:", "-rw-r--r-- 1 ftp ftp 22 Jan 1 227 a", "227 files", "213 End of status"), c("PASV"), s(entering))...),
			Trail: used("PASV 50055"),
		},
	}
}
