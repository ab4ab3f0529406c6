package dialogue

import "strings"

// unrequested are replies that offer a port for which nobody asked, or that
// are none.
func unrequested() []Dialogue {
	const echo = "227 Entering Passive Mode ({PASV})"
	return []Dialogue{
		{
			Name: "227 that nobody asked for", Why: "THREATS: PASV hole, CVE-2000-0150",
			Steps: inAndOut(s(entering), shut(Passive, Port)),
			Trail: []string{"deny unrequested"},
		},
		{
			Name: "229 that nobody asked for", Why: "PASV hole",
			Steps: inAndOut(s(extended), shut(Passive, Port)),
			Trail: []string{"deny unrequested"},
		},
		{
			Name: "227 as the answer to NOOP", Why: "PASV hole",
			Steps: inAndOut(c("NOOP"), s(entering), shut(Passive, Port)),
			Trail: []string{"deny unrequested"},
		},
		{
			Name: "229 as the answer to PASV", Why: "RFC 2428 3",
			Steps: inAndOut(c("PASV"), s(extended), shut(Passive, Port)),
			Trail: []string{"deny unrequested"},
		},
		{
			Name: "second 227 for one PASV", Why: "PASV hole",
			Steps: inAndOut(c("PASV"), s(entering), opens(Passive, Port), s("227 Entering Passive Mode ({S},195,136)."), shut(Passive, OtherPort)),
			Trail: append(used("PASV 50055"), "deny unrequested"),
		},
		{
			Name: "227 inside of a 211- block", Why: "RFC 959 4.2: text",
			Steps: inAndOut(c("STAT"), s("211-Status", echo, "211 End"), shut(Passive, Port)),
		},
		{
			Name: "227 inside of a block that answers PASV", Why: "RFC 959 4.2: text",
			Steps: inAndOut(c("PASV"), s("550-No.", echo, "550 No passive mode."), shut(Passive, Port)),
		},
		{
			Name: "227 as an inner line of 227-", Why: "RFC 959 4.2: only the last line is the reply",
			Steps: inAndOut(c("PASV"), s("227-"+echo[4:], "227 Entering Passive Mode ({S},195,136)."), shut(Passive, Port), opens(Passive, OtherPort)),
			Trail: used("PASV 50056"),
		},
		{
			Name: "227 inside of a block, in a segment of its own", Why: "PASV hole",
			Steps: inAndOut(c("STAT"), s("211-Status"), s(echo), s("211 End"), shut(Passive, Port)),
		},
		{
			Name: "227 echoed behind 550", Why: "CVE-2000-0150; GNU inetutils ftpd 2.4",
			Steps: inAndOut(c("RETR "+echo), s("550 "+echo+": No such file or directory."), shut(Passive, Port)),
		},
		{
			Name: "227 echoed, cut so that it begins a segment", Why: "CVE-2000-0150: a small segment size",
			Steps: inAndOut(c("RETR "+echo), s("550 "+echo+": No such file or directory.").cut(4), shut(Passive, Port)),
		},
		{
			Name: "227 echoed in a segment of its own while PASV waits", Why: "CVE-2000-0150",
			Steps: inAndOut(
				c("RETR "+echo, "PASV"), s("550 "+echo).cut(4), s("227 Entering Passive Mode ({S},195,136)."),
				shut(Passive, Port), opens(Passive, OtherPort),
			),
			Trail: used("PASV 50056"),
		},
		{
			Name: "227 behind an error in its segment", Why: "PASV hole",
			Steps: inAndOut(c("RETR a"), s("550 a: No such file.", echo), shut(Passive, Port)),
			Trail: []string{"deny unrequested"},
		},
		{
			Name: "227 behind an error, in a segment of its own", Why: "PASV hole",
			Steps: inAndOut(c("RETR a"), s("550 a: No such file."), s(echo), shut(Passive, Port)),
			Trail: []string{"deny unrequested"},
		},
		{
			Name: "227 with a blank before it", Why: "RFC 959 4.2: no reply",
			Steps: inAndOut(c("NOOP"), s(" "+echo, "200 ok"), shut(Passive, Port)),
		},
		{
			Name: "command of the server", Why: "Cisco inspect ftp strict",
			Steps: inAndOut(s("PORT {PORT}"), shut(Active, Port), s("PORT {PASV}"), shut(Passive, Port)),
			Trail: []string{"deny unrequested", "deny unrequested"},
		},
		{
			Name: "reply of the client", Why: "Cisco inspect ftp strict",
			Steps: inAndOut(c("227 Entering Passive Mode ({PORT})"), s("500 ?"), shut(Active, Port), c(echo), s("500 ?"), shut(Passive, Port)),
			Trail: []string{"deny unrequested", "deny unrequested"},
		},
	}
}

// early are sessions in which nobody is logged in.
func early() []Dialogue {
	const refused = "deny not_logged_in"
	passive := func(steps ...Step) []Step { return append(steps, c("PASV"), s(entering), shut(Passive, Port)) }
	active := func(steps ...Step) []Step {
		return append(steps, c("PORT {PORT}"), shut(Active, Port), s("200 ok"), shut(Active, Port))
	}
	return []Dialogue{
		{Name: "PASV before the login", Why: "law 5", Steps: passive(s("220 ready")), Trail: []string{refused}},
		{Name: "PORT before the login", Why: "law 5", Steps: active(s("220 ready")), Trail: []string{refused}},
		{Name: "PORT before the greeting", Why: "law 5; NAT slipstreaming", Steps: append(active()[:2], s("220 ready"), s("200 ok"), shut(Active, Port)), Trail: []string{refused}},
		{Name: "PASV between USER and PASS", Why: "law 5", Steps: passive(s("220 ready"), c("USER u"), s("331 x")), Trail: []string{refused}},
		{Name: "PASV behind 530", Why: "law 5", Steps: passive(s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s("530 Login incorrect.")), Trail: []string{refused}},
		{Name: "PORT behind 530", Why: "law 5", Steps: active(s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s("530 Login incorrect.")), Trail: []string{refused}},
		{Name: "PORT behind 332", Why: "RFC 959 6: an account is still needed", Steps: active(s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s("332 account?")), Trail: []string{refused}},
		{Name: "PORT between the second USER and its PASS", Why: "RFC 959 4.1.1", Steps: active(in(c("USER other"), s("331 x"))...), Trail: []string{refused}},
		{Name: "PASV behind REIN", Why: "RFC 959 4.1.1", Steps: passive(in(c("REIN"), s("220 ready"))...), Trail: []string{refused}},
		{Name: "PORT behind QUIT", Why: "RFC 959 4.1.1", Steps: active(in(c("QUIT"), s("221 Goodbye."))...), Trail: []string{refused}},
		{Name: "PORT behind 421", Why: "RFC 959 5.4: the connection is about to be closed", Steps: active(in(s("421 Timeout."))...), Trail: []string{refused}},
		{Name: "PASV behind OPEN, 230", Why: "what a proxy says of a connection is no login", Steps: passive(s("220 proxy"), c("OPEN h"), s("230 connected"), c("TYPE I"), s("200 ok")), Trail: []string{refused}},
		{Name: "PORT behind OPEN in a session that was logged in", Why: "the login was elsewhere", Steps: active(in(c("OPEN h"), s("220 connected"))...), Trail: []string{refused}},
		{Name: "PORT behind OPEN and greeting 230", Why: "a client that was made to speak", Steps: active(s("230 proxy"), c("OPEN h")), Trail: []string{refused}},
		{Name: "PORT first behind greeting 230", Why: "a client that was made to speak", Steps: active(s("230 welcome")), Trail: []string{refused}},
		{
			Name: "EPRT first behind greeting 200", Why: "a client that was made to speak", Trail: []string{refused, refused},
			Steps: []Step{s("200 welcome"), c("EPRT {EPRT}"), s("200 ok"), shut(Active, Port), c("NOOP"), s("200 ok"), c("PORT {PORT}"), s("200 ok"), shut(Active, Port)},
		},
		{Name: "PORT before greeting 230", Why: "a client that was made to speak", Steps: append(active()[:2], s("230 welcome"), s("200 ok"), shut(Active, Port)), Trail: []string{refused}},
		{Name: "PASV behind greeting 230 and USER", Why: "RFC 959 4.1.1", Steps: passive(s("230 welcome"), c("USER u"), s("331 x")), Trail: []string{refused}},
		{Name: "PASV behind PASS without USER, 202", Why: "RFC 959 5.4: superfluous", Steps: passive(s("220 ready"), c("PASS p"), s("202 superfluous")), Trail: []string{refused}},
		{Name: "PORT behind ACCT without USER, 202", Why: "RFC 959 5.4: superfluous", Steps: active(s("220 ready"), c("ACCT a"), s("202 superfluous")), Trail: []string{refused}},
		{Name: "PORT behind ACCT in the place of PASS, 202", Why: "RFC 959 5.4: superfluous", Steps: active(s("220 ready"), c("USER u"), s("331 x"), c("ACCT a"), s("202 superfluous")), Trail: []string{refused}},
		{Name: "PASV behind 530 and ACCT, 202", Why: "RFC 959 5.4: superfluous", Steps: passive(s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s("530 x"), c("ACCT a"), s("202 superfluous")), Trail: []string{refused}},
		{Name: "PORT between USER and PASS, behind NOOP, 200", Why: "law 5", Steps: active(s("220 ready"), c("USER u"), s("331 x"), c("NOOP"), s("200 ok")), Trail: []string{refused}},
		{Name: "PORT behind a line that the server takes for two", Why: "servers to which a bare CR ends a line", Steps: active(s("220 ready"), craw("USER u\rNOOP\r\nPASS p\r\nNOOP\r\n"), s("331 x", "200 ok")), Trail: []string{refused}},
		{
			Name: "EPSV ALL, then PORT, EPRT and PASV", Why: "RFC 2428 4",
			Steps: inAndOut(
				c("EPSV ALL"), s("200 ok"), c("PORT {PORT}"), shut(Active, Port), s("200 ok"),
				c("EPRT {EPRT}"), s("200 ok"), shut(Active, Port), c("PASV"), s(entering), shut(Passive, Port),
			),
			Trail: []string{"deny epsv_all", "deny epsv_all", "deny epsv_all"},
		},
	}
}

// late are ports that were agreed on and may no longer be used.
func late() []Dialogue {
	const opened = "open PASV 50055"
	passive := func(steps ...Step) []Step {
		return append(in(c("PASV"), s(entering)), append(steps, shut(Passive, Port))...)
	}
	return []Dialogue{
		{
			Name: "second connection to one port", Why: "law 4: one connection", Steps: inAndOut(c("PASV"), s(entering), opens(Passive, Port), shut(Passive, Port)),
			Trail: used("PASV 50055"),
		},
		{
			Name: "PORT answered by 500", Why: "RFC 959 5.4: refused", Steps: inAndOut(c("PORT {PORT}"), s("500 Illegal PORT command."), shut(Active, Port)),
			Trail: []string{"open PORT 50055", "close refused 50055"},
		},
		{
			Name: "EPRT answered by 425", Why: "RFC 959 5.4: refused", Steps: inAndOut(c("EPRT {EPRT}"), s("425 Cannot open data connection."), shut(Active, Port)),
			Trail: []string{"open EPRT 50055", "close refused 50055"},
		},
		{Name: "port behind QUIT", Why: "law 5", Steps: passive(c("QUIT"), s("221 Goodbye.")), Trail: []string{opened, "close logout 50055"}},
		{Name: "port behind REIN", Why: "RFC 959 4.1.1", Steps: passive(c("REIN"), s("220 ready")), Trail: []string{opened, "close logout 50055"}},
		{Name: "port behind OPEN", Why: "the login was elsewhere", Steps: passive(c("OPEN h"), s("220 connected")), Trail: []string{opened, "close logout 50055"}},
		{Name: "port behind a second USER", Why: "RFC 959 4.1.1", Steps: passive(c("USER other"), s("331 x")), Trail: []string{opened, "close logout 50055"}},
		{Name: "port behind 421", Why: "RFC 959 5.4", Steps: passive(s("421 Timeout.")), Trail: []string{opened, "close logout 50055"}},
		{Name: "port behind FIN", Why: "law 4", Steps: passive(Step{From: Client, End: FIN}, Step{From: Server, End: FIN}), Trail: []string{opened, "close session_end 50055"}},
		{Name: "port behind RST", Why: "law 4", Steps: passive(Step{From: Client, End: RST}), Trail: []string{opened, "close session_end 50055"}},
		{Name: "port behind AUTH TLS", Why: "RFC 4217; CVE-2015-5361", Steps: passive(c("AUTH TLS"), s("234 Proceed.")), Trail: []string{opened, "close encrypted 50055"}},
	}
}

// hidden are bytes that look like FTP and are something else.
func hidden() []Dialogue {
	long := func(n int) string { return strings.Repeat("0123456789abcde ", n/16) }
	transfer := []Step{c("PASV"), s("227 Entering Passive Mode ({S},195,136)."), opens(Passive, OtherPort)}
	return []Dialogue{
		{
			Name: "ciphertext that looks like PORT", Why: "RFC 4217: nothing behind 234 is text",
			Steps: in(
				c("AUTH TLS"), s("234 Proceed."), c("PORT {PORT}"), s("200 ok"), shut(Active, Port),
				c("PASV"), s(entering), shut(Passive, Port),
			),
		},
		{
			Name: "PORT inside of a TLS record", Why: "RFC 4217: nothing behind 234 is text",
			Steps: in(
				c("AUTH TLS"), s("234 Proceed."), craw("\x16\x03\x01\x00\x05hello"), sraw("\x16\x03\x03\x00\x05hello"),
				craw("\x17\x03\x03\x00\x40\r\n"), craw("PORT {PORT}\r\n"), sraw("\x17\x03\x03\x00\x08\r\n200 k"), shut(Active, Port),
			),
		},
		{
			Name: "PORT at the end of a line of 8,000 bytes", Why: "law 8: bytes a line",
			Steps: inAndOut(append([]Step{
				c("SITE " + long(8000) + "PORT {PORT}").cut(-28), s("500 Line too long."), shut(Active, Port),
			}, transfer...)...),
			Trail: used("PASV 50056"),
		},
		{
			Name: "PORT in its own segment within a line of 70,000 bytes", Why: "OSS-Fuzz on Zeek; law 8",
			// No more at once than is kept of what comes out of order.
			Steps: inAndOut(append([]Step{
				craw("SITE " + long(14000)), craw(long(14000)), craw(long(14000)), craw(long(14000)), craw(long(14000)),
				craw("PORT {PORT}\r\n"), s("500 Line too long."), shut(Active, Port),
			}, transfer...)...),
			Trail: used("PASV 50056"),
		},
		{
			Name: "PORT before 8,000 blanks", Why: "law 8: nothing opens from a line over the limit",
			Steps: inAndOut(c("PORT {PORT}"+strings.Repeat(" ", 8000)), s("500 ?"), shut(Active, Port)),
		},
		{
			Name: "227 of 8,000 bytes", Why: "law 8: nothing opens from a line over the limit",
			Steps: inAndOut(c("PASV"), s("227 "+long(8000)+" ({PASV})"), shut(Passive, Port)),
		},
		{
			Name: "a line that never ends", Why: "law 8: bytes a line",
			Steps: in(craw(long(3200)), craw(long(3200)), craw("PORT {PORT}"), shut(Active, Port), s("500 ?")),
		},
		{
			Name: "PORT that never ends", Why: "RFC 959 5.3: a line ends with CR LF",
			Steps: in(craw("PORT {PORT}"), shut(Active, Port)),
		},
		{
			Name: "227 that never ends", Why: "RFC 959 4.2: a line ends with CR LF",
			Steps: in(c("PASV"), sraw("227 Entering Passive Mode ({PASV})"), shut(Passive, Port)),
		},
		{
			Name: "PORT as a file's name", Why: "a path is no command",
			Steps: inAndOut(c("RETR PORT {PORT}"), s("550 PORT {PORT}: No such file."), shut(Active, Port)),
		},
		{
			Name: "PORT behind a bare CR", Why: "RFC 854: CR alone ends no line",
			Steps: inAndOut(craw("NOOP\rPORT {PORT}\r\n"), s("200 ok"), shut(Active, Port)),
		},
	}
}
