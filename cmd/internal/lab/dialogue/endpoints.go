package dialogue

// endpoints are addresses and ports that nobody may name.
func endpoints() []Dialogue {
	active := func(name, why, line, reason string, port uint16) Dialogue {
		return Dialogue{
			Name: name, Why: why, Trail: []string{"deny " + reason},
			Steps: inAndOut(c(line), shut(Active, port), s("200 ok"), shut(Active, port)),
		}
	}
	passive := func(name, why, command, line, reason string, port uint16) Dialogue {
		return Dialogue{
			Name: name, Why: why, Trail: []string{"deny " + reason},
			Steps: inAndOut(c(command), s(line), shut(Passive, port)),
		}
	}
	const (
		numbers  = "THREATS: numbers; CVE-2019-10055, CVE-2020-7455"
		services = "RFC 2577 3, CVE-2007-6741"
	)
	return []Dialogue{
		active("PORT with an octet over 255", numbers, "PORT {C},195,391", "malformed", Port),
		active("PORT with an address octet of 256", numbers, "PORT 256,0,1,2,195,135", "malformed", Port),
		active("PORT with a port over 65535", numbers, "PORT {C},451,135", "malformed", Port),
		active("PORT with five numbers", numbers, "PORT {C},195", "malformed", 195),
		active("PORT with seven numbers", numbers, "PORT {PORT},1", "malformed", Port),
		active("PORT with a sign", numbers, "PORT {C},+195,135", "malformed", Port),
		active("PORT in hexadecimal", numbers, "PORT {C},0xc3,0x87", "malformed", Port),
		active("PORT with a number of 30 digits", numbers, "PORT {C},195,100000000000000000000000000135", "malformed", Port),
		active("EPRT with a port over 65535", numbers, "EPRT |1|{CLIENT}|115591|", "malformed", Port),
		active("EPRT without its last delimiter", "RFC 2428 2", "EPRT |1|{CLIENT}|50055", "malformed", Port),
		active("EPRT with an address of the other family", "RFC 2428 2", "EPRT |2|{CLIENT}|50055|", "malformed", Port),
		active("EPRT of a family that does not exist", "RFC 2428 2: 522", "EPRT |3|{CLIENT}|50055|", "malformed", Port),
		passive("227 with an octet over 255", numbers, "PASV", "227 Entering Passive Mode ({S},195,391)", "malformed", Port),
		passive("227 with five numbers", numbers, "PASV", "227 Entering Passive Mode ({S},195)", "malformed", 195),
		passive("227 with seven numbers", numbers, "PASV", "227 Entering Passive Mode ({PASV},1)", "malformed", Port),
		passive("229 with a port over 65535", numbers, "EPSV", "229 Entering Extended Passive Mode (|||115591|)", "malformed", Port),
		passive("229 with a negative port", numbers, "EPSV", "229 Entering Extended Passive Mode (|||-15481|)", "malformed", Port),

		active("PORT to port 0", services, "PORT {C},0,0", "privileged_port", 0),
		active("PORT to ssh", services, "PORT {C},0,22", "privileged_port", 22),
		active("PORT to NetBIOS", "Kamkar 2020", "PORT {C},0,139", "privileged_port", 139),
		active("EPRT to ssh", services, "EPRT |1|{CLIENT}|22|", "privileged_port", 22),
		active("PORT to NFS", services, "PORT {C},8,1", "denied_port", 2049),
		active("PORT to a control port", services, "PORT {C},8,73", "denied_port", 2121),
		passive("227 to ssh", services, "PASV", "227 Entering Passive Mode ({S},0,22)", "privileged_port", 22),
		passive("227 to a control port", services, "PASV", "227 Entering Passive Mode ({S},8,73)", "denied_port", 2121),
		passive("229 to ssh", services, "EPSV", "229 Entering Extended Passive Mode (|||22|)", "privileged_port", 22),
		passive("229 to port 0", services, "EPSV", "229 Entering Extended Passive Mode (|||0|)", "privileged_port", 0),
		passive("229 to a control port", services, "EPSV", "229 Entering Extended Passive Mode (|||2121|)", "denied_port", 2121),
	}
}

// foreign are addresses of others.
func foreign() []Dialogue {
	const bounce = "RFC 2577 3, CVE-1999-0017: bounce"
	refused := []string{"deny foreign_address"}
	return []Dialogue{
		{
			Name: "PORT to a third host", Why: bounce, Trail: refused,
			Steps: inAndOut(c("PORT {O},195,135"), s("200 ok"), shutOther(Active), shut(Active, Port)),
		},
		{
			Name: "EPRT to a third host", Why: bounce, Trail: refused,
			Steps: inAndOut(c("EPRT |1|{OTHER}|50055|"), s("200 ok"), shutOther(Active), shut(Active, Port)),
		},
		{
			Name: "EPRT to a third host, IPv6", Why: bounce, Trail: refused, IPv6: true,
			Steps: inAndOut(c("EPRT |2|{OTHER}|50055|"), s("200 ok"), shutOther(Active), shut(Active, Port)),
		},
		{
			Name: "227 to a third host", Why: bounce, Trail: refused,
			Steps: inAndOut(c("PASV"), s("227 Entering Passive Mode ({O},195,135)"), shutOther(Passive), shut(Passive, Port)),
		},
		{
			Name: "PORT to the server itself", Why: bounce, Trail: refused,
			Steps: inAndOut(c("PORT {PASV}"), s("200 ok"), shut(Active, Port), shut(Passive, Port)),
		},
		{
			Name: "227 to the client itself", Why: bounce, Trail: refused,
			Steps: inAndOut(c("PASV"), s("227 Entering Passive Mode ({PORT})"), shut(Active, Port), shut(Passive, Port)),
		},
		{
			Name: "PORT to 0.0.0.0", Why: bounce, Trail: refused,
			Steps: inAndOut(c("PORT 0,0,0,0,195,135"), s("200 ok"), shut(Active, Port)),
		},
		{
			Name: "227 to 0.0.0.0", Why: "servers that are wrongly set up; the policy may allow it", Trail: refused,
			Steps: inAndOut(c("PASV"), s("227 Entering Passive Mode (0,0,0,0,195,135)"), shut(Passive, Port)),
		},
		{
			Name: "PORT to loopback", Why: bounce, Trail: refused,
			Steps: inAndOut(c("PORT 127,0,0,1,195,135"), s("200 ok"), shut(Active, Port)),
		},
		{
			Name: "EPRT with IPv6 in a session of IPv4", Why: "RFC 2428 2", Trail: refused,
			Steps: inAndOut(c("EPRT |2|fd00:0:0:1::2|50055|"), s("200 ok"), shut(Active, Port)),
		},
		{
			Name: "PORT in a session of IPv6", Why: "RFC 2428 1", Trail: refused, IPv6: true,
			Steps: inAndOut(c("PORT 10,0,1,2,195,135"), s("200 ok"), shut(Active, Port)),
		},
	}
}

// notFTP are clients and servers of another protocol on FTP's port.
func notFTP() []Dialogue {
	refused := []string{"deny not_ftp"}
	return []Dialogue{
		{
			Name: "HTTP POST with a login and PORT in its body", Why: "NAT slipstreaming, Kamkar 2020", Trail: refused,
			Steps: []Step{
				s("220 ready"),
				c("POST / HTTP/1.1", "Host: {SERVER}:21", "Content-Type: text/plain", "Content-Length: 70", ""),
				s("500 ?", "500 ?", "500 ?", "500 ?"),
				c("USER u"), s("331 x"), c("PASS p"), s("230 x"), c("PORT {PORT}"), shut(Active, Port), s("200 ok"), shut(Active, Port),
			},
		},
		{
			Name: "HTTP GET answered by a server that plays along", Why: "NAT slipstreaming", Trail: refused,
			Steps: []Step{
				c("GET / HTTP/1.1", "Host: {SERVER}", ""), s("220 ready", "230 in"), c("PASV"), s(entering), shut(Passive, Port),
			},
		},
		{
			Name: "SMTP", Why: "mail on port 21; PORT in a letter", Trail: refused,
			Steps: []Step{
				s("220 mail.example.com ESMTP"), c("EHLO client.example.com"), s("250 mail.example.com"),
				c("MAIL FROM:<a@example.com>"), s("250 ok"), c("DATA"), s("354 go on"), c("PORT {PORT}"), shut(Active, Port), c("."), s("250 ok"), shut(Active, Port),
			},
		},
		{
			Name: "SSH banner, then FTP", Why: "first line of the server is not FTP", Trail: refused,
			Steps: []Step{
				s("SSH-2.0-OpenSSH_9.2p1"), s("220 ready"), c("USER u"), s("331 x"), c("PASS p"), s("230 x"),
				c("PORT {PORT}"), shut(Active, Port), s("200 ok"), shut(Active, Port),
			},
		},
		{
			Name: "OPEN, then HTTP", Why: "OPEN alone does not speak FTP", Trail: refused,
			Steps: []Step{
				s("220 proxy ready"), c("OPEN {SERVER}"), s("220 connected"), c("POST / HTTP/1.1", "Host: {SERVER}", ""), s("500 ?", "500 ?", "500 ?"),
				c("USER u"), s("331 x"), c("PASS p"), s("230 x"), c("PORT {PORT}"), shut(Active, Port), s("200 ok"), shut(Active, Port),
			},
		},
		{
			Name: "a proxy's URL with CR LF and PORT in it", Why: "CSCdr09226", Trail: refused,
			Steps: []Step{
				s("220 ready"), c("GET ftp://{SERVER}/a", "USER u", "PASS p", "PORT {PORT}"), shut(Active, Port),
				s("500 ?", "331 x", "230 x", "200 ok"), shut(Active, Port),
			},
		},
	}
}
