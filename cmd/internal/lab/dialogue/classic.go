package dialogue

// classic are the sessions that users know.
func classic() []Dialogue {
	return []Dialogue{
		{
			Name: "ftp -d, active", Why: "administrators' guides; RFC 959 7",
			Steps: inAndOut(
				c("SYST"), s("215 UNIX Type: L8"),
				c("PORT {PORT}"), s("200 PORT command successful."),
				c("LIST"), s("150 Opening ASCII mode data connection for '/bin/ls'."),
				opens(Active, Port), s("226 Transfer complete."),
			),
			Trail: used("PORT 50055"),
		},
		{
			Name: "ftp -d, passive, no dot at the end", Why: "administrators' guides; RFC 959 7",
			Steps: inAndOut(
				c("SYST"), s("215 UNIX Type: L8"),
				c("PASV"), s("227 Entering Passive Mode ({PASV})"),
				c("LIST"), opens(Passive, Port), s("150 Here comes the directory listing."), s("226 Directory send OK."),
			),
			Trail: used("PASV 50055"),
		},
		{
			Name: "ftp -d, passive, a dot at the end", Why: "administrators' guides; vsftpd, proftpd",
			Steps: inAndOut(
				c("PASV"), s("227 Entering Passive Mode ({PASV})."),
				c("RETR hello.txt"), opens(Passive, Port), s("150 Opening BINARY mode data connection."), s("226 Transfer complete."),
			),
			Trail: used("PASV 50055"),
		},
		{
			Name: "EPSV", Why: "RFC 2428 3; curl, lftp",
			Steps: inAndOut(c("EPSV"), s(extended), c("MLSD"), opens(Passive, Port), s("150 ok"), s("226 ok")),
			Trail: used("EPSV 50055"),
		},
		{
			Name: "EPRT", Why: "RFC 2428 2; curl",
			Steps: inAndOut(c("EPRT {EPRT}"), s("200 EPRT command successful."), c("LIST"), s("150 ok"), opens(Active, Port), s("226 ok")),
			Trail: used("EPRT 50055"),
		},
		{
			Name: "EPSV, IPv6", Why: "RFC 2428 3", IPv6: true,
			Steps: inAndOut(c("EPSV"), s(extended), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok")),
			Trail: used("EPSV 50055"),
		},
		{
			Name: "EPRT, IPv6", Why: "RFC 2428 2", IPv6: true,
			Steps: inAndOut(c("EPRT {EPRT}"), s("200 ok"), c("RETR a"), s("150 ok"), opens(Active, Port), s("226 ok")),
			Trail: used("EPRT 50055"),
		},
		{
			Name: "EPRT, IPv6 address spelled in another way", Why: "RFC 4291 2.2", IPv6: true,
			Steps: inAndOut(c("EPRT |2|{LONG}|50055|"), s("200 ok"), c("RETR a"), s("150 ok"), opens(Active, Port), s("226 ok")),
			Trail: used("EPRT 50055"),
		},
		{
			Name: "server connects before it answers PORT", Why: "pyftpdlib",
			Steps: inAndOut(c("PORT {PORT}"), opens(Active, Port), s("200 Active data connection established."), c("LIST"), s("150 ok"), s("226 ok")),
			Trail: used("PORT 50055"),
		},
		{
			Name: "modes switched back and forth", Why: "clients that fall back: \"bind failed\"",
			Steps: inAndOut(
				c("PASV"), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok"),
				c("PORT {C},195,136"), s("200 ok"), c("RETR a"), s("150 ok"), opens(Active, OtherPort), s("226 ok"),
				c("EPSV"), s("229 Entering Extended Passive Mode (|||50056|)"), c("RETR a"), opens(Passive, OtherPort), s("150 ok"), s("226 ok"),
				c("EPRT {EPRT}"), s("200 ok"), c("RETR a"), s("150 ok"), opens(Active, Port), s("226 ok"),
			),
			Trail: used("PASV 50055", "PORT 50056", "EPSV 50056", "EPRT 50055"),
		},
		{
			Name: "the same passive port again", Why: "servers with a range of one port",
			Steps: inAndOut(
				c("PASV"), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok"),
				shut(Passive, Port), // one connection for each
				c("PASV"), s(entering), c("RETR b"), opens(Passive, Port), s("150 ok"), s("226 ok"),
			),
			Trail: used("PASV 50055", "PASV 50055"),
		},
		{
			Name: "PORT refused, then PASV", Why: "servers behind a firewall answer PORT with 500",
			Steps: inAndOut(
				c("PORT {PORT}"), s("500 Illegal PORT command."), shut(Active, Port),
				c("PASV"), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok"),
			),
			Trail: append(used("PASV 50055"), "open PORT 50055", "close refused 50055"),
		},
		{
			Name: "EPSV refused, then PASV", Why: "old servers; curl, ftplib",
			Steps: inAndOut(
				c("EPSV"), s("500 EPSV not understood"),
				c("PASV"), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok"),
			),
			Trail: used("PASV 50055"),
		},
		{
			Name: "EPRT refused, then PORT", Why: "RFC 2428 2: 522; curl",
			Steps: inAndOut(
				c("EPRT {EPRT}"), s("522 Network protocol not supported, use (2)"), shut(Active, Port),
				c("PORT {C},195,136"), s("200 ok"), c("RETR a"), s("150 ok"), opens(Active, OtherPort), s("226 ok"),
			),
			Trail: append(used("PORT 50056"), "open EPRT 50055", "close refused 50055"),
		},
		{
			Name: "PORT replaced by PORT", Why: "RFC 959 3.3: the latest counts",
			Steps: inAndOut(
				c("PORT {PORT}"), s("200 ok"), c("PORT {C},195,136"), s("200 ok"),
				shut(Active, Port), c("RETR a"), s("150 ok"), opens(Active, OtherPort), s("226 ok"),
			),
			Trail: append(used("PORT 50056"), "open PORT 50055", "close replaced 50055"),
		},
		{
			Name: "227 to a port of deny_ports", Why: "servers with a range of 1024 to 65535: each port comes up now and then",
			Steps: inAndOut(c("PASV"), s("227 Entering Passive Mode ({S},8,1)."), c("RETR a"), opens(Passive, 2049), s("150 ok"), s("226 ok")),
			Trail: []string{"open PASV 2049", "close finished 2049"},
		},
		{
			Name: "229 to a port of deny_ports", Why: "servers with a range of 1024 to 65535: each port comes up now and then",
			Steps: inAndOut(c("EPSV"), s("229 Entering Extended Passive Mode (|||10080|)"), c("RETR a"), opens(Passive, 10080), s("150 ok"), s("226 ok")),
			Trail: []string{"open EPSV 10080", "close finished 10080"},
		},
		{
			Name: "PASV replaced by PASV", Why: "RFC 959 3.3: the latest counts",
			Steps: inAndOut(
				c("PASV"), s(entering), c("PASV"), s("227 Entering Passive Mode ({S},195,136)."),
				shut(Passive, Port), c("RETR a"), opens(Passive, OtherPort), s("150 ok"), s("226 ok"),
			),
			Trail: append(used("PASV 50056"), "open PASV 50055", "close replaced 50055"),
		},
	}
}

// logins are the ways to be let in.
func logins() []Dialogue {
	transfer := func(steps ...Step) []Step {
		return append(steps, c("PASV"), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok"), c("QUIT"), s("221 Goodbye."))
	}
	return []Dialogue{
		{
			Name: "120, then 220", Why: "RFC 959 5.4",
			Steps: transfer(s("120 Service ready in 1 minutes."), s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s("230 x")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "USER answered by 230 at once", Why: "RFC 959 6: no password needed",
			Steps: transfer(s("220 ready"), c("USER anonymous"), s("230 User logged in.")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "332, ACCT", Why: "RFC 959 6",
			Steps: transfer(s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s("332 Need account for login."), c("ACCT a"), s("230 x")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "HOST answered by 220", Why: "RFC 7151 3.2",
			Steps: transfer(s("220 ready"), c("HOST ftp.example.com"), s("220 Host accepted"), c("USER u"), s("331 x"), c("PASS p"), s("230 x")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "second USER and login again", Why: "RFC 959 4.1.1",
			Steps: transfer(in(c("USER other"), s("331 x"), c("PASS p"), s("230 x"))...),
			Trail: used("PASV 50055"),
		},
		{
			Name: "REIN and login again", Why: "RFC 959 4.1.1",
			Steps: transfer(in(c("REIN"), s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s("230 x"))...),
			Trail: used("PASV 50055"),
		},
		{
			Name: "login failed once", Why: "RFC 959 6",
			Steps: transfer(s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s("530 Login incorrect."), c("USER u"), s("331 x"), c("PASS q"), s("230 x")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "login pipelined", Why: "RFC 2389 and lftp's sync-mode off",
			Steps: transfer(s("220 ready"), c("USER u", "PASS p", "TYPE I"), s("331 x", "230 x", "200 x")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "PASS answered by 202", Why: "RFC 959 5.4: superfluous; clients take any 2xx for a login",
			Steps: transfer(s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s("202 No password needed.")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "PASS answered by 200", Why: "embedded servers; clients take any 2xx for a login",
			Steps: transfer(s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s("200 ok")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "PASS answered by 220", Why: "embedded servers; clients take any 2xx for a login",
			Steps: transfer(s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s("220 Welcome.")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "USER answered by 200", Why: "embedded servers without passwords",
			Steps: transfer(s("220 ready"), c("USER u"), s("200 ok")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "332, ACCT answered by 202", Why: "RFC 959 5.4",
			Steps: transfer(s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s("332 Need account for login."), c("ACCT a"), s("202 x")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "login pipelined, PASS answered by 200-", Why: "RFC 959 4.2; lftp's sync-mode off",
			Steps: transfer(s("220 ready"), c("USER u", "PASS p", "TYPE I"), s("331 x", "200-Welcome,", "530 users are here", "200 in", "200 x")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "greeting 230", Why: "devices that want no login",
			Steps: transfer(s("230 Welcome, no login is needed.")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "greeting 200, then PORT behind TYPE", Why: "devices that want no login",
			Steps: []Step{
				s("200 ready"), c("TYPE I"), s("200 ok"), c("PORT {PORT}"), s("200 ok"), c("RETR a"), s("150 ok"),
				opens(Active, Port), s("226 ok"), c("QUIT"), s("221 Goodbye."),
			},
			Trail: used("PORT 50055"),
		},
		{
			Name: "120, greeting 230-, and a login nevertheless", Why: "devices that want no login, clients that always send one",
			Steps: transfer(s("120 wait"), s("230-Welcome,", "220 is no code here", "230 come in"), c("USER u"), s("331 x"), c("PASS p"), s("230 x")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "OPEN host as the first line", Why: "FTP proxies; controllers of machines",
			Steps: transfer(
				s("220 proxy ready"), c("OPEN ftp.example.com"), s("220 connected to ftp.example.com"),
				c("USER u"), s("331 x"), c("PASS p"), s("230 x"),
			),
			Trail: used("PASV 50055"),
		},
		{
			Name: "open host port in lower case, active", Why: "FTP proxies",
			Steps: []Step{
				s("220 proxy ready"), c("open ftp.example.com 2121"), s("120 wait"), s("200 connected"),
				c("USER u"), s("331 x"), c("PASS p"), s("230 x"), c("PORT {PORT}"), s("200 ok"), c("RETR a"), s("150 ok"),
				opens(Active, Port), s("226 ok"), c("QUIT"), s("221 Goodbye."),
			},
			Trail: used("PORT 50055"),
		},
		{
			Name: "OPEN refused, USER user@host", Why: "FTP proxies: clients that try one way after the other",
			Steps: transfer(
				s("220 proxy ready"), c("OPEN ftp.example.com"), s("500 Unknown command."),
				c("USER u@ftp.example.com"), s("331 x"), c("PASS p"), s("230 x"),
			),
			Trail: used("PASV 50055"),
		},
		{
			Name: "SITE host, cut over segments", Why: "FTP proxies",
			Steps: transfer(
				s("220 proxy ready"), c("SITE ftp.example.com").cut(2, 9), s("220 connected"),
				c("USER u"), s("331 x"), c("PASS p"), s("230 x"),
			),
			Trail: used("PASV 50055"),
		},
		{
			Name: "OPEN later, and a login there", Why: "FTP proxies: from one server to the next",
			Steps: transfer(in(c("OPEN other.example.com"), s("220 connected"), c("USER u"), s("331 x"), c("PASS p"), s("230 x"))...),
			Trail: used("PASV 50055"),
		},
		{
			Name: "AUTH TLS refused", Why: "RFC 4217 4; lftp, FileZilla",
			Steps: transfer(s("220 ready"), c("AUTH TLS"), s("504 Unknown security mechanism"), c("AUTH SSL"), s("500 no"), c("USER u"), s("331 x"), c("PASS p"), s("230 x")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "AUTH TLS, then CCC", Why: "RFC 4217 12.3; clients behind NAT",
			Steps: transfer(
				s("220 ready"), c("AUTH TLS"), s("234 Proceed with negotiation."),
				craw("\x16\x03\x01\x00\x0chello, hello"), sraw("\x16\x03\x03\x00\x05hello"),
				craw("\x17\x03\x03\x00\x14USER, PASS and CCC.."), sraw("\x17\x03\x03\x00\x10331, 230 and 200"),
			),
			Trail: used("PASV 50055"),
		},
	}
}
