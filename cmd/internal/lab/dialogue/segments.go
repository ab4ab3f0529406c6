package dialogue

// cut are sessions whose lines do not begin and end with segments.
func cut() []Dialogue {
	var list []Dialogue
	places := []struct {
		name string
		at   int
	}{
		{"in the verb", 2}, {"behind the verb", 4}, {"behind the blank", 5}, {"in the address", 8},
		{"before the port", -9}, {"in the port", -4}, {"before CR", -2}, {"between CR and LF", -1},
	}
	for _, place := range places {
		list = append(list, Dialogue{
			Name: "PORT cut " + place.name, Why: "TCP has no lines (RFC 9293 3.8)",
			Steps: inAndOut(c("PORT {PORT}").cut(place.at), s("200 ok"), c("RETR a"), s("150 ok"), opens(Active, Port), s("226 ok")),
			Trail: used("PORT 50055"),
		})
	}
	places = []struct {
		name string
		at   int
	}{
		{"in the code", 2}, {"behind the code", 3}, {"in the text", 12}, {"before the parenthesis", 26},
		{"behind the parenthesis", 27}, {"in the address", 30}, {"in the port", -6},
		{"before the closing parenthesis", -4}, {"before CR", -2}, {"between CR and LF", -1},
	}
	for _, place := range places {
		list = append(list, Dialogue{
			Name: "227 cut " + place.name, Why: "TCP has no lines (RFC 9293 3.8)",
			Steps: inAndOut(c("PASV"), s(entering).cut(place.at), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok")),
			Trail: used("PASV 50055"),
		})
	}
	list = append(list, Dialogue{
		Name: "229 cut in the port", Why: "TCP has no lines (RFC 9293 3.8)",
		Steps: inAndOut(c("EPSV"), s(extended).cut(-6), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok")),
		Trail: used("EPSV 50055"),
	}, Dialogue{
		Name: "EPRT cut in the address", Why: "TCP has no lines (RFC 9293 3.8)",
		Steps: inAndOut(c("EPRT {EPRT}").cut(11), s("200 ok"), c("RETR a"), s("150 ok"), opens(Active, Port), s("226 ok")),
		Trail: used("EPRT 50055"),
	}, Dialogue{
		Name: "PORT, one byte a segment", Why: "a telnet client in character mode",
		Steps: inAndOut(c("PORT {PORT}").each(), s("200 ok"), c("RETR a"), s("150 ok"), opens(Active, Port), s("226 ok")),
		Trail: used("PORT 50055"),
	}, Dialogue{
		Name: "227, one byte a segment", Why: "a server without buffers",
		Steps: inAndOut(c("PASV"), s(entering).each(), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok")),
		Trail: used("PASV 50055"),
	}, Dialogue{
		Name: "PWD typed by hand", Why: "a telnet client in character mode; the kernel's helper takes the P for a PORT",
		Steps: inAndOut(
			c("PWD").each(), s("257 \"/\" is the current directory"),
			c("PASV").each(), s(entering), c("LIST").each(), opens(Passive, Port), s("150 ok"), s("226 ok"),
		),
		Trail: used("PASV 50055"),
	})
	whole := Dialogue{
		Name: "a whole session, one byte a segment", Why: "TCP has no lines (RFC 9293 3.8)",
		Steps: inAndOut(
			c("PASV"), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok"),
			c("EPRT |1|{CLIENT}|50056|"), s("200 ok"), c("RETR a"), s("150 ok"), opens(Active, OtherPort), s("226 ok"),
		),
		Trail: used("PASV 50055", "EPRT 50056"),
	}
	for i := range whole.Steps {
		whole.Steps[i].Each = whole.Steps[i].Probe == nil
	}
	return append(list, whole)
}

// order are sessions in which several lines share a segment, or come before
// it is their turn.
func order() []Dialogue {
	return []Dialogue{
		{
			Name: "PASV behind another command in its segment", Why: "RFC 959 does not forbid to pipeline; lftp, FileZilla",
			Steps: inAndOut(c("TYPE I", "PASV"), s("200 Type set to I."), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "PORT behind another command in its segment", Why: "pipelining",
			Steps: inAndOut(c("TYPE I", "PORT {PORT}"), s("200 x"), s("200 x"), c("RETR a"), s("150 ok"), opens(Active, Port), s("226 ok")),
			Trail: used("PORT 50055"),
		},
		{
			Name: "227 behind another reply in its segment", Why: "pipelining; Nagle's algorithm",
			Steps: inAndOut(c("TYPE I", "PASV"), s("200 Type set to I.", entering), c("RETR a"), opens(Passive, Port), s("150 ok", "226 ok")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "PASV and RETR in one segment", Why: "pipelining; lftp",
			Steps: inAndOut(c("PASV", "RETR a"), s(entering), opens(Passive, Port), s("150 ok"), s("226 ok")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "PORT, RETR and QUIT in one segment", Why: "RFC 959 4.1.1: QUIT waits for the transfer",
			Steps: in(c("PORT {PORT}", "RETR a", "QUIT"), s("200 ok"), s("150 ok"), opens(Active, Port), s("226 ok"), s("221 Goodbye.")),
			Trail: used("PORT 50055"),
		},
		{
			Name: "227 cut behind another reply, the rest with the next", Why: "pipelining",
			Steps: inAndOut(c("NOOP", "PASV", "NOOP"), s("200 ok", entering, "200 ok").cut(20, 50), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok")),
			Trail: used("PASV 50055"),
		},
		{
			Name: "NOOP during a transfer", Why: "clients that keep the session alive",
			Steps: inAndOut(
				c("PASV"), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok"), c("NOOP"), s("226 ok"), s("200 ok"),
				c("PASV"), s("227 Entering Passive Mode ({S},195,136)."), c("RETR a"), opens(Passive, OtherPort), s("150 ok"), s("226 ok"),
			),
			Trail: used("PASV 50055", "PASV 50056"),
		},
		{
			Name: "ABOR of a transfer, then PASV", Why: "RFC 959 4.1.3: 426 and 226",
			Steps: inAndOut(
				c("PASV"), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok"),
				c("ABOR"), s("426 Failure writing network stream."), s("226 ABOR successful."),
				c("PASV"), s("227 Entering Passive Mode ({S},195,136)."), c("RETR a"), opens(Passive, OtherPort), s("150 ok"), s("226 ok"),
			),
			Trail: used("PASV 50055", "PASV 50056"),
		},
		{
			Name: "a late 226 before 227", Why: "servers that answer ABOR twice",
			Steps: inAndOut(
				c("ABOR"), s("225 No transfer to ABOR."), c("PASV"), s("226 Transfer complete."), s(entering),
				c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok"),
			),
			Trail: used("PASV 50055"),
		},
		{
			Name: "telnet's synch before ABOR", Why: "RFC 959 4.1.3, RFC 854: IAC IP IAC DM; inetutils, tnftp",
			Steps: inAndOut(
				c("PORT {PORT}"), s("200 ok"), c("RETR a"), s("150 ok"), opens(Active, Port),
				craw("\xff\xf4\xff\xf2ABOR\r\n"), s("426 aborted"), s("226 ok"),
				c("PASV"), s("227 Entering Passive Mode ({S},195,136)."), c("RETR a"), opens(Passive, OtherPort), s("150 ok"), s("226 ok"),
			),
			Trail: used("PORT 50055", "PASV 50056"),
		},
		{
			Name: "telnet's synch as urgent data", Why: "RFC 854: the TCP urgent pointer; ncftp, tnftp",
			Steps: inAndOut(
				craw("\xff\xf4\xff"), craw("\xf2").urgent(), c("ABOR"), s("226 nothing to abort"),
				c("PASV"), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok"),
			),
			Trail: used("PASV 50055"),
		},
		{
			Name: "EPSV ALL, then EPSV", Why: "RFC 2428 4",
			Steps: inAndOut(c("EPSV ALL"), s("200 ok"), c("EPSV"), s(extended), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok")),
			Trail: used("EPSV 50055"),
		},
		{
			Name: "QUIT answered by 227 Logout.", Why: "a server seen in the field; the kernel's helper drops it",
			Steps: in(
				c("PASV"), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok"),
				c("QUIT"), s("227 Logout."),
			),
			Trail: used("PASV 50055"),
		},
		{
			Name: "transfer that outlives its session", Why: "RFC 959 4.1.1; the server closes first",
			Steps: in(
				c("PASV"), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok"),
				Step{From: Server, End: FIN}, Step{From: Client, End: FIN},
			),
			Trail: used("PASV 50055"),
		},
	}
}
